# SPDX-License-Identifier: BSD-3-Clause
"""One cell of the comparison: a cluster under load, rounds of all methods in turn, and the proof that it is still sound."""

import os
import shutil
import time

import methods
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
# The engine's other strategy: it is the cluster's, which therefore has no other rows.
BACKGROUND = "ours, background"


def memory_available():
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no MemAvailable in /proc/meminfo")


def reason_to_skip(directory, vms, memory):
    """Why this cell cannot run on this host now, or None."""
    # The VMs with all their RAM, and as much again for the copy that ours may stage.
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


class Cell:
    """What the methods work on."""

    def __init__(self, host, name, vms, memory, say, chosen=None, before_round=None):
        """chosen: names of METHODS (default: all); before_round(cell) returns what all samples of the round get, too."""
        self.host, self.name, self.vms, self.memory, self.say = host, name, vms, memory, say
        self.chosen = [method for method in METHODS if not chosen or method[0] in chosen]
        if chosen == [BACKGROUND]:
            self.chosen = [(BACKGROUND, methods.ours, False)]
        self.before_round, self.of_round, self.load = before_round, {}, None
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
        self.load.mark()
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
        sample.update(self.of_round, method=name, round=round_number, populated_bytes=populated, rate_mib_s=self.load.rate_mib_s)
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
        plain = [method for method in self.chosen if not method[2]]
        full = [method for method in self.chosen if method[2]]
        self.of_round = self.before_round(self) if self.before_round else {}
        if not full:
            for method in plain:
                self._sample(method, number)
            return
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

    def run(self, rounds, make_load, extra=""):
        """make_load(host, cluster, vms) starts a load, with mark(), check() and rate_mib_s. extra: more of the cluster's file."""
        if self.chosen[0][0] == BACKGROUND:
            extra += "\ncapture = background"
        path = self.host.cluster_file(self.name, self.vms, "%dM" % (self.memory // MIB), extra)
        try:
            self.why = self.host.json("up", "-c", path, timeout=900)["why"]
            self.load = make_load(self.host, self.name, self.vms)
            self._attach()
            for number in range(rounds + 1):  # round 0 warms up and is not counted
                self._round(number)
                self.load.check()
            self._prove(self.load)
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
