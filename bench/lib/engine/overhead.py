# SPDX-License-Identifier: BSD-3-Clause
"""What checkpoints on the interval cost a run of NWChem."""

import os
import re
import threading
import time

from guest_job import Job
from harness import CommandFailed, Host, Skip, check

import test_nwchem

from . import common
from .common import Skipped, of, say

NAME = "overhead"
INTERVAL_S, INTERVAL_QUICK_S = 60, 15
# One task takes 5 to 15 s in a VM under TCG.
TASKS, TASKS_QUICK = 24, 5
LIMIT_PERCENT = 3
MEMORY = "512M"
RUN_SECONDS = 1800
POLL_SECONDS = 0.1
# Another geometry in each, and a start from atomic densities: each task is the whole work again.
HEAD = """title "water, B3LYP, again and again"
start h2o
memory total 200 mb
basis spherical
  * library 6-311G**
end
"""
TASK = """geometry units angstroms
  O   0.000   0.000   %.4f
  H   0.000   0.757  -0.469
  H   0.000  -0.757  -0.469
end
dft
  xc b3lyp
  grid fine
  iterations 60
  convergence energy 1e-10
  vectors input atomic
  direct
end
unset dft:converged
task dft energy
"""
ENERGY = re.compile(r"Total DFT energy =\s+(-?\d+\.\d+)")
COMMAND = ("cd %s && exec mpirun --map-by node --bind-to none -x STASIS_ARMCI_TRANSPORT=%s -n %d /usr/local/bin/nwchem "
           "/root/long.nw 2>&1")


class Timer:
    """Checkpoints on the interval, until stopped; each time that one took."""

    def __init__(self, host, cluster, interval):
        self.host, self.cluster, self.interval = host, cluster, interval
        self.end, self.taken, self.failed = threading.Event(), [], None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        due = time.monotonic() + self.interval
        while not self.end.wait(max(0, due - time.monotonic())):
            due += self.interval
            try:
                seconds, reply = common.timed(self.host.json, "checkpoint", self.cluster)
            except (CommandFailed, OSError) as problem:
                self.failed = problem
                return
            manifest = reply["manifest"]
            self.taken.append({"id": manifest["id"], "seconds": seconds, "pause_ms": manifest["pause_ns"] / 1e6,
                               "phases_ms": {item["name"]: item["duration_ns"] / 1e6 for item in manifest["phases"]}})

    def stop(self):
        self.end.set()
        self.thread.join(300)
        if self.failed:
            raise RuntimeError("a checkpoint failed: %s" % self.failed)
        return self.taken


def one_run(bench, host, cluster, vms, name, interval):
    """Seconds from mpirun's start to its end, the energies, the checkpoints."""
    directory = "/root/%s" % name
    host.exec(cluster + ":all", "mkdir", "-p", directory)
    timer, begin = None, time.monotonic()
    job = Job(host, cluster, "vm0", name).start(
        "sh", "-c", COMMAND % (directory, "verbs" if vms > 1 else "auto", vms))
    try:
        timer = Timer(host, cluster, interval) if interval else None
        while True:
            job._poll(0)
            if job.state != "running":
                break
            if time.monotonic() - begin > RUN_SECONDS:
                job._call("job.signal", signal=9)
                raise RuntimeError("NWChem has not ended after %d s" % RUN_SECONDS)
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - begin
    finally:
        taken = timer.stop() if timer else []
    text = test_nwchem.output(job)
    check(job.code == 0, "NWChem ended with %d: %s" % (job.code, text[-1500:]))
    for item in taken:
        host.run("rm", item["id"])
    host.exec(cluster + ":all", "rm", "-rf", directory)
    return seconds, ENERGY.findall(text), taken


def pairs(bench, vms, rounds):
    tasks = TASKS_QUICK if bench.quick else TASKS
    interval = INTERVAL_QUICK_S if bench.quick else INTERVAL_S
    test_nwchem.VMS = test_nwchem.RANKS = vms
    cluster, found, energies = "over%d" % vms, [], set()
    with Host() as host:
        try:
            extra = test_nwchem.cluster_extra(host)
        except Skip as reason:
            raise Skipped(str(reason)) from reason
        path = os.path.join(host.dir, "long.nw")
        with open(path, "w") as file:
            file.write(HEAD + "".join(TASK % (0.117 + 0.001 * at) for at in range(tasks)))
        host.up(cluster, vms=vms, memory=MEMORY, extra=extra)
        host.run("cp", path, "%s:all:/root/long.nw" % cluster)
        # The image goes into the store once, and that is no part of an interval's cost.
        host.run("checkpoint", cluster)
        for number in range(rounds):
            times = {"round": number + 1}
            for kind in ("none", "with") if number % 2 == 0 else ("with", "none"):
                os.sync()
                seconds, energy, taken = one_run(
                    bench, host, cluster, vms, "%s%d" % (kind, number), interval if kind == "with" else 0)
                energies.add(tuple(energy))
                check(len(energy) == tasks, "%d energies instead of %d" % (len(energy), tasks))
                times[kind] = seconds
                if kind == "with":
                    times["checkpoints"] = taken
                say("  %d VM%s, round %d, %s: %.1f s, %d checkpoints" % (
                    vms, "s" if vms > 1 else "", number + 1, kind, seconds, len(taken)))
            times["percent"] = 100 * (times["with"] / times["none"] - 1)
            found.append(bench.results.sample(NAME, "pair", vms=vms, interval_s=interval, tasks=tasks, **times))
    check(vms > 1 or len(energies) == 1, "the energies differ: %s" % sorted(energies))
    return found


def show(bench, vms, found):
    every = found[0]["interval_s"]
    print("\nNWChem in %d VM%s, %d core%s: without %s, with a checkpoint every %d s %s, cost %s" % (
        vms, "s" if vms > 1 else "", bench.cores, "s" if bench.cores > 1 else "", of([one["none"] for one in found], "s"), every,
        of([one["with"] for one in found], "s"), of([one["percent"] for one in found], "%")))
    taken = [item for one in found for item in one["checkpoints"]]
    if not taken:
        print("  no checkpoint was taken: the runs are shorter than the interval")
        return
    print("  %d checkpoints: %s each, VMs stood still for %s" % (
        len(taken), of([item["seconds"] for item in taken], "s"), of([item["pause_ms"] for item in taken], "ms")))
    # What one checkpoint costs the run does not depend on the interval, but what differs from one to the next does.
    each = [(one["with"] - one["none"]) / len(one["checkpoints"]) for one in found if one["checkpoints"]]
    print("  a checkpoint costs the run %s" % of(each, "s"))
    if every != INTERVAL_S:
        print("  scaled to one every %d s: %s" % (INTERVAL_S, of([100 * cost / INTERVAL_S for cost in each], "%")))
    percent = [one["percent"] for one in found] if every == INTERVAL_S else [100 * cost / INTERVAL_S for cost in each]
    words = "" if every == INTERVAL_S else " (scaled from every %d s)" % every
    if vms == 1:
        bench.results.accept(NAME, "NWChem in one VM, a checkpoint every %d s%s" % (INTERVAL_S, words), "≤ 3 %", LIMIT_PERCENT,
                             percent, "%")
    else:
        bench.results.lines.append({
            "section": NAME, "what": "NWChem in %d VMs, a checkpoint every %d s%s" % (vms, INTERVAL_S, words),
            "asked": "a figure", "varies": False, "measured": common.spread(percent), "unit": "%", "met": True, "figure": True,
            "good": 0, "of": len(percent)})


def run(bench):
    for vms in (1, 2):
        if vms > bench.cores:
            bench.results.skip(NAME, "%d VMs" % vms, "this host has %d core" % bench.cores)
            continue
        if vms == 1 and bench.cores < 2:
            bench.results.skip(NAME, "one VM", "no second core is free for the engine")
            continue
        found = pairs(bench, vms, bench.rounds(2, 3))
        show(bench, vms, found)
