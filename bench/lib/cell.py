# SPDX-License-Identifier: BSD-3-Clause
"""One cell of the comparison: a cluster under load, rounds of all methods in turn, and the proof that it is still sound."""

import os
import shutil
import time

import methods
from guest_job import Job
from harness import check, wait_for
from qmp import Monitor, QmpError
from ram import GuestRam, Populated

MIB = 1 << 20
# What a VM's process takes besides its guest's RAM, and what the host keeps.
VM_OVERHEAD = 128 * MIB
HOST_RESERVE = 512 * MIB
SETTLE_SECONDS = 0.3

# Name, function, whether all RAM is populated first.
METHODS = (
    ("ours", methods.ours, False),
    ("ours, full RAM", methods.ours, True),
    ("stop+migrate", methods.migrate, True),
    ("background", methods.background, True),
)


def memory_available():
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no MemAvailable in /proc/meminfo")


def reason_to_skip(directory, vms, memory, load):
    """Why this cell cannot run on this host now, or None."""
    if load * MIB > memory // 4:
        return "a load of %d MiB is too much for VMs of %d MiB" % (load, memory // MIB)
    # The VMs with all their RAM, and as much again for the copy that ours stages.
    need = vms * (2 * memory + VM_OVERHEAD) + HOST_RESERVE
    have = memory_available()
    if need > have:
        return "needs %d MiB of memory, %d MiB are free" % (need // MIB, have // MIB)
    # QEMU's files, the checkpoint that stays and the one that is measured.
    need = 3 * vms * memory + 2048 * MIB
    have = shutil.disk_usage(directory).free
    if need > have:
        return "needs %d MiB of disk, %d MiB are free" % (need // MIB, have // MIB)
    return None


class Load:
    """memory_counter in every VM: rewrites and checks its memory all the time, and holds a random number."""

    def __init__(self, host, cluster, vms, mib):
        self.jobs = [Job(host, cluster, "vm%d" % at, "load") for at in range(vms)]
        for job in self.jobs:
            job.start("/root/memory_counter", str(mib))
        self.numbers = [job.wait_lines(3)[0].split()[0] for job in self.jobs]

    def check(self):
        """It still runs, under the same number, and still counts."""
        for job, number in zip(self.jobs, self.numbers):
            seen = self._last(job)[1]
            wait_for("%s to count on" % job.vm, lambda job=job, seen=seen: self._last(job)[1] > seen, 60, 0.1)
            now = self._last(job)[0]
            check(now == number, "%s shows %s, not %s: another process" % (job.vm, now, number))

    @staticmethod
    def _last(job):
        """(random number, count) of the last whole line; of the output only its end is fetched."""
        job.check_running()
        text = job.tail(200).decode()
        check("corrupt" not in text, "%s: %s" % (job.vm, text[-80:]))
        word, count = text[: text.rfind("\n")].rpartition("\n")[2].split()
        return word, int(count)


class Cell:
    """What the methods work on."""

    def __init__(self, host, name, vms, memory, say):
        self.host, self.name, self.vms, self.memory, self.say = host, name, vms, memory, say
        self.monitors, self.rams, self.samples, self.refused, self.kept, self.why = [], [], [], {}, None, ""
        self.scratch = os.path.join(host.dir, "qemu")
        os.makedirs(self.scratch, exist_ok=True)

    def _attach(self):
        for vm in self.host.status(self.name)["vms"]:
            self.monitors.append(Monitor(vm["debug_qmp"]))
            self.rams.append(GuestRam(vm["pid"], vm["memory_bytes"]))

    def _detach(self):
        for item in self.monitors + self.rams:
            item.close()
        self.monitors, self.rams = [], []

    def _sample(self, method, round_number):
        name, function, full = method
        if name in self.refused:
            return
        os.sync()
        time.sleep(SETTLE_SECONDS)
        populated = sum(ram.populated() for ram in self.rams)
        try:
            sample = function(self)
        except methods.Refused as problem:
            if round_number > 0:
                raise
            self.refused[name] = str(problem)
            self.say("  %s: refused: %s" % (name, problem))
            return
        sample.update(method=name, round=round_number, populated_bytes=populated)
        checkpoint = sample.get("checkpoint")
        if checkpoint and round_number == 0 and not self.kept:
            self.kept = checkpoint  # and with it the images, which the first checkpoint writes
        elif checkpoint:
            self.host.run("rm", checkpoint)
        self.say("  round %d  %-15s pause %8.1f ms  total %8.1f ms"
                 % (round_number, name, sample["pause_ms"], sample["total_ms"]))
        if round_number > 0:
            self.samples.append(sample)

    def _full(self, chosen, round_number):
        with Populated(self.rams, self.monitors):
            for method in chosen:
                self._sample(method, round_number)

    def _round(self, number):
        """All methods, in another order each round."""
        plain = [method for method in METHODS if not method[2]]
        full = [method for method in METHODS if method[2]]
        turn = number % len(full)
        full = full[turn:] + full[:turn]
        if number % 2:
            self._full(full, number)
        for method in plain:
            self._sample(method, number)
        if not number % 2:
            self._full(full, number)

    def _prove(self, load):
        """QEMU's migrations have left nothing behind: a checkpoint is taken, is sound, and restarts."""
        taken = self.host.json("checkpoint", self.name)["manifest"]["id"]
        self.host.run("verify", taken)
        self._detach()
        self.host.run("restart", "--force", taken)
        load.check()

    def run(self, rounds, load_mib):
        path = self.host.cluster_file(self.name, self.vms, "%dM" % (self.memory // MIB))
        try:
            self.why = self.host.json("up", "-c", path, timeout=900)["why"]
            self.host.put_program("%s:all" % self.name, "memory_counter")
            load = Load(self.host, self.name, self.vms, load_mib)
            self._attach()
            for number in range(rounds + 1):  # round 0 warms up and is not counted
                self._round(number)
                load.check()
            self._prove(load)
        except QmpError as problem:
            raise RuntimeError("QEMU: %s" % problem) from problem
        finally:
            self._detach()
            self._remove()

    def _remove(self):
        """As much as can be: the cluster may be busy with what was interrupted."""
        for _ in range(120):
            if self.host.run("down", self.name, check_exit=False).returncode == 0:
                break
            if self.name not in [cluster["name"] for cluster in self.host.json("status")["clusters"]]:
                break
            time.sleep(0.5)
        for item in self.host.json("list")["checkpoints"]:
            self.host.run("rm", item["id"], check_exit=False)
