#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""stasis run: files in and results out, checkpoints by interval, and everything that may die while it runs."""

import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Host, check, kill_and_wait, main, wait_for

# Each rank counts until the file "stop" appears beside it. What it says and writes depends on all of its steps.
SCRIPT = """#!/bin/sh
rank=$OMPI_COMM_WORLD_RANK
step=0
sum=0
factor=$(cat input/factor)
while [ ! -e stop ]; do
	step=$((step + 1))
	sum=$((sum + step * factor))
	echo "rank $rank step $step sum $sum"
	[ $step -lt 3000 ] || exit 99
	sleep 0.1
done
mkdir -p out/rank$rank
echo "$rank $(hostname) $step $sum" > out/rank$rank/result
exit $1
"""
FACTOR = 7
DETACHED = 130
LOST = 4
KEPT = 3


class Run:
    """A working directory, the command that runs it, and what the command has printed."""

    def __init__(self, host, name, exit_code=0):
        self.host, self.name, self.code = host, name, exit_code
        self.dir = os.path.join(host.dir, "work-" + name)
        os.makedirs(os.path.join(self.dir, "input"))
        with open(os.path.join(self.dir, "job.sh"), "w") as file:
            file.write(SCRIPT)
        with open(os.path.join(self.dir, "input", "factor"), "w") as file:
            file.write("%d\n" % FACTOR)
        self.config = host.cluster_file(name, 2)
        self.process = None

    def start(self, *options):
        return self._start("run", "-c", self.config, "-n", "2", "--dir", self.dir, *options, "--", "sh", "job.sh", self.code)

    def attach(self):
        return self._start("attach", self.name)

    def _start(self, *args):
        self.out = os.path.join(self.host.dir, "out-" + self.name)
        self.err = os.path.join(self.host.dir, "err-" + self.name)
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = self.host.start(*args, stdout=out, stderr=err)
        return self

    def printed(self):
        with open(self.out) as file:
            return file.read()

    def complaints(self):
        with open(self.err) as file:
            return file.read()

    def steps(self, rank):
        return [int(step) for step in re.findall(r"^rank %d step (\d+) sum" % rank, self.printed(), re.M)]

    def wait_steps(self, count, seconds=300):
        def enough():
            check(self.process.poll() is None, "it has ended with %s: %s" % (self.process.poll(), self.complaints()))
            return all(len(self.steps(rank)) >= count for rank in (0, 1))

        wait_for("%d steps of both ranks" % count, enough, seconds)

    def wait_end(self, expected, seconds=300):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("it does not end; it said: %s" % self.complaints())
        check(code == expected, "exit %d, not %d: %s" % (code, expected, self.complaints()))

    def stop_job(self):
        self.host.exec(self.name + ":all", "touch", "/home/stasis/%s/stop" % self.name)

    def record(self):
        return self.host.status(self.name)["run"]

    def check_results(self):
        """Results of both ranks are here, they are right, and the output has each step once."""
        vms = []
        for rank in (0, 1):
            with open(os.path.join(self.dir, "out", "rank%d" % rank, "result")) as file:
                got_rank, vm, step, total = file.read().split()
            vms.append(vm)
            step = int(step)
            check(int(got_rank) == rank and int(total) == FACTOR * step * (step + 1) // 2,
                  "rank %d has computed %s in %d steps" % (rank, total, step))
            check(self.steps(rank) == list(range(1, step + 1)), "rank %d printed steps %s" % (rank, self.steps(rank)))
        check(sorted(vms) == ["vm0", "vm1"], "ranks ran in %s" % vms)
        with open(os.path.join(self.dir, "input", "factor")) as file:
            check(file.read() == "%d\n" % FACTOR, "the input has changed")
        clusters = self.host.json("status")["clusters"]
        check(all(cluster["run"] is None for cluster in clusters), "the run is still recorded: %s" % clusters)

    def wait_checkpoint(self, other_than=()):
        """Wait for a checkpoint of the interval; its id."""

        def newest():
            good = [entry["id"] for entry in self.host.checkpoints(self.name) if entry["id"] not in other_than]
            return good[-1] if good else None

        return wait_for("a checkpoint by interval", newest, 120, every=0.3)


def test_run_and_prune():
    with Host() as host:
        run = Run(host, "whole").start("--checkpoint-every", "2s")
        run.wait_steps(3)
        seen, most = set(), 0
        while len(seen) < KEPT + 2:
            seen.add(run.wait_checkpoint(seen))
            # A new one is there a moment before the oldest is removed.
            most = max(most, len(host.checkpoints("whole")))
        check(most <= KEPT + 1, "%d checkpoints were kept" % most)
        wait_for("old checkpoints to be removed", lambda: len(host.checkpoints("whole")) <= KEPT, 60)
        check(all(entry["tag"] == "auto" for entry in host.checkpoints("whole")), "tags: %s" % host.checkpoints("whole"))
        run.stop_job()
        run.wait_end(0)
        run.check_results()
        check(len(host.checkpoints("whole")) in range(1, KEPT + 2), "left: %s" % host.checkpoints("whole"))
        check(host.status("whole")["state"] in ("running", "checkpointing"), "the cluster has gone")


def test_down_awaits_the_interval():
    """The interval's checkpoint is nobody's fault: what comes at its instant waits for it instead of being refused."""
    with Host() as host:
        here, go = os.path.join(host.dir, "here"), os.path.join(host.dir, "go")
        host.start_daemon({"STASIS_FAULT": "ckpt.resume:1:run=touch %s; while [ ! -e %s ]; do sleep 0.05; done" % (here, go)})
        run = Run(host, "await").start("--checkpoint-every", "1s", "--down")
        wait_for("a checkpoint by interval", lambda: os.path.exists(here), 120)
        run.wait_steps(3)
        run.stop_job()
        wait_for("the run's end", lambda: run.record() is None, 60)
        check(run.process.poll() is None, "it does not wait for the checkpoint: %s" % run.complaints())
        check(host.status("await")["state"] == "checkpointing", "state is %s" % host.status("await")["state"])
        open(go, "w").close()
        run.wait_end(0)
        run.check_results()
        check(host.json("status")["clusters"] == [], "the cluster is still there")
        check(len(host.checkpoints("await")) == 1, "the checkpoint is gone")


def test_detach_and_attach():
    with Host() as host:
        run = Run(host, "detach", exit_code=7).start()
        run.wait_steps(3)
        run.process.send_signal(signal.SIGINT)
        run.wait_end(DETACHED)
        check("stasis attach detach" in run.complaints(), "it does not say how to return: %s" % run.complaints())
        check(run.record() is not None, "the run is forgotten")
        result = host.run("run", "-c", run.config, "--dir", run.dir, "--", "true", check_exit=False)
        check(result.returncode == 125 and "has a run already" in result.stderr, "exit %d: %s" % (result.returncode, result.stderr))
        last = max(run.steps(0))
        run.attach().wait_steps(last + 10)
        # Once more while nobody looks: the job ends without a follower.
        run.process.send_signal(signal.SIGINT)
        run.wait_end(DETACHED)
        run.stop_job()
        run.attach().wait_end(7)
        run.check_results()
        result = host.run("attach", "detach", check_exit=False)
        check(result.returncode == 125 and "has no run" in result.stderr, "exit %d: %s" % (result.returncode, result.stderr))


def test_command_and_daemon_die():
    with Host() as host:
        run = Run(host, "death", exit_code=3).start("--checkpoint-every", "2s")
        run.wait_steps(3)
        daemon = host.daemon_pid()
        kill_and_wait(daemon)
        run.wait_steps(max(run.steps(0)) + 20)
        check(run.process.poll() is None, "run ended with its daemon: %s" % run.complaints())
        check(host.daemon_pid() not in (None, daemon), "no new daemon")
        # The interval goes on under the new daemon.
        first = run.wait_checkpoint()
        run.wait_checkpoint({first})
        run.process.kill()
        run.process.wait(30)
        check(run.record() is not None, "the run is forgotten")
        kill_and_wait(host.daemon_pid())
        run.attach().wait_steps(len(run.steps(0)) + 10)
        run.stop_job()
        run.wait_end(3)
        run.check_results()


def lost_and_restarted(host, run, kill):
    """Kill VMs during a run; do what the command's last words say; the id they name."""
    run.wait_steps(3)
    first = run.wait_checkpoint()
    run.wait_steps(max(run.steps(0)) + 5)
    kill()
    run.wait_end(LOST)
    words = re.search(r"stasis restart (\S+) && stasis attach (\S+)", run.complaints())
    check(words, "it does not say how to go on: %s" % run.complaints())
    check(words.group(2) == run.name, "attach names %s" % words.group(2))
    check(words.group(1) >= first, "restart names %s, but there is %s" % (words.group(1), first))
    host.run("restart", words.group(1))
    run.attach().wait_steps(max(len(run.steps(0)), 1) + 10)


def test_vms_die():
    with Host() as host:
        run = Run(host, "lost", exit_code=5).start("--checkpoint-every", "2s")
        lost_and_restarted(host, run, lambda: host.kill_vms("lost"))
        run.stop_job()
        run.wait_end(5)
        run.check_results()


def test_one_vm_dies():
    with Host() as host:
        run = Run(host, "half").start("--checkpoint-every", "2s")
        # First the VM of the second rank, then, from the restarted run, that of mpirun itself.
        lost_and_restarted(host, run, lambda: host.kill_vms("half", 1))
        lost_and_restarted(host, run, lambda: host.kill_vms("half", 0))
        run.stop_job()
        run.wait_end(0)
        run.check_results()


def test_lost_without_checkpoint():
    with Host() as host:
        run = Run(host, "none").start()
        run.wait_steps(3)
        host.kill_vms("none")
        run.wait_end(LOST)
        check("no checkpoint" in run.complaints() and "stasis down none" in run.complaints(), run.complaints())
        host.run("down", "none")
        run.start().wait_steps(3)
        run.stop_job()
        run.wait_end(0)
        run.check_results()


if __name__ == "__main__":
    main([test_run_and_prune, test_down_awaits_the_interval, test_detach_and_attach, test_command_and_daemon_die, test_vms_die, test_one_vm_dies,
          test_lost_without_checkpoint])
