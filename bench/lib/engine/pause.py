# SPDX-License-Identifier: BSD-3-Clause
"""How long the VMs stand still: ours against the host's memory bandwidth, QEMU's migration and virsh save."""

import os
import traceback

import loads
import report
import virsh
from cell import BACKGROUND, Cell, reason_to_skip
from harness import CommandFailed, Host, check, wait_for
from qmp import call_all

from .common import MIB, Skipped, figure, of, say, spread

NAME = "pause"
BASE_MS = 15
FACTOR = 1.3
LEAST_RATIO = 10
RATE_MIB_S = 32
GUEST_SYSTEM_MIB = 96  # what a guest's kernel and programs take, about


def hold_mib(memory):
    """So much that most of the RAM is populated, and the guest still breathes."""
    return max(16, (memory // MIB - GUEST_SYSTEM_MIB) * 3 // 4)


def pages_load(bench, memory, rate):
    return lambda host, cluster, vms: loads.Pages(host, cluster, vms, bench.program("page_load"), hold_mib(memory), rate)


def daemon_affinity(host, cores):
    """All threads of the daemon, and those to come, on some cores."""
    pid = host.daemon_pid()
    for task in os.listdir("/proc/%d/task" % pid):
        os.sched_setaffinity(int(task), cores)


def standing(bench, threads):
    """For Cell: the read bandwidth while the VMs stand still, as they do in the pause."""

    def measure(cell):
        call_all(cell.monitors, "stop")
        try:
            best, passes = bench.bandwidth(threads)
        finally:
            call_all(cell.monitors, "cont")
        return {"bandwidth": best, "bandwidth_passes": passes, "load_average": os.getloadavg()[0]}

    return measure


def bound_ms(sample):
    return BASE_MS + FACTOR * 1e3 * sample["populated_bytes"] / sample["bandwidth"]


def own(samples, method):
    return [sample for sample in samples if sample["method"] == method]


def judge_bound(bench, title, samples, method="ours"):
    found = own(samples, method)
    if found:
        bench.results.accept(NAME, "%s: pause" % title, "≤ 15 ms + 1.3 × populated RAM ÷ read bandwidth",
                             [bound_ms(sample) for sample in found], [sample["pause_ms"] for sample in found], "ms")


def judge_ratio(bench, title, samples, peer):
    """Round by round; a peer's rounds that were not beside ours are taken in their order."""
    pairs = list(zip(own(samples, "ours"), own(samples, peer)))
    if pairs:
        bench.results.accept(NAME, "%s: pause, %s ÷ ours" % (title, peer), "≥ 10", LEAST_RATIO,
                             [theirs["pause_ms"] / ours["pause_ms"] for ours, theirs in pairs], at_most=False)


def measure(bench, host, title, vms, memory, make_load, rounds, chosen=None, threads=None):
    """One cell; its entry for report.py."""
    entry = {"title": title, "vms": vms, "memory_mib": memory // MIB, "threads": threads, "refused": {}, "samples": []}
    say("%s" % title)
    reason = reason_to_skip(host.dir, vms, memory)
    if reason:
        raise Skipped(reason)
    name = "bench%d" % measure.number
    measure.number += 1
    cell = Cell(host, name, vms, memory, say, chosen, standing(bench, threads))
    cell.run(rounds, make_load)
    bench.machine["accelerator"] = cell.why
    entry.update(refused=cell.refused, samples=cell.samples, load=cell.load.text)
    keep(bench, entry, cell.samples)
    return entry


def keep(bench, entry, samples):
    """For --json, at once: what comes later may fail."""
    bench.results.samples += [{"section": NAME, "title": entry["title"], "load": entry["load"], **sample} for sample in samples]


measure.number = 0


def virsh_rounds(libvirt, names, rounds, kind, load_agent):
    found = []
    for number in range(rounds):
        os.sync()
        saved = libvirt.save(names)
        back = libvirt.restore(names)
        load_agent()
        found.append({"method": kind, "round": number + 1, "pause_ms": saved["save_ms"], "capture_ms": saved["save_ms"],
                      "total_ms": saved["total_ms"], "bytes": saved["bytes"],
                      "until_restored_ms": (back["running"] - saved["stopped"]) * 1e3, "restore_ms": back["restore_ms"]})
        say("  round %d  %-18s pause %8.1f ms, until restored %8.1f ms" % (
            number + 1, kind, saved["save_ms"], found[-1]["until_restored_ms"]))
    return found


def start_pages(bench, libvirt, name, memory, rate):
    agent = libvirt.agent(name)
    agent.put(bench.program("page_load"), "/root/page_load")
    agent.start("load", "/root/page_load", str(hold_mib(memory)), str(rate))
    wait_for("the load in %s" % name, lambda: agent.output("load")[0]["out_size"] > 60, 300, 0.3)
    agent.close()


def loads_go_on(libvirt, names):
    """After a restore, the load runs and says something new."""
    for name in names:
        agent = libvirt.agent(name)
        seen = agent.output("load")[0]
        check(seen["state"] == "running", "the load in %s of libvirt has ended" % name)
        wait_for("the load in %s to go on" % name, lambda: agent.output("load")[0]["out_size"] > seen["out_size"], 60, 0.1)
        agent.close()


def virsh_samples(bench, image_dir, vms, memory, rate, rounds):
    """virsh save of VMs like ours: raw, and in the compressed format that libvirt has here."""
    accel = "tcg" if "TCG" in bench.machine.get("accelerator", "TCG") else "kvm"
    libvirt = virsh.Libvirt(bench.scratch("lv"), image_dir, accel)
    names = ["vm%d" % at for at in range(vms)]
    try:
        libvirt.start("raw")
        for name in names:
            libvirt.define(name, memory)
        for name in names:
            start_pages(bench, libvirt, name, memory, rate)
        virsh_rounds(libvirt, names, 1, "warm-up", lambda: loads_go_on(libvirt, names))
        found = virsh_rounds(libvirt, names, rounds, "virsh save", lambda: loads_go_on(libvirt, names))
        packed = libvirt.start_packed(names[0], virsh.FASTEST)
        found += virsh_rounds(libvirt, names, rounds, "virsh save, packed", lambda: loads_go_on(libvirt, names))
        for sample in found:
            sample["format"] = packed if sample["method"].endswith("packed") else "raw"
        return found
    finally:
        libvirt.stop()


def with_peers(bench, host, vms, memory, rounds):
    """One combination of the grid: ours, QEMU's own ways, virsh save."""
    title = "%d × %d MiB" % (vms, memory // MIB)
    entry = measure(bench, host, title, vms, memory, pages_load(bench, memory, RATE_MIB_S), rounds)
    judge_bound(bench, title, entry["samples"])
    judge_bound(bench, title + ", all RAM populated", entry["samples"], "ours, full RAM")
    judge_ratio(bench, title, entry["samples"], "stop+migrate")
    with_background(bench, host, title, vms, memory, rounds, entry)
    try:
        image_dir = bench.machine["image_dir"]
        peers = virsh_samples(bench, image_dir, vms, memory, RATE_MIB_S, max(2, rounds // 2 + 1))
        entry["samples"] += peers
        keep(bench, entry, peers)
    except (virsh.Missing, RuntimeError, OSError, EOFError, AssertionError) as problem:
        bench.results.skip(NAME, "%s: virsh save" % title, problem)
        bench.results.untold(NAME, "%s: pause, virsh save ÷ ours" % title, "≥ 10", problem)
    judge_ratio(bench, title, entry["samples"], "virsh save")
    judge_ratio(bench, title, entry["samples"], "virsh save, packed")
    entry["summary"] = report.summarize(entry["samples"])
    entry["ratios"] = report.ratios(entry["summary"])
    report.print_cell(entry)
    for kind in ("virsh save", "virsh save, packed"):
        restored = own(entry["samples"], kind)
        if restored:
            print("  %s (%s): the VMs run again only after a restore, %s after they were stopped" % (
                kind, restored[0]["format"], of([sample["until_restored_ms"] for sample in restored], "ms")))
    return entry


def with_background(bench, host, title, vms, memory, rounds, entry):
    """The engine's other strategy, in a cluster alike under the same load; its samples join the entry's."""
    try:
        other = measure(bench, host, title + ", capture = background", vms, memory, pages_load(bench, memory, RATE_MIB_S), rounds,
                        chosen=[BACKGROUND])
    except (Skipped, RuntimeError, OSError, EOFError, AssertionError, CommandFailed) as problem:
        bench.results.skip(NAME, "%s: capture = background" % title, problem)
        return
    entry["samples"] += other["samples"]


def grid(bench, host, entries):
    vms = bench.options.vms or ([1, 2] if bench.quick else [1, 2, 4, 8])
    sizes = bench.options.memory or ([256 * MIB] if bench.quick else [256 * MIB, 512 * MIB, 1024 * MIB])
    for memory in sizes:
        for count in vms:
            attempt(bench, "%d × %d MiB" % (count, memory // MIB),
                    lambda count=count, memory=memory: entries.append(with_peers(bench, host, count, memory, bench.rounds(3, 5))))


def attempt(bench, title, function):
    try:
        function()
    except Skipped as reason:
        bench.results.skip(NAME, title, reason)
    except Exception as problem:
        traceback.print_exc()
        bench.results.failed.append({"section": NAME, "what": title, "reason": str(problem)})


def series(bench, host, entries):
    """One thing changed at a time: dirtying rate, threads, and NWChem instead of the load."""
    vms, memory = (1, 256 * MIB) if bench.quick else (2, 512 * MIB)
    where, rounds = "%d × %d MiB" % (vms, memory // MIB), bench.rounds(3, 7)

    def one(kind, value, make_load, **more):
        title = "%s, %s" % (where, value)

        def body():
            entry = measure(bench, host, title, vms, memory, make_load, rounds, **more)
            entry["series"] = kind
            judge_bound(bench, title, entry["samples"])
            judge_ratio(bench, title, entry["samples"], "stop+migrate")
            entries.append(entry)

        attempt(bench, title, body)

    for rate in [0, 64, 256] if bench.quick else [0, 32, 128, 512]:
        one("dirtying rate", "%d MiB/s rewritten" % rate, pages_load(bench, memory, rate), chosen=["ours"])
    every = os.sched_getaffinity(0)
    for threads in range(1, len(every) + 1):
        if threads & (threads - 1) and threads != len(every):
            continue
        some = set(sorted(every)[:threads])

        def on_some(host, cluster, count, some=some):
            load = pages_load(bench, memory, RATE_MIB_S)(host, cluster, count)
            daemon_affinity(host, some)
            return load

        one("threads", "daemon on %d core%s" % (threads, "s" if threads > 1 else ""), on_some, chosen=["ours"], threads=threads)
        daemon_affinity(host, every)
    one("load", "NWChem", loads.NWChem, chosen=["ours", "stop+migrate"])


def print_series(entries):
    print("\nHow the pause scales (ours, ms; bound = 15 ms + 1.3 × populated ÷ bandwidth)")
    print("  %-16s %-34s %12s %14s %22s %22s %22s" % ("", "", "MiB in RAM", "MiB/s dirtied", "pause", "bound", "pause ÷ bound"))
    for kind in ("RAM", "dirtying rate", "threads", "load"):
        for entry in entries:
            found = own(entry["samples"], "ours")
            if entry.get("series", "RAM") != kind or not found:
                continue
            rates = [sample["rate_mib_s"] for sample in found if sample["rate_mib_s"] is not None]
            print("  %-16s %-34s %12.0f %14s %22s %22s %22s" % (
                kind, entry["title"], spread([sample["populated_bytes"] / MIB for sample in found])["median"],
                figure(spread(rates)["median"]) if rates else "–", of([sample["pause_ms"] for sample in found]),
                of([bound_ms(sample) for sample in found]),
                of([sample["pause_ms"] / bound_ms(sample) for sample in found])))


def run(bench):
    entries = []
    with Host() as host:
        find_image(bench, host)
        grid(bench, host, entries)
        series(bench, host, entries)
    if not entries:
        raise Skipped("nothing could be measured")
    print_series(entries)
    for threads in sorted({entry.get("threads") or bench.cores for entry in entries}):
        print("  read bandwidth of %d threads together, best of 9 passes in each round: %s" % (threads, of(
            [sample["bandwidth"] / 1e9 for entry in entries if (entry.get("threads") or bench.cores) == threads
             for sample in entry["samples"] if "bandwidth" in sample], "GB/s")))


def find_image(bench, host):
    """The image of the cache that clusters use, for libvirt's VMs; made if it is not there."""
    if "image_dir" in bench.machine:
        return
    host.up("image", vms=1, memory="128M")
    manifest = host.json("checkpoint", "image")["manifest"]
    if "image_dir" in manifest:
        bench.machine["image_dir"] = manifest["image_dir"]
    else:
        raise Skipped("the manifest does not tell the image's directory")
    bench.machine["accelerator"] = host.status("image")["why"]
    host.down("image")
    for item in host.json("list")["checkpoints"]:
        host.run("rm", item["id"])
