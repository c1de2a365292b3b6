#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Checkpoints that store what has changed: memory and files of each are those of its instant, whichever is restarted, and whatever happened
between one and the next: a daemon's death, a checkpoint that failed, the removal of its base, a restart.
"""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import LONG, Host, Skip, check, main, wait_for

NAME, VMS = "inc", ("vm0", "vm1")
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
CHECKPOINTS = 6
# Files appear, go, change in place; memory changes; every second time all of it reaches the disk, and what is free is given back.
CHANGE = r"""
set -e
turn=$1
mkdir -p /root/data
cd /root/data
head -c 1500000 /dev/urandom >file$turn
head -c 700 /dev/urandom >>log
rm -f file$((turn - 2))
[ -e stable ] || head -c 4000000 /dev/urandom >stable
dd if=/dev/urandom of=stable bs=4k count=8 seek=$((turn * 16 % 900)) conv=notrunc 2>&1
head -c 300000 /dev/urandom >/dev/shm/mark
ln -sf file$turn newest
if [ $((turn % 2)) = 0 ]; then
	sync
	fstrim / || true
fi
"""
SUMS = "cd / && sha256sum root/data/* dev/shm/mark && readlink root/data/newest"
DROP = "sync; echo 3 >/proc/sys/vm/drop_caches"
# More than a restart waits for: this VM's disk is served while it runs already.
LARGE = "mkdir -p /root/data && head -c 70000000 /dev/urandom >/root/data/large && sync"


class Instant:
    """What a checkpoint must bring back."""

    def __init__(self, world):
        self.sums = world.sums()
        self.numbers = world.numbers()
        self.counts = [len(job.lines()) for job in world.jobs]


class World:
    """The cluster that all tests share."""

    world = None

    @classmethod
    def get(cls):
        if not cls.world:
            cls.world = cls()
        return cls.world

    def __init__(self):
        for tool in ("e2fsck", "qemu-img"):
            if not shutil.which(tool, path=PATH):
                raise Skip("%s is not installed" % tool)
        self.host = Host()
        self.turn = 0
        self.instants = {}
        self.host.up(NAME, len(VMS), "128M")
        self.host.put_program(NAME + ":all", "memory_counter")
        self.jobs = [Job(self.host, NAME, vm, "counter").start("/root/memory_counter", "4") for vm in VMS]
        self.host.exec(NAME + ":vm1", "sh", "-c", LARGE)

    def sums(self):
        return [self.host.exec("%s:%s" % (NAME, vm), "sh", "-c", SUMS) for vm in VMS]

    def numbers(self):
        """The random number that each counter has in its memory; its lines count 0, 1, 2 … under it."""
        found = []
        for job in self.jobs:
            job.check_running()
            rows = [line.split() for line in job.lines()]
            check([int(row[1]) for row in rows] == list(range(len(rows))), "%s: a gap or a repeat: %s" % (job.vm, rows[-3:]))
            check(len({row[0] for row in rows}) == 1, "%s shows several numbers" % job.vm)
            found.append(rows[0][0])
        return found

    def change(self):
        self.turn += 1
        for vm in VMS:
            self.host.exec("%s:%s" % (NAME, vm), "sh", "-c", CHANGE, "change", str(self.turn))

    def checkpoint(self):
        """Take one and note what it must bring back; its id."""
        instant = Instant(self)
        taken = self.host.json("checkpoint", NAME)["manifest"]["id"]
        self.instants[taken] = instant
        return taken

    def disks(self):
        return [os.path.join(self.host.state_dir, "clusters", NAME, vm, "disk.qcow2") for vm in VMS]

    def check_disks(self):
        """What killed VMs leave is what a loss of power leaves: the journal mends it, and there is nothing else to mend."""
        for disk in self.disks():
            check(subprocess.run(["qemu-img", "check", "-q", disk], capture_output=True, timeout=300, check=False).returncode in (0, 3),
                  "%s is damaged" % disk)
            raw = os.path.join(self.host.dir, "disk.raw")
            subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw], check=True, timeout=600)
            env = dict(os.environ, PATH=PATH)
            subprocess.run(["e2fsck", "-f", "-p", raw], env=env, capture_output=True, timeout=600, check=False)
            result = subprocess.run(["e2fsck", "-fn", raw], env=env, capture_output=True, text=True, timeout=600, check=False)
            check(result.returncode == 0, "e2fsck of %s: %s" % (disk, result.stdout[-2000:]))
            os.unlink(raw)

    def kill(self):
        self.host.kill_vms(NAME)
        wait_for("the cluster to be seen dead", lambda: self.host.status(NAME)["state"] == "dead")

    def check_restart(self, checkpoint):
        """Kill all VMs, restart, and look at everything; then at the disks as they are without the guests."""
        instant = self.instants[checkpoint]
        self.kill()
        check(self.host.json("restart", checkpoint)["checkpoint"] == checkpoint, "another one was restarted")
        counts = [len(job.lines()) for job in self.jobs]
        check(self.numbers() == instant.numbers, "numbers are %s, they were %s" % (self.numbers(), instant.numbers))
        check(all(now >= then for now, then in zip(counts, instant.counts)), "lines %s, they were %s" % (counts, instant.counts))
        check(self.sums() == instant.sums, "of %s: files are\n%s\nthey were\n%s" % (checkpoint, self.sums(), instant.sums))
        # And out of the disk instead of out of memory.
        for vm in VMS:
            self.host.exec("%s:%s" % (NAME, vm), "sh", "-c", DROP)
        check(self.sums() == instant.sums, "of %s, read again: files are\n%s\nthey were\n%s" % (checkpoint, self.sums(), instant.sums))

    def wait_not_served(self):
        """A served disk is a file of its own when it has been copied."""
        def whole():
            return all(vm["state"] == "running" for vm in self.host.status(NAME)["vms"]) and not [
                name for name in os.listdir(os.path.join(self.host.run_dir, "c", NAME)) if name == "disks.sock"]

        wait_for("served disks to be copied", whole, 120)

    def close(self):
        World.world = None
        self.host.close()


def test_six_checkpoints():
    """Restarted from the newest, one in the middle and the oldest."""
    world = World.get()
    taken = []
    for _ in range(CHECKPOINTS):
        world.change()
        taken.append(world.checkpoint())
    bytes_of = {entry["id"]: entry["bytes"] for entry in world.host.checkpoints(NAME)}
    check(all(bytes_of[each] < bytes_of[taken[0]] / 4 for each in taken[1:]), "what they have added: %s" % bytes_of)
    world.host.run("verify", "--all")
    for each in (taken[-1], taken[CHECKPOINTS // 2], taken[0]):
        world.check_restart(each)
    world.wait_not_served()
    world.kill()
    world.check_disks()
    world.host.run("restart", taken[-1])
    world.wait_not_served()


def test_checkpoints_after_restarts():
    """The base of the next checkpoint is the one that was restarted, not the newest."""
    world = World.get()
    ids = [entry["id"] for entry in world.host.checkpoints(NAME)]
    world.check_restart(ids[1])
    # At once, while a disk is still served, and again later.
    first = world.checkpoint()
    world.wait_not_served()
    world.change()
    second = world.checkpoint()
    world.check_restart(second)
    world.check_restart(first)
    world.wait_not_served()
    world.host.run("verify", "--all")


def test_daemon_killed_between():
    """Traces of RAM are lost with a daemon, QEMU's bitmaps are not."""
    world = World.get()
    world.host.kill_daemon()
    world.change()
    first = world.checkpoint()
    world.host.kill_daemon()
    second = world.checkpoint()
    world.change()
    world.host.kill_daemon()
    third = world.checkpoint()
    world.check_restart(third)
    world.check_restart(first)
    world.wait_not_served()
    for each in (first, second, third):
        world.host.run("verify", each)


def test_failed_between():
    """A checkpoint that fails, before it exists or when its layers are merged, leaves the next one a right base."""
    world = World.get()
    for fault in ("ckpt.ram:1:fail=EIO", "store.publish:1:fail=EIO", "ckpt.merge:1:fail=EIO"):
        world.change()
        world.host.stop_daemon()
        world.host.start_daemon({"STASIS_FAULT": fault})
        before = Instant(world)
        result = world.host.run("checkpoint", NAME, check_exit=False)
        merge = fault.startswith("ckpt.merge")
        check(result.returncode == (0 if merge else 1), "with %s: %s" % (fault, result))
        world.change()
        taken = world.checkpoint()
        if merge:
            exists = [entry["id"] for entry in world.host.checkpoints(NAME)][-2]
            world.instants[exists] = before
            world.check_restart(exists)
        world.check_restart(taken)
        world.wait_not_served()
    world.host.run("verify", "--all")


def test_base_removed_between():
    world = World.get()
    world.change()
    world.checkpoint()
    world.change()
    world.host.run("rm", *[entry["id"] for entry in world.host.checkpoints(NAME)])
    world.host.run("gc")
    first = world.checkpoint()
    world.change()
    second = world.checkpoint()
    world.host.run("prune", NAME, "--keep", "1")
    check([entry["id"] for entry in world.host.checkpoints(NAME)] == [second], "listed: %s" % world.host.checkpoints(NAME))
    check(first != second, "both are %s" % first)
    world.change()
    third = world.checkpoint()
    world.host.run("verify", "--all")
    world.check_restart(third)
    world.wait_not_served()
    world.kill()
    world.check_disks()
    world.check_restart(second)
    world.close()


if __name__ == "__main__":
    main([test_six_checkpoints, test_checkpoints_after_restarts, test_base_removed_between]
         + ([test_daemon_killed_between, test_failed_between] if LONG else []))
