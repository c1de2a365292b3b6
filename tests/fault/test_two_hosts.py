#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two daemons with one store, writing, pruning and collecting at once, now and then killed: nothing that is listed is lost."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faulty import FILL, SETTLE_SECONDS, check_store_files
from guest_job import Job
from harness import Host, alive, check, main, wait_for

ROUNDS = 8
# What a command may say when the other side is at work, or its daemon was killed.
BUSY = ("another collection is at work", "ended in the middle", "closed the connection", "Connection reset")


class Side:
    """A host of its own with a cluster of one VM, and the checkpoints that its commands have reported."""

    def __init__(self, name, host):
        self.name, self.host = name, host
        self.failures = []
        self.process = None

    def up(self):
        self.host.up(self.name, 1, "128M")
        self.host.put_program(self.name + ":vm0", "memory_counter")
        self.job = Job(self.host, self.name, "vm0", "counter").start("/root/memory_counter", "2")
        self.number = self.job.wait_lines(2)[0].split()[0]

    def begin(self, *args):
        self.args = args
        self.process = self.host.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self):
        out, err = self.process.communicate(timeout=SETTLE_SECONDS)
        if self.process.returncode != 0:
            check(any(word in out + err for word in BUSY), "%s of %s: exit %d: %s%s" % (self.args, self.name, self.process.returncode, out, err))
            self.failures.append((self.args, err))
        return self.process.returncode == 0

    def kill(self):
        """SIGKILL in the middle of whatever it does; the next command has another daemon."""
        pid = self.host.daemon_pid()
        self.host.kill_daemon()
        wait_for("the daemon's end", lambda: not alive(pid), 30)
        self.end()
        self.wait_running()

    def wait_running(self):
        def whole():
            status = self.host.status(self.name)
            return status["state"] == "running" and all(vm["agent"] for vm in status["vms"])

        wait_for("cluster %s to run" % self.name, whole, SETTLE_SECONDS)

    def ids(self):
        return [entry["id"] for entry in self.host.checkpoints(self.name)]

    def check_job(self):
        rows = [line.split() for line in self.job.lines()]
        self.job.check_running()
        check({row[0] for row in rows} == {self.number}, "%s: another process" % self.name)
        check([int(row[1]) for row in rows] == list(range(len(rows))), "%s: a gap or a repeat" % self.name)


def all_verify(sides):
    """Both list the same; every byte of it is good."""
    lists = [[(entry["id"], entry["damaged"]) for entry in side.host.json("list")["checkpoints"]] for side in sides]
    check(sorted(lists[0]) == sorted(lists[1]), "the sides list %s" % lists)
    check(not [each for each in lists[0] if each[1]], "damaged: %s" % lists[0])
    sides[0].host.run("verify", "--all")


def one_round(sides, at):
    """One side takes a checkpoint while the other one does something else; then the turn is the other's."""
    writer, other = sides[at % 2], sides[(at + 1) % 2]
    writer.host.exec(writer.name + ":vm0", "sh", "-c", FILL, str(at % 3))
    other.host.exec(other.name + ":vm0", "sh", "-c", FILL, str(at % 3))
    writer.begin("checkpoint", writer.name)
    other.begin(*(["gc"], ["checkpoint", other.name], ["prune", other.name, "--keep", "2"], ["prune", "--keep", "2"])[at % 4])
    if at % 4 == 3:
        # One after the other is killed, in the middle of its work.
        victim = (writer, other)[at // 4 % 2]
        wait_for("a checkpoint to be under way", lambda: writer.process.poll() is not None or os.listdir(os.path.join(
            sides[0].host.store_dir, "leases")), SETTLE_SECONDS, every=0.01)
        victim.kill()
        (writer if victim is other else other).end()
        return
    check(writer.end(), "the checkpoint of %s: %s" % (writer.name, writer.failures))
    other.end()


def test_two_hosts():
    with tempfile.TemporaryDirectory(prefix="stasis-store-") as store, Host(store=store) as left, Host(store=store) as right:
        sides = [Side("left", left), Side("right", right)]
        for side in sides:
            side.up()
            side.host.run("checkpoint", side.name)
        for at in range(ROUNDS):
            one_round(sides, at)
            if at % 4 == 3:
                all_verify(sides)
        all_verify(sides)
        for side in sides:
            check(side.ids(), "nothing of %s is left" % side.name)
            side.wait_running()
            side.check_job()
            side.host.kill_vms(side.name)
            wait_for("death", lambda side=side: side.host.status(side.name)["state"] == "dead", SETTLE_SECONDS)
            # Whose newest it is, and who restarts it, is all the same to the store.
            side.host.run("restart", side.name)
            side.wait_running()
            side.check_job()
        # One side removes what the other one has just restarted from; then nothing is left that nobody needs.
        newest = [side.ids()[-1] for side in sides]
        sides[0].host.run("rm", newest[1])
        check(newest[1] not in sides[1].ids(), "the other side still lists %s" % newest[1])
        check_store_files(sides[1].host, [each for side in sides for each in side.ids()])
        sides[1].host.run("checkpoint", sides[1].name)
        all_verify(sides)


if __name__ == "__main__":
    main([test_two_hosts])
