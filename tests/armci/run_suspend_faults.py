#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong while a job is suspended, natively over libfabric: ranks that are stopped, computing or blocked, agents
that are killed at each phase, phases out of turn. The job must go on, with right results."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import mpi
import run_conformance
import run_suspend
from run_suspend import Failed

RANKS = 4
PHASES = ("drain", "release", "reopen", "connect")


def check(condition, text):
    if not condition:
        raise Failed(text)


class Scene:
    """A job under an agent; at the end the job is told to end, and must end well."""

    def __init__(self, suite, options, program, mode="ofi"):
        self.options = options
        self.directory = tempfile.mkdtemp(prefix="suspend")
        self.until = Path(self.directory, "until")
        self.agent = run_suspend.Agent(options.agent, self.directory)
        environment = suite.environment(mode)
        environment.update(STASIS_ARMCI_CONTROL=self.agent.socket, STRESS_UNTIL=str(self.until))
        self.job = run_suspend.Job(mpi.command(RANKS, str(suite.build_dir / program)), environment,
                                   Path(self.directory, "out"), options.deadline)

    def __enter__(self):
        run_suspend.await_processes(self.agent, self.job, RANKS)
        return self

    def __exit__(self, kind, value, trace):
        self.until.touch()
        self.job.thread.join()
        self.agent.close()
        said = self.job.text()[-3000:]
        shutil.rmtree(self.directory, ignore_errors=True)
        if kind is None:
            check(self.job.status == 0, "the job ended with %s:\n%s" % (self.job.status, said))

    def ask(self, phase, deadline_ms=20000):
        """A phase that must succeed, with all ranks."""
        answer = self.agent.ask(phase, deadline_ms)
        check(answer["ok"], "%s: %s" % (phase, answer.get("message")))
        check(answer["processes"] == RANKS, "%s: %s" % (phase, answer))
        return answer

    def refused(self, phase, words, deadline_ms=20000):
        answer = self.agent.ask(phase, deadline_ms)
        check(not answer["ok"], "%s succeeds" % phase)
        check(all(word in answer["message"] for word in words), "%s: %s" % (phase, answer["message"]))

    def cycle(self):
        for phase in PHASES:
            self.ask(phase)

    def rank_pid(self, rank):
        """The process of a rank, found by what mpirun tells it."""
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"STRESS_UNTIL=" + str(self.until).encode() in words and b"OMPI_COMM_WORLD_RANK=%d" % rank in words:
                return int(entry)
        raise Failed("rank %d is not found" % rank)

    def kill_agent(self):
        """And start another, to which the processes come by themselves."""
        self.agent.process.kill()
        self.agent.process.wait()
        self.agent = run_suspend.Agent(self.options.agent, self.directory)


def test_waits(suite, options):
    """Computing, in a lock, in a message, in a barrier: all are suspended at once."""
    with Scene(suite, options, "waiting") as scene:
        for _ in range(20):
            scene.ask("drain", 5000)
            for phase in PHASES[1:]:
                scene.ask(phase)
            time.sleep(0.03)


def test_stopped(suite, options):
    """A rank that a debugger has stopped is named; the job goes on."""
    with Scene(suite, options, "stress") as scene:
        pid = scene.rank_pid(2)
        os.kill(pid, signal.SIGSTOP)
        try:
            scene.refused("drain", ["rank ", "process "], 1500)
        finally:
            os.kill(pid, signal.SIGCONT)
        scene.ask("abort")
        scene.cycle()


def test_stopped_while_computing(suite, options):
    """Nothing of its own is under way, but it cannot answer."""
    with Scene(suite, options, "waiting") as scene:
        pid = scene.rank_pid(0)
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = scene.agent.ask("drain", 1000)
        finally:
            os.kill(pid, signal.SIGCONT)
        check(not answer["ok"] and "rank " in answer["message"], "drain: %s" % answer)
        scene.ask("abort")
        scene.cycle()


def test_out_of_turn(suite, options):
    with Scene(suite, options, "stress") as scene:
        scene.refused("release", ["not the turn"])
        scene.ask("drain")
        scene.ask("drain")
        scene.ask("abort")
        scene.ask("abort")
        scene.ask("drain")
        scene.ask("release")
        scene.ask("release")
        scene.refused("drain", ["not the turn"])
        scene.refused("connect", ["not the turn"])
        scene.ask("reopen")
        scene.ask("reopen")
        scene.ask("connect")
        scene.ask("connect")
        scene.cycle()


def agent_killed_after(phase):
    def test(suite, options):
        with Scene(suite, options, "stress") as scene:
            for at in PHASES[: PHASES.index(phase) + 1]:
                scene.ask(at)
            scene.kill_agent()
            run_suspend.await_back(scene.agent, RANKS)
            if phase == "drain":
                scene.ask("abort")
            else:
                scene.ask("reopen")
                scene.ask("connect")
            scene.cycle()

    test.__name__ = "test_agent_killed_after_" + phase
    return test


def test_rank_killed(suite, options):
    """A rank that ends while the others are suspended: its job ends, the agent says which rank it was, and goes on."""
    scene = Scene(suite, options, "stress")
    with scene.agent.process.stdout:
        run_suspend.await_processes(scene.agent, scene.job, RANKS)
        scene.ask("drain")
        scene.ask("release")
        os.kill(scene.rank_pid(1), signal.SIGKILL)
        scene.job.thread.join(60)
        check(not scene.job.runs(), "mpirun goes on without rank 1")
        end = time.monotonic() + 20
        while scene.agent.ask("reopen")["processes"] > 0:
            check(time.monotonic() < end, "the agent still has processes")
            time.sleep(0.05)
        check(scene.agent.ask("connect")["ok"], "the agent does not go on")
        scene.agent.close()
        shutil.rmtree(scene.directory, ignore_errors=True)


TESTS = [test_waits, test_stopped, test_stopped_while_computing, test_out_of_turn,
         *[agent_killed_after(phase) for phase in PHASES], test_rank_killed]


def main():
    parser = run_suspend.parser(__doc__)
    parser.add_argument("tests", nargs="*", help="words in the names of the tests to run (all)")
    options = parser.parse_args()
    suite = run_suspend.suite_of(options)
    if not all([suite.build(program) for program in ("stress", "waiting")]):
        sys.exit(1)
    passed = failed = 0
    for test in TESTS:
        if options.tests and not any(word in test.__name__ for word in options.tests):
            continue
        begin = time.monotonic()
        try:
            test(suite, options)
            passed += 1
            print("passed  %-40s %.1f s" % (test.__name__, time.monotonic() - begin), flush=True)
        except (Failed, OSError, subprocess.TimeoutExpired) as problem:
            failed += 1
            print("FAILED  %s: %s" % (test.__name__, problem), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
