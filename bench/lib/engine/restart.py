# SPDX-License-Identifier: BSD-3-Clause
"""Restart from a warm page cache, against reading and decompressing alone, and with a large disk."""

import json
import os
import re
import subprocess
import time

from harness import Host
from qmp import Monitor

from . import common, guests, pause
from .common import MIB, Skipped, figure, of, say, spread, timed

NAME = "restart"
VMS, MEMORY = 4, 256 * MIB
LIMIT_S = 0.6
FACTOR = 1.3
DISK_LIMIT_S = 0.5
LEVEL = 1
GIB = 1 << 30
DISK, DISK_QUICK = 20 * GIB, 6 * GIB
CHUNK = 64 * MIB
BLK_DEVICE = "/machine/peripheral/blk0/virtio-backend"
PASSES = 5
# Of a VM's QEMU, what it takes to start one with the same machine and nothing in it.
PLAIN = ("-machine", "-accel", "-cpu", "-smp", "-m", "-rtc")


def read_and_decompress(bench, host, checkpoint, packed):
    """Seconds of reading and decompressing a checkpoint's RAM and nothing else.

    The same contents are taken, zstd -1 in frames of 256 KiB in one file: the pages of each VM's RAM into fresh memory, as a
    restart must have them ("each"), and each content that any VM has once, into memory that is there already ("once")."""
    found = {}
    for kind, path in packed.items():
        done = bench.helper("hashzip", "expand", bench.cores, PASSES, path)
        found[kind] = {"scratch_s": [ns / 1e9 for ns in done["scratch_ns"]], "fresh_s": [ns / 1e9 for ns in done["fresh_ns"]]}
    return {"each_s": min(found["each"]["fresh_s"]), "once_s": min(found["once"]["scratch_s"]), "passes": found}


ALONE = (("each_s", "each VM's pages into fresh memory"), ("once_s", "each content once, into scratch memory"))


def pack(bench, dumps):
    """The dumps' pages, compressed, as read_and_decompress wants them."""
    each, once = (os.path.join(bench.dir, name) for name in ("each.packed", "once.packed"))
    bench.helper("hashzip", "pack", LEVEL, once, *dumps)
    with open(each, "wb") as all_of_them:
        for dump in dumps:
            bench.helper("hashzip", "pack", LEVEL, each + ".one", dump)
            with open(each + ".one", "rb") as file:
                all_of_them.write(file.read())
    return {"each": each, "once": once}


def one_restart(host, name, checkpoint):
    """Kill the VMs, read the store once, restart: (seconds of the command, seconds and phases by the daemon)."""
    host.kill_vms(name)
    common.warm(os.path.join(host.dir, "store"))
    seconds, reply = timed(host.json, "restart", checkpoint)
    phases = {item["name"]: item["duration_ns"] / 1e9 for item in reply.get("phases", [])}
    return {"command_s": seconds, "daemon_s": reply.get("seconds"), "phases_s": phases}


def start_argv(pid):
    """The command line of a VM's QEMU without its devices, with RAM of its own that nobody fills."""
    with open("/proc/%d/cmdline" % pid, "rb") as file:
        words = file.read().decode().split("\0")
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp", "stdio", "-incoming", "defer"]
    for option, value in zip(words, words[1:]):
        if option in PLAIN:
            argv += [option, value]
        if option == "-object" and value.startswith("memory-backend"):
            argv += [option, "memory-backend-memfd,share=on," + ",".join(re.findall(r"\b(?:id|size)=[^,]*", value))]
    return argv


def start_alone(argv, count):
    """Seconds until so many QEMUs, started together, answer."""
    begin = time.monotonic()
    started = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(count)]
    try:
        for one in started:
            line = one.stdout.readline()
            if b"QMP" not in line:
                one.kill()
                raise RuntimeError("QEMU did not start alone: %s" % one.stderr.read().decode().strip())
        return time.monotonic() - begin
    finally:
        for one in started:
            one.kill()
            one.communicate()


def phases_text(samples):
    names = list(dict.fromkeys(name for sample in samples for name in sample["phases_s"]))
    medians = [spread([s["phases_s"].get(name, 0) for s in samples])["median"] for name in names]
    return ", ".join("%s %s" % (name, figure(1e3 * median)) for name, median in zip(names, medians))


def small(bench, rounds):
    title = "%d × %d MiB" % (VMS, MEMORY // MIB)
    samples = []
    with Host() as host:
        host.up("small", vms=VMS, memory="%dM" % (MEMORY // MIB))
        with guests.Guests(host, "small") as cluster:
            guests.settle()
            checkpoint = host.json("checkpoint", "small")["manifest"]["id"]
            dumps = cluster.dump_now(os.path.join(bench.dir, "dump"))
        packed = pack(bench, dumps)
        argv = start_argv(host.vm_pids("small")[0])
        for number in range(rounds + 1):
            sample = one_restart(host, "small", checkpoint)
            alone = read_and_decompress(bench, host, checkpoint, packed)
            alone["start_s"] = min(start_alone(argv, VMS) for _ in range(PASSES))
            if number == 0:
                continue
            samples.append(bench.results.sample(NAME, "small", round=number, **alone, **sample))
            say("  round %d: %.3f s by the command, %.3f s by the daemon; alone %.3f s and %.3f s, QEMU's start %.3f s" % (
                number, sample["command_s"], sample["daemon_s"] or 0, alone["each_s"], alone["once_s"], alone["start_s"]))
    print("\n%s from a warm page cache: the command %s, the daemon %s" % (
        title, of([s["command_s"] for s in samples], "s"), of([s["daemon_s"] for s in samples if s["daemon_s"] is not None], "s")))
    print("  phases, ms: %s" % phases_text(samples))
    print("  reading and decompressing alone, %d threads, best of %d each round: %s" % (bench.cores, PASSES, "; ".join(
        "%s %s" % (words, of([s[key] for s in samples], "s")) for key, words in ALONE)))
    print("  %d QEMUs of this machine with no devices, from their start to their greeting: %s; with it the restart took %s of what both "
          "take alone" % (VMS, of([s["start_s"] for s in samples], "s"), of([
              s["command_s"] / (s["each_s"] + s["start_s"]) for s in samples])))
    bench.results.accept(NAME, "%s, warm: running" % title, "≤ 0.6 s", LIMIT_S, [s["command_s"] for s in samples], "s")
    for key, words in ALONE:
        bench.results.accept(NAME, "%s ÷ alone: %s" % (title, words), "≤ 1.3", FACTOR, [s["command_s"] / s[key] for s in samples])


def large_base(bench, size):
    """The cached image's disk, made larger by a hole: its file system keeps its size, what is behind is a disk to write on."""
    with Host() as host:

        pause.find_image(bench, host)
    image_dir = bench.machine["image_dir"]
    with open(os.path.join(image_dir, "image.json")) as file:
        image = json.load(file)
    if image["disk_format"] != "raw":
        raise Skipped("the cached image's disk is not raw")
    path = os.path.join(bench.dir, "large.raw")
    common.run(["cp", "--sparse=always", os.path.realpath(os.path.join(image_dir, image["disk"])), path], 300)
    used = os.path.getsize(path)
    if used + CHUNK > size:
        raise Skipped("a disk of %d MiB is smaller than the image's of %d MiB" % (size // MIB, used // MIB))
    os.truncate(path, size)
    return path, used


def fill(bench, host, name, start, size):
    """Write half of the first VM's disk, through its own QEMU: data that neither compress nor repeat."""
    want = min(size // 2, size - start) // CHUNK * CHUNK
    source = os.path.join(bench.dir, "random")
    monitor = Monitor(host.status(name)["vms"][0]["debug_qmp"])
    begin = time.monotonic()
    try:
        for at in range(0, want, CHUNK):
            with open("/dev/urandom", "rb", buffering=0) as entropy, open(source, "wb") as file:
                left = CHUNK
                while left:
                    left -= file.write(entropy.read(min(left, 8 * MIB)))
            line = 'qemu-io -d %s "write -s %s %d %d"' % (BLK_DEVICE, source, start + at, CHUNK)
            said = monitor.call("human-monitor-command", seconds=120, **{"command-line": line})
            if "error" in said.lower() or "fail" in said.lower() or "invalid" in said.lower():
                raise RuntimeError("qemu-io: %s" % said.strip())
    finally:
        monitor.close()
        os.unlink(source)
    say("  %d MiB of %d MiB written in %.0f s" % (want // MIB, size // MIB, time.monotonic() - begin))
    return want


def large(bench, rounds):
    size = bench.options.disk or (DISK_QUICK if bench.quick else DISK)
    bench.need(memory_bytes=2 * VMS * MEMORY, disk_bytes=3 * (size // 2) + 4 * GIB)
    say("a disk of %d MiB, half filled" % (size // MIB))
    base, start = large_base(bench, size)
    samples = []
    try:
        with Host() as host:
            host.up("plain", vms=VMS, memory="%dM" % (MEMORY // MIB))
            host.up("big", vms=VMS, memory="%dM" % (MEMORY // MIB), extra="[image]\ndisk = %s\n" % base, timeout=1800)
            filled = fill(bench, host, "big", start, size)
            guests.settle()
            ids = {}
            for name in ("plain", "big"):
                seconds, reply = timed(host.json, "checkpoint", name, timeout=1800)
                ids[name] = reply["manifest"]["id"]
                say("  checkpoint of %s: %.1f s" % (name, seconds))
            # One at a time, as elsewhere; both are brought back from the same store.
            host.down("plain")
            host.down("big")
            for number in range(rounds + 1):
                sample = {}
                for name in ("plain", "big") if number % 2 else ("big", "plain"):
                    host.run("restart", ids[name], timeout=1800)
                    sample[name] = one_restart(host, name, ids[name])
                    host.down(name)
                if number == 0:
                    continue
                sample = bench.results.sample(NAME, "large", round=number, disk_bytes=size, filled_bytes=filled, **sample)
                samples.append(sample)
                say("  round %d: %.3f s with the large disk, %.3f s without" % (
                    number, sample["big"]["command_s"], sample["plain"]["command_s"]))
    finally:
        os.unlink(base)
    added = [s["big"]["command_s"] - s["plain"]["command_s"] for s in samples]
    print("\nA disk of %d MiB, %d MiB of it written: %s with it, %s without, %s more" % (
        size // MIB, filled // MIB, of([s["big"]["command_s"] for s in samples], "s"),
        of([s["plain"]["command_s"] for s in samples], "s"), of(added, "s")))
    print("  phases with it, ms: %s" % phases_text([s["big"] for s in samples]))
    bench.results.accept(NAME, "a %d GiB disk, half filled, adds" % (size // GIB), "< 0.5 s", DISK_LIMIT_S, added, "s")


def run(bench):
    bench.need(memory_bytes=3 * VMS * MEMORY, disk_bytes=4 * VMS * MEMORY)
    small(bench, bench.rounds(3, 9))
    try:
        large(bench, bench.rounds(2, 5))
    except Skipped as reason:
        bench.results.skip(NAME, "large disk", reason)
