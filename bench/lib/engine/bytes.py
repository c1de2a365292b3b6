# SPDX-License-Identifier: BSD-3-Clause
"""What checkpoints occupy: against QEMU's migration and zstd, restic, borg and virsh save, of the same RAM."""

import os
import shutil
import time

import loads
import methods
import virsh
from harness import Host

from . import common, guests, pause
from .common import MIB, disk_bytes, figure, run as run_command, say, spread, timed

NAME = "bytes"
VMS, MEMORY = 4, 256 * MIB
NWCHEM_SECONDS = 30
FIRST_SHARE = 0.10
SECOND_FACTOR = 1.3
LEVEL = 1
COMMAND_SECONDS = 600


class Restic:
    name = "restic"

    def __init__(self, top):
        self.repo = os.path.join(top, "restic")
        self.env = dict(os.environ, RESTIC_PASSWORD="bench", RESTIC_REPOSITORY=self.repo,
                        RESTIC_CACHE_DIR=os.path.join(top, "rcache"))
        run_command(["restic", "init"], COMMAND_SECONDS, self.env)

    def put(self, directory, number):
        run_command(["restic", "backup", "--quiet", "."], COMMAND_SECONDS, self.env, directory)


class Borg:
    name = "borg"

    def __init__(self, top):
        self.repo = os.path.join(top, "borg")
        self.env = dict(os.environ, BORG_BASE_DIR=os.path.join(top, "bbase"), BORG_REPO=self.repo,
                        BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
        run_command(["borg", "init", "-e", "none"], COMMAND_SECONDS, self.env)

    def put(self, directory, number):
        run_command(["borg", "create", "--compression", "zstd,%d" % LEVEL, "::dump%d" % number, "."], COMMAND_SECONDS, self.env,
                    directory)


def zstd_bytes(paths):
    """What zstd makes of files, each on its own."""
    total = 0
    for path in paths:
        run_command(["zstd", "-q", "-%d" % LEVEL, "-f", path, "-o", path + ".zst"], COMMAND_SECONDS)
        total += os.path.getsize(path + ".zst")
        os.unlink(path + ".zst")
    return total


def migrated(cluster):
    """QEMU's migration of all VMs to files, and those compressed."""
    found = {}

    def inspect(directory):
        paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
        found["bytes"] = zstd_bytes(paths)

    with cluster.populated():
        sample = methods.migrate(cluster, inspect)
    return {"method": "migrate + zstd -%d" % LEVEL, "bytes": found["bytes"], "raw_bytes": sample["bytes"]}


def ours(host, cluster):
    before = disk_bytes(os.path.join(host.dir, "store"))
    manifest, _, _, total, _ = methods.committed(host, cluster.name)
    os.sync()
    ram = sum(vm["ram"].get("file_bytes", 0) for vm in manifest["vms"])
    return {"method": "ours", "bytes": common.stored_bytes(manifest),
            "grown_bytes": disk_bytes(os.path.join(host.dir, "store")) - before, "ram_bytes": ram or None, "total_s": total / 1e3, "cost": manifest.get("cost"), "checkpoint": manifest["id"]}


def backed_up(peers, directory, number):
    """The dumps given to each backup program; what its repository grew by."""
    found = []
    for peer in peers:
        before = disk_bytes(peer.repo) if number else 0
        seconds, _ = timed(peer.put, directory, number)
        found.append({"method": peer.name, "bytes": disk_bytes(peer.repo) - before, "total_s": seconds})
    return found


def make_peers(bench, top):
    found = []
    for kind in (Restic, Borg):
        if shutil.which(kind.name):
            found.append(kind(top))
        else:
            bench.results.skip(NAME, kind.name, "not installed; scripts/install-deps.sh --bench installs it")
    return found


def note(bench, number, step, samples):
    for sample in samples:
        bench.results.sample(NAME, step, round=number, **sample)
        say("  %-7s %-20s %8.1f MiB" % (step, sample["method"], sample["bytes"] / MIB))


def one_round(bench, number):
    """The same VMs, idle and after NWChem: ours, and all that others make of the same RAM."""
    top = bench.scratch("bytes")
    now, old = os.path.join(top, "ram"), os.path.join(top, "old")
    try:
        with Host() as host:
            host.up("clones", vms=VMS, memory="%dM" % (MEMORY // MIB))
            peers = make_peers(bench, top)
            with guests.Guests(host, "clones") as cluster:
                guests.settle()
                # The dump first: the checkpoint follows at once, while much time passes between its instant and its end.
                paths = cluster.dump_now(now)
                first = ours(host, cluster)
                content = bench.helper("hashzip", "differ", LEVEL, *paths)
                note(bench, number, "first", [first, migrated(cluster)] + backed_up(peers, now, 0) + [
                    {"method": "pages alone", "bytes": content["stream_bytes"], **content}])
                loads.NWChem(host, "clones", VMS)
                time.sleep(NWCHEM_SECONDS)
                os.rename(now, old)
                paths = cluster.dump_now(now)
                second = ours(host, cluster)
                content = bench.helper("hashzip", "differ", LEVEL, *["%s:%s" % (path, os.path.join(old, os.path.basename(path)))
                                                                     for path in paths])
                note(bench, number, "second", [second, migrated(cluster)] + backed_up(peers, now, 1) + [
                    {"method": "pages alone", "bytes": content["stream_bytes"], **content}])
    finally:
        shutil.rmtree(top, ignore_errors=True)


def start_nwchem(libvirt, name, path):
    agent = libvirt.agent(name)
    agent.put(path, "/root/load.nw")
    agent.start("nwchem", "sh", "-c", loads.NWCHEM_LOOP)
    agent.close()


def virsh_round(bench, number):
    """VMs like ours under libvirt, saved in its compressed form; idle, and after NWChem."""
    libvirt = virsh.Libvirt(bench.scratch("lv"), bench.machine["image_dir"],
                            "tcg" if "TCG" in bench.machine["accelerator"] else "kvm")
    names = ["vm%d" % at for at in range(VMS)]
    try:
        libvirt.start("raw")
        for name in names:
            libvirt.define(name, MEMORY)
        for name in names:
            libvirt.agent(name).close()
        packed = libvirt.start_packed(names[0], virsh.SMALLEST)
        guests.settle()
        first = libvirt.save(names)
        libvirt.restore(names)
        path = os.path.join(bench.dir, "load.nw")
        with open(path, "w") as file:
            file.write(loads.nwchem_input())
        for name in names:
            start_nwchem(libvirt, name, path)
        time.sleep(NWCHEM_SECONDS + 5)  # as loads.NWChem waits
        second = libvirt.save(names)
        for step, saved in (("first", first), ("second", second)):
            note(bench, number, step, [{"method": "virsh save, %s" % packed, "bytes": saved["bytes"],
                                        "total_s": saved["total_ms"] / 1e3}])
    finally:
        libvirt.stop()


def table(samples):
    methods_seen = list(dict.fromkeys(sample["method"] for sample in samples))
    print("\n%d × %d MiB: MiB stored, median (min–max); ratio theirs ÷ ours of medians" % (VMS, MEMORY // MIB))
    print("  %-22s %24s %8s   %24s %8s" % ("", "first, idle", "", "second, after NWChem", ""))
    for method in methods_seen:
        line = "  %-22s" % method
        for step in ("first", "second"):
            own, base = ([s["bytes"] / MIB for s in samples if s["kind"] == step and s["method"] == who] for who in (method, "ours"))
            if not own:
                line += " %24s %8s  " % ("–", "")
                continue
            ratio = spread(own)["median"] / spread(base)["median"]
            line += " %24s %8s  " % (common.of(own), "" if method == "ours" else "×%.2f" % ratio)
        print(line.rstrip())


def run(bench):
    rounds = bench.rounds(1, 3)
    bench.need(memory_bytes=3 * VMS * MEMORY, disk_bytes=12 * VMS * MEMORY)
    begin = len(bench.results.samples)
    with Host() as host:
        pause.find_image(bench, host)
    for number in range(rounds):
        say("round %d of %d" % (number + 1, rounds))
        one_round(bench, number)
        try:
            virsh_round(bench, number)
        except (virsh.Missing, RuntimeError, OSError, EOFError, AssertionError) as problem:
            bench.results.skip(NAME, "virsh save", problem)
    samples = bench.results.samples[begin:]
    table(samples)
    judge(bench, samples)


def judge(bench, samples):
    def own(step, method):
        return [sample for sample in samples if (sample["kind"], sample["method"]) == (step, method)]

    pages = own("second", "pages alone")
    print("  pages alone: RAM's pages that are not zero, each distinct content once, as one stream of zstd -%d; second: those that "
          "differ from the first dump:\n    %s MiB of pages, %s MiB of distinct contents, %s MiB compressed (%s in frames of 256 KiB)" % (
              LEVEL, *(figure(spread([page[key] / MIB for page in pages])["median"])
                       for key in ("differing_bytes", "distinct_bytes", "stream_bytes", "frames_bytes"))))
    print("  ours is RAM, device state and disks (%s); the store's files grew by %s and %s MiB, in the first with the image" % (
        "by the manifest's cost" if own("first", "ours")[0]["cost"] else "files of the checkpoint: this build tells no cost",
        *(figure(spread([s["grown_bytes"] / MIB for s in own(step, "ours")])["median"]) for step in ("first", "second"))))
    bench.results.accept(NAME, "first of %d idle %d MiB clones" % (VMS, MEMORY // MIB), "≤ 10 % of their RAM",
                         100 * FIRST_SHARE, [100 * s["bytes"] / (VMS * MEMORY) for s in own("first", "ours")], "%")
    bench.results.accept(NAME, "second after %d s of NWChem ÷ compressed pages that differ" % NWCHEM_SECONDS, "≤ 1.3", SECOND_FACTOR,
                         [mine["bytes"] / page["stream_bytes"] for mine, page in zip(own("second", "ours"), pages)])
