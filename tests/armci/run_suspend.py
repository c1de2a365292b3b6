#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Suspends and resumes running jobs again and again, on this machine, under the orders of stasis-agent --local: a random
mixture of operations whose results are checked, so many times; and other conformance programs for as long as they run."""

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import mpi
import run_conformance

TOP = HERE.parent.parent
AGAIN = 20
PHASES = ("drain", "release", "reopen", "connect")


class Failed(Exception):
    """A sentence for the user."""


class Agent:
    """stasis-agent --local with a directory of its own."""

    def __init__(self, program, directory):
        self.socket = os.path.join(directory, "run/stasis/armci.sock")
        self.process = subprocess.Popen([program, "--local", "--root", directory], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, phase, deadline_ms=20000):
        self.process.stdin.write("%s %d\n" % (phase, deadline_ms))
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the agent ended with status %s" % self.process.wait())
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


class Job:
    """mpirun, in the background."""

    def __init__(self, words, environment, output, deadline_s):
        self.output = output
        self.status = None
        self.thread = threading.Thread(target=self.run, args=(words, environment, deadline_s))
        self.thread.start()

    def run(self, words, environment, deadline_s):
        try:
            self.status, _ = mpi.execute(words, self.output, environment, deadline_s)
        except mpi.Failed as problem:
            self.status = str(problem)

    def runs(self):
        return self.thread.is_alive()

    def text(self):
        return self.output.read_text(errors="replace")


def await_processes(agent, job, ranks):
    end = time.monotonic() + 120
    while agent.ask("status")["processes"] < ranks:
        if not job.runs() or time.monotonic() > end:
            raise Failed("the processes have not come to the agent:\n" + job.text())
        time.sleep(0.05)


def await_back(agent, ranks):
    """Until the processes have come to a new agent; a word that is no phase tells how many there are."""
    end = time.monotonic() + 30
    while agent.ask("status")["processes"] < ranks:
        if time.monotonic() > end:
            raise Failed("the processes have not come back to the agent")
        time.sleep(0.05)


def one_cycle(agent, ranks, times):
    for phase in PHASES:
        begin = time.monotonic()
        answer = agent.ask(phase)
        if not answer["ok"]:
            raise Failed("%s: %s" % (phase, answer["message"]))
        if answer["processes"] != ranks:
            raise Failed("%s: %d processes instead of %d" % (phase, answer["processes"], ranks))
        times[phase].append(time.monotonic() - begin)


def cycles(agent, options, ranks, until):
    """So many cycles; then the job is told to end."""
    times = {phase: [] for phase in PHASES}
    chance = random.Random(options.seed)
    for _ in range(options.cycles):
        time.sleep(chance.random() * options.apart)
        one_cycle(agent, ranks, times)
    until.touch()
    return times


def cycles_while_it_runs(agent, job, options, ranks):
    """As many cycles as come before the first process ends; what is begun is ended."""
    times = {phase: [] for phase in PHASES}
    chance = random.Random(options.seed)
    while job.runs():
        time.sleep(chance.random() * options.apart)
        try:
            one_cycle(agent, ranks, times)
        except Failed:
            for phase in ("abort", "reopen", "connect"):
                agent.ask(phase)
            if agent.ask("abort")["processes"] == ranks:
                raise
    return times


def run_job(suite, options, program, mode, ranks):
    directory = tempfile.mkdtemp(prefix="suspend")
    until = Path(directory, "until")
    agent = Agent(options.agent, directory)
    job = None
    try:
        environment = suite.environment(mode)
        environment.update(STASIS_ARMCI_CONTROL=agent.socket, STRESS_UNTIL=str(until))
        job = Job(mpi.command(ranks, str(suite.build_dir / program)), environment, Path(directory, "out"), options.deadline)
        await_processes(agent, job, ranks)
        if program == "stress":
            times = cycles(agent, options, ranks, until)
        else:
            times = cycles_while_it_runs(agent, job, options, ranks)
        job.thread.join()
        if job.status != 0:
            raise Failed("the job ended with %s:\n%s" % (job.status, job.text()))
        return times
    except Failed as problem:
        raise Failed("%s\n%s" % (problem, job.text()[-4000:] if job else "")) from problem
    finally:
        until.touch()
        if job:
            job.thread.join()
        agent.close()
        shutil.rmtree(directory, ignore_errors=True)


def run_again(suite, options, program, mode, ranks):
    """A program that is over too soon is run again, until there have been some cycles."""
    times = run_job(suite, options, program, mode, ranks)
    for _ in range(AGAIN):
        if len(times["connect"]) >= options.cycles:
            break
        for phase, found in run_job(suite, options, program, mode, ranks).items():
            times[phase] += found
    return times


def show(times):
    return "%d times: " % len(times["connect"]) + ", ".join("%s %.1f ms (at most %.1f)" % (phase, statistics.median(found) * 1e3, max(found) * 1e3)
                     for phase, found in times.items() if found)


def parser(description):
    """The options that programs of this kind share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--library", default=str(TOP / "build/release/lib/libarmci.so.0"), help="the libarmci to run on")
    parser.add_argument("--agent", default=str(TOP / "build/release/libexec/stasis-agent"))
    parser.add_argument("--build-dir", help="where the program is compiled (a temporary directory)")
    parser.add_argument("--cflags", default="", help="for the program, as for a sanitizer")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--slow", type=int, default=1)
    parser.add_argument("--deadline", type=int, default=600, metavar="SECONDS", help="of a job")
    return parser


def arguments():
    more = parser(__doc__)
    more.add_argument("--programs", default="stress", help="stress, and others of the suite, separated by commas")
    more.add_argument("--mode", default="ofi", help="shm, ofi, mixed, cyclic, separated by commas")
    more.add_argument("--ranks", default="4", help="numbers of ranks, separated by commas")
    more.add_argument("--cycles", type=int, default=20)
    more.add_argument("--apart", type=float, default=0.1, metavar="SECONDS", help="most time from cycle to cycle")
    more.add_argument("--seed", type=int, default=1)
    return more.parse_args()


def suite_of(options):
    """The conformance suite's ways to build its programs and to make their environment."""
    words = ["--library", options.library, "--slow", str(options.slow), "--cflags=" + options.cflags]
    words += ["--env=" + one for one in options.env]
    if options.build_dir:
        words += ["--build-dir", options.build_dir]
    return run_conformance.Suite(run_conformance.parse(words))


def main():
    options = arguments()
    suite = suite_of(options)
    passed = failed = 0
    programs = options.programs.split(",")
    if not all([suite.build(program) for program in programs]):
        sys.exit(1)
    for program, mode, ranks in itertools.product(programs, options.mode.split(","), map(int, options.ranks.split(","))):
        title = "suspend %s [%s, %d ranks]" % (program, mode, ranks)
        try:
            print("passed  %s  %s" % (title, show(run_again(suite, options, program, mode, ranks))), flush=True)
            passed += 1
        except Failed as problem:
            print("FAILED  %s: %s" % (title, problem), flush=True)
            failed += 1
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
