#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Every fault point, four ways: stasisd killed there, the step failing, a QEMU killed, the command killed. Points of a collection are
passed by stasis prune, gc and rm.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faulty import FILL, SETTLE_SECONDS, Faulty
from harness import BUILD, LONG, alive, check, main, wait_for

# Whoever fails here has a checkpoint already: the manifest is in place.
COMMITTED = ("store.catalog", "ckpt.committed", "ckpt.merge", "ckpt.done")
# No VM has a process here: the old ones are gone, the new ones are not started. At restart.ram they are just being started.
NO_QEMU = ("restart.stop", "restart.disk")
MAYBE_QEMU = ("restart.ram",)
# After these the restart has replaced the killed VM, or ended the cluster.
BEFORE_STOP = ("restart.begin", "restart.verify")
# A checkpoint writes its lease, its pack, its manifest, in this order.
LEASE, PACK, MANIFEST = 1, 2, 3
PASSAGES = {"store.write": (PACK,), "store.fsync": (PACK, MANIFEST), "store.rename": (LEASE, PACK, MANIFEST)}


class World:
    """The cluster that all tests share; a test that leaves it broken makes the next one begin anew."""

    faulty = None
    turn = 0

    @classmethod
    def get(cls):
        if not cls.faulty:
            cls.faulty = Faulty()
            cls.faulty.check_whole()
        return cls.faulty

    @classmethod
    def drop(cls):
        faulty, cls.faulty = cls.faulty, None
        if faulty:
            sys.stderr.write("--- end of stasisd.log\n%s\n" % "\n".join(faulty.host.log().splitlines()[-40:]))
            faulty.close(check_leaks=False)


class Attempt:
    """One operation that passes one fault point, and what must be so afterwards."""

    def __init__(self, faulty, point, passage=1, collection="prune"):
        self.faulty, self.point, self.passage, self.host = faulty, point, passage, faulty.host
        self.restarts = point.startswith("restart.")
        self.removes = point == "store.remove"
        self.collects = collection if point.startswith("gc.") else None
        if self.removes:
            self.host.run("checkpoint", faulty.name)
            faulty.ids = faulty.listed()
            check(len(faulty.ids) == 2, "checkpoints: %s" % faulty.ids)
        self.before = list(faulty.ids)
        if self.restarts:
            self.args = ["restart", faulty.name, "--force"]
        elif self.removes:
            self.args = ["rm", self.before[0]]
        elif self.collects:
            self._make_garbage()
        else:
            self.args = ["checkpoint", faulty.name]

    def _make_garbage(self):
        """Of three checkpoints the middle one is to go, with most of its pack but not all of it."""
        faulty = self.faulty
        for turn in (1, 2):
            self.host.exec(faulty.name + ":vm0", "sh", "-c", FILL, str(turn))
            self.host.run("checkpoint", faulty.name)
        faulty.ids = faulty.listed()
        check(len(faulty.ids) == 3, "checkpoints: %s" % faulty.ids)
        if self.collects == "prune":
            self.before, self.args = faulty.ids[2:], ["prune", faulty.name, "--keep", "1"]
        elif self.collects == "rm":
            self.before, self.args = faulty.ids[::2], ["rm", faulty.ids[1]]
        else:
            # As another host would: without a collection.
            for each in faulty.ids[:2]:
                os.remove(os.path.join(self.host.store_dir, "manifests", each))
            self.before, self.args = faulty.ids[2:], ["gc"]

    def arm(self, action):
        self.log_at = len(self.host.log())
        self.daemon = self.faulty.restart_daemon("%s:%d:%s" % (self.point, self.passage, action))
        self.faulty.wait_running()

    def log(self):
        return self.host.log()[self.log_at :]

    def check_ids(self, taken):
        """After a checkpoint that exists or not, or a removal, exactly the right ones are listed."""
        ids = self.faulty.listed()
        if self.removes:
            check(ids == self.before[1:], "listed after the removal: %s, before: %s" % (ids, self.before))
        elif self.restarts or self.collects or not taken:
            check(ids == self.before, "listed: %s, before: %s" % (ids, self.before))
        else:
            check(ids[:-1] == self.before and len(ids) == len(self.before) + 1, "listed: %s, before: %s" % (ids, self.before))

    def finish(self, taken):
        faulty = self.faulty
        self.check_ids(taken)
        lost = faulty.bring_back()
        faulty.check_whole()
        self.check_ids(taken)
        faulty.keep_newest()
        return lost


def kill_daemon_at(point, passage, collection="prune"):
    attempt = Attempt(World.get(), point, passage, collection)
    attempt.arm("kill")
    result = attempt.host.run(*attempt.args, check_exit=False)
    # Its sockets close a moment before it is dead.
    wait_for("the end of the daemon: was the point passed? %s" % result, lambda: not alive(attempt.daemon), 20)
    if attempt.collects == "rm":
        # It is removed, and what collects does so behind the command's back.
        check(result.returncode == 0 or "ended in the middle" in result.stderr, "the command says: %s" % result)
    else:
        check(result.returncode != 0, "the command says that all is well")
        check("ended in the middle" in result.stderr, "the command says: %s" % result.stderr)
    attempt.faulty.start_daemon()
    lost = attempt.finish(taken=point in COMMITTED)
    # A restart that was cut short after it ended the old VMs needs another; nothing else may lose the job.
    spared = not attempt.restarts or point in BEFORE_STOP + ("restart.done",)
    check(lost != spared, "the job was %s" % ("lost" if lost else "not lost"))
    return attempt


def daemon_killed(point):
    if not point.startswith("gc."):
        for passage in PASSAGES.get(point, (1,)):
            kill_daemon_at(point, passage)
        return
    for collection in ("prune", "gc", "rm") if LONG else ("prune",):
        kill_daemon_at(point, 1, collection)
    # What a collection that was cut short has left restarts.
    faulty = World.get()
    faulty.host.kill_vms(faulty.name)
    wait_for("the cluster to be dead", lambda: faulty.status()["state"] == "dead", SETTLE_SECONDS)
    check(faulty.bring_back(), "the cluster was not dead")
    faulty.check_whole()


def fail_step_at(point, passage, collection="prune"):
    attempt = Attempt(World.get(), point, passage, collection)
    attempt.arm("fail=EIO")
    result = attempt.host.run(*attempt.args, check_exit=False)
    said = "injected fault at %s" % point
    check(alive(attempt.daemon), "the daemon has ended")
    check(said in attempt.log() or said in result.stderr, "the point was not passed: %s" % result)
    if point in COMMITTED:
        check(result.returncode == 0, "the checkpoint exists, the command says: %s" % result)
    else:
        check(result.returncode == 1 and said in result.stderr, "the command says: %s" % result)
    if attempt.collects == "prune":
        check("2 checkpoints are removed, their space is not freed" in result.stderr, "the command says: %s" % result)
    lost = attempt.finish(taken=point in COMMITTED)
    spared = not attempt.restarts or point in BEFORE_STOP + ("restart.done",)
    check(lost != spared, "the job was %s" % ("lost" if lost else "not lost"))


def step_failed(point):
    for passage in PASSAGES.get(point, (1,)):
        fail_step_at(point, passage)
    if point.startswith("gc.") and LONG:
        fail_step_at(point, 1, "gc")


def qemu_killed(point):
    World.turn += 1
    faulty = World.get()
    attempt = Attempt(faulty, point, PASSAGES.get(point, (1,))[0])
    faulty.set_deed("qemu", victim=faulty.victim(World.turn % 2))
    attempt.arm("run=%s" % faulty.hook)
    result = attempt.host.run(*attempt.args, check_exit=False)
    done = faulty.deed_done()
    check(done, "the point was not passed: %s" % result)
    check(alive(attempt.daemon), "the daemon has ended")
    check((done == "none") == (point in NO_QEMU) or point in MAYBE_QEMU, "killed at %s: %s" % (point, done))
    ok = result.returncode == 0
    check(ok or result.returncode in (1, 4), "the command says: %s" % result)
    if done == "none" or point in BEFORE_STOP:
        check(ok, "the command says: %s" % result)
    elif not ok or not attempt.restarts:
        wait_for("the loss of a VM to be seen", lambda: faulty.status()["state"] in ("dead", "degraded"), SETTLE_SECONDS)
    if attempt.restarts and not ok:
        check(faulty.status()["state"] == "dead", "after a failed restart: %s" % faulty.status())
    if ok and attempt.restarts and done != "none" and point not in BEFORE_STOP:
        wait_for("the loss of a VM to be seen", lambda: faulty.status()["state"] == "degraded", SETTLE_SECONDS)
    # What the command says and what is listed agree; a removal or a collection has nothing to do with the VMs.
    check(ok or not (attempt.removes or attempt.collects), "the command says: %s" % result)
    lost = attempt.finish(taken=ok)
    check(lost != (done == "none" or point in BEFORE_STOP), "the job was %s" % ("lost" if lost else "not lost"))


def command_killed(point):
    faulty = World.get()
    attempt = Attempt(faulty, point, PASSAGES.get(point, (1,))[0], "gc")
    faulty.set_deed("cli")
    attempt.arm("run=%s" % faulty.hook)
    process = faulty.start_cli(*attempt.args)
    process.communicate(timeout=SETTLE_SECONDS)
    wait_for("the hook's end", faulty.deed_done, SETTLE_SECONDS)
    check(process.returncode == -9 and faulty.deed_done() == str(process.pid),
          "not killed: exit %d, the hook says %s" % (process.returncode, faulty.deed_done()))
    check(alive(attempt.daemon), "the daemon has ended")
    # Nobody waits any more; the daemon goes on to the end.
    check(faulty.wait_idle() == "running", "the cluster is %s" % faulty.status())
    lost = attempt.finish(taken=True)
    check(not lost, "the job was lost")


def guarded(name, way, point):
    def test():
        try:
            way(point)
        except BaseException:
            World.drop()
            raise

    test.__name__ = "%s %s" % (point, name)
    return test


def nothing_is_left():
    faulty = World.get()
    faulty.host.run("verify", "--all")
    World.faulty = None
    faulty.close()


def points():
    argv = [os.path.join(BUILD, "libexec", "stasisd"), "--list-fault-points"]
    text = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
    names = [line.split()[0] for line in text.splitlines()]
    check(len(names) >= 37, "stasisd lists only %s" % names)
    return names


def ways(point):
    found = [("stasisd killed", daemon_killed), ("step fails", step_failed)]
    # A collection has nothing to do with the VMs, and goes on without the command.
    if LONG or not point.startswith("gc."):
        found += [("QEMU killed", qemu_killed), ("command killed", command_killed)]
    return found


def run_halves():
    """Two processes, each with a cluster of its own and every second test: most of the time they wait."""
    halves = [
        subprocess.Popen([sys.executable, os.path.abspath(__file__)], env=dict(os.environ, STEPS_HALF=half), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for half in ("0", "1")
    ]
    with concurrent.futures.ThreadPoolExecutor(len(halves)) as readers:
        texts = list(readers.map(lambda half: half.communicate()[0], halves))
    counts = [0, 0, 0]
    for text in texts:
        rest, _, last = text.rstrip("\n").rpartition("\n")
        summary = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", last)
        print(rest if summary else text + "half of the tests ended without a summary FAILED", flush=True)
        counts = [one + int(other) for one, other in zip(counts, summary.groups() if summary else (0, 1, 0))]
    print("%d passed, %d failed, %d skipped" % tuple(counts), flush=True)
    sys.exit(1 if counts[1] else 0)


if __name__ == "__main__":
    half = os.environ.get("STEPS_HALF")
    if not half and not sys.argv[1:]:
        run_halves()
    steps = [guarded(name, way, point) for point in points() for name, way in ways(point)]
    main((steps[int(half) :: 2] if half else steps) + [nothing_is_left])
