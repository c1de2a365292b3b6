#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
[cluster] capture = background: RAM that QEMU sends while the VMs run is that of the pause, whatever they write meanwhile; what fails in the
middle leaves them running; where the host does not allow it, that is said before anything is stopped.
"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import Host, Skip, check, main, wait_for
from test_user import user_host

NAME, VMS, MEMORY = "back", ("vm0", "vm1"), "128M"
MIB = 1 << 20
BACKGROUND = "capture = background"
REFUSED = "set [cluster] capture = compare"
COUNTER_MIB = 16
SUM = "sha256sum /dev/shm/mark"
# Closed gates; VMs stopped; streams begun; in the middle of them; all of RAM there.
FAULTS = ("ckpt.precopy", "ckpt.disk", "ckpt.state", "ckpt.resume", "ckpt.ram")


class World:
    """The cluster that all tests share: counters rewrite memory and check it without end."""

    world = None

    @classmethod
    def get(cls):
        if not cls.world:
            cls.world = cls()
        return cls.world

    def __init__(self):
        self.host = Host()
        try:
            self._begin()
        except BaseException:
            self.host.close()
            raise

    def _begin(self):
        self.host.up(NAME, len(VMS), MEMORY, BACKGROUND)
        self.host.put_program(NAME + ":all", "memory_counter")
        self.jobs = [Job(self.host, NAME, vm, "counter").start("/root/memory_counter", str(COUNTER_MIB)) for vm in VMS]
        for job in self.jobs:
            job.wait_lines(10)

    def checkpoint(self):
        """The manifest of a checkpoint; skips where the kernel cannot."""
        result = self.host.run("checkpoint", "--json", NAME, check_exit=False)
        if REFUSED in result.stdout + result.stderr:
            raise Skip(result.stdout + result.stderr)
        check(result.returncode == 0, "the command says: %s" % result)
        return self.host.json("show", self.host.checkpoints(NAME)[-1]["id"])["manifest"]

    def mark(self):
        """Other bytes in each VM's memory; their sums."""
        for vm in VMS:
            self.host.exec("%s:%s" % (NAME, vm), "sh", "-c", "head -c 3000000 /dev/urandom >/dev/shm/mark")
        return self.sums()

    def sums(self):
        return [self.host.exec("%s:%s" % (NAME, vm), "sh", "-c", SUM) for vm in VMS]

    def rows(self):
        """What the counters have printed: each under one number, without gap, and so without a page of another instant."""
        found = []
        for job in self.jobs:
            job.check_running()
            rows = [line.split() for line in job.lines()]
            check([int(row[1]) for row in rows] == list(range(len(rows))), "%s: a gap or a repeat: %s" % (job.vm, rows[-3:]))
            check(len({row[0] for row in rows}) == 1, "%s shows several numbers" % job.vm)
            found.append(rows)
        return found

    def check_going_on(self):
        for job, rows in zip(self.jobs, self.rows()):
            job.wait_lines(len(rows) + 5)
        return self.rows()

    def check_restart(self, taken, sums):
        before = self.rows()
        self.host.kill_vms(NAME)
        wait_for("the cluster to be seen dead", lambda: self.host.status(NAME)["state"] == "dead")
        self.host.run("restart", taken)
        after = self.check_going_on()
        check([rows[0][0] for rows in after] == [rows[0][0] for rows in before], "other processes than before")
        check(self.sums() == sums, "memory of %s is %s, it was %s" % (taken, self.sums(), sums))

    def close(self):
        World.world = None
        self.host.close()


def test_checkpoints_and_restarts():
    """A first and an incremental one, both restarted while counters dirty memory; phases in their order."""
    world = World.get()
    sums = [world.mark()]
    taken = [world.checkpoint()]
    names = [phase["name"] for phase in taken[0]["phases"]]
    check(names.index("resume") < names.index("ram") < names.index("store"), "phases: %s" % names)
    sums.append(world.mark())
    taken.append(world.checkpoint())
    first, second = (manifest["cost"] for manifest in taken)
    check(second["taken_bytes"] > 0 and second["data_bytes"] > second["taken_bytes"], "nothing was taken over: %s" % second)
    # Of what differs there are a counter's and the mark's pages, and what the guests do besides.
    check(second["new_bytes"] < first["new_bytes"] and second["new_bytes"] < 60 * MIB, "stored anew: %s, before %s" % (second, first))
    for manifest, expected in reversed(list(zip(taken, sums))):
        world.host.run("verify", manifest["id"])
        world.check_restart(manifest["id"], expected)


def test_after_a_restart():
    """VMs that were loaded from such a checkpoint are captured again; the checkpoint can be proven in isolation."""
    world = World.get()
    sums = world.mark()
    taken = world.checkpoint()["id"]
    world.host.run("verify", "--restore", taken)
    world.check_restart(taken, sums)


def test_failures_in_the_middle():
    """Whichever instant a step fails at: VMs run on, their memory whole, and the next checkpoint is a good one."""
    world = World.get()
    for fault in FAULTS:
        world.host.stop_daemon()
        world.host.start_daemon({"STASIS_FAULT": fault + ":1:fail=EIO"})
        before = len(world.host.checkpoints(NAME))
        result = world.host.run("checkpoint", NAME, check_exit=False)
        check(result.returncode == 1 and "injected fault at " + fault in result.stderr, "with %s: %s" % (fault, result))
        check(len(world.host.checkpoints(NAME)) == before, "a checkpoint that failed at %s is listed" % fault)
        world.check_going_on()
    sums = world.mark()
    world.check_restart(world.checkpoint()["id"], sums)


def test_daemon_killed_in_the_middle():
    """QEMU sees that nobody listens, and the next daemon finds running VMs."""
    world = World.get()
    for fault in ("ckpt.precopy", "ckpt.resume"):
        world.host.stop_daemon()
        world.host.start_daemon({"STASIS_FAULT": fault + ":1:kill"})
        result = world.host.run("checkpoint", NAME, check_exit=False)
        check("ended in the middle" in result.stderr, "with %s: %s" % (fault, result))
        wait_for("the VMs to run", lambda: all(vm["state"] == "running" for vm in world.host.status(NAME)["vms"]))
        world.check_going_on()
    sums = world.mark()
    world.check_restart(world.checkpoint()["id"], sums)


def test_too_little_staging():
    """RAM must be in memory first: without it the checkpoint is refused, with both remedies."""
    world = World.get()
    world.host.stop_daemon()
    world.host.start_daemon({"STASIS_STAGING": "1M"})
    result = world.host.run("checkpoint", NAME, check_exit=False)
    check(result.returncode == 1 and "--staging" in result.stderr and REFUSED in result.stderr, "the command says: %s" % result)
    world.check_going_on()
    world.close()


def test_ordinary_user():
    """The kernel keeps such protection from ordinary users: that is said while the VMs run, which are not stopped for it."""
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    if not shutil.which("setpriv"):
        raise Skip("setpriv is not installed")
    with open("/proc/sys/vm/unprivileged_userfaultfd") as file:
        if file.read().strip() != "0":
            raise Skip("this host lets everybody use userfaultfd")
    with user_host() as host:
        host.up(NAME, 1, MEMORY, BACKGROUND)
        result = host.run("checkpoint", NAME, check_exit=False)
        check(result.returncode == 1 and "checkpoint: prepare: " in result.stderr and REFUSED in result.stderr,
              "the command says: %s" % result)
        check(host.exec(NAME + ":vm0", "hostname").strip() == "vm0", "the VM does not run on")


if __name__ == "__main__":
    main([test_checkpoints_and_restarts, test_after_a_restart, test_failures_in_the_middle, test_daemon_killed_in_the_middle,
          test_too_little_staging, test_ordinary_user])
