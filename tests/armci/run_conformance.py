#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Conformance of an ARMCI library: builds tests/armci/conformance against it and runs it under mpirun.

    run_conformance.py --library build/release/lib/libarmci.so.0
    run_conformance.py --library L --mode ofi --ranks 4 --programs strided,acc
    run_conformance.py --coverage L      every exported function is called by a program (coverage.txt)
    run_conformance.py --library /usr/lib/…/libarmci-openmpi.a --reference    what both have, on the reference

Modes: shm (one node), ofi (each rank a node), mixed (nodes of two ranks), cyclic (dealt out to two nodes). The last line is
"N passed, N failed, N skipped"; one test is one program at one number of ranks in one mode.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import mpi

SUITE = HERE / "conformance"
INCLUDE = HERE.parent.parent / "include"

# Programs in the order they run; each with the arguments of its runs.
PROGRAMS = {
    "init": [["nest"], ["init"], ["thread"], ["comm"], ["mpi_comm"], ["cleanup"], ["msg"], ["leftovers"]],
    "domain": [[]],
    "packing": [[]],
    "malloc": [[]],
    "contig": [[]],
    "strided": [[]],
    "vector": [[]],
    "acc": [[]],
    "value": [[]],
    "nonblocking": [[]],
    "rmw": [[]],
    "mutex": [[]],
    "fence": [[]],
    "extras": [[]],
    "group": [[]],
    "msg": [[]],
    "msg_node": [[]],
    "profiling": [[]],
    "peers_busy": [[]],
    "stress": [[]],
    "large": [[]],
}
# These end badly on purpose, and are judged by what they say.
ENDINGS = ("bad_use", "dead_peer")
SOURCES = {
    "acc": ["acc.c", "acc_types.c"],
    "bad_use": ["bad_use.c", "bad_transfers.c", "bad_others.c"],
}
COMMON = ["conf.c", "shape.c"]
# Programs that use what only our library has.
BEYOND_REFERENCE = {"init", "extras", "msg_node", "profiling"}
SHAPE_USERS = {"strided", "acc", "stress", "packing"}

WARNINGS = (
    "-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wformat=2 "
    "-Wconversion -Wno-sign-conversion -Wundef -Wvla -Werror"
).split()

DEAD_MODES = [["get"], ["put"], ["acc"], ["rmw"], ["lock"], ["barrier"], ["get", "stop"]]
DEAD_S = 2
REPORTED_WITHIN_S = 15

CALLABLE = re.compile(r"^(ARMCI_|armci_|ARMCIX_)")
PROFILING = re.compile(r"^(PARMCI_|parmci_)")


@dataclass
class Run:
    """How a job ended: its output, and status None if it was ended at the deadline."""

    status: int | None
    output: str
    seconds: float


@dataclass
class Totals:
    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: int = 0

    def say(self, name, seconds, verdict, why=""):
        if verdict == "passed":
            self.passed += 1
        elif verdict == "skipped":
            self.skipped += 1
        else:
            self.failed.append(name)
        print(f"{verdict:8}{name:44}{seconds:7.1f} s{'  ' + why if why else ''}", flush=True)


class Suite:
    def __init__(self, options):
        self.options = options
        self.totals = Totals()
        self.build_dir = Path(options.build_dir or tempfile.mkdtemp(prefix="armci-conformance-"))
        self.build_dir.mkdir(parents=True, exist_ok=True)
        self.library = Path(options.library or options.coverage).resolve()

    # ---- Building ----

    def compile_command(self, program):
        options = self.options
        library = str(self.library)
        sources = [str(SUITE / name) for name in SOURCES.get(program, [program + ".c"])]
        common = COMMON if program in SHAPE_USERS else COMMON[:1]
        command = [f"mpicc.{options.mpi}", "-std=gnu17", "-O1", "-g", *WARNINGS]
        if not options.reference:
            command.append(f"-I{options.include}")
        for directory in self.mpi_includes():
            command += ["-isystem", directory]
        command += shlex.split(options.cflags)
        command += ["-o", str(self.build_dir / program), *sources]
        command += [str(SUITE / name) for name in common]
        command += [library, f"-Wl,-rpath,{os.path.dirname(library)}", *shlex.split(options.ldflags)]
        return command + ["-lm", "-lpthread"]

    def mpi_includes(self):
        """MPI's own headers need not pass our warnings."""
        show = "-showme:incdirs" if self.options.mpi == "openmpi" else "-compile_info"
        text = subprocess.run(
            [f"mpicc.{self.options.mpi}", show], capture_output=True, text=True, check=True
        ).stdout
        if self.options.mpi == "openmpi":
            return text.split()
        return [word[2:] for word in text.split() if word.startswith("-I")]

    def build(self, program):
        """Compile and link; True if there is a program now."""
        begin = time.monotonic()
        done = subprocess.run(
            self.compile_command(program), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode == 0:
            return True
        print(done.stdout)
        self.totals.say(f"{program} (build)", time.monotonic() - begin, "FAILED")
        return False

    # ---- Running ----

    def environment(self, mode):
        environment = mpi.environment(mode=mode, more={"CONFORMANCE_SLOW": str(self.options.slow)})
        if self.options.valgrind:
            environment.setdefault("STASIS_ARMCI_ARENA", "128M")  # it looks for pointers in all of it
        if self.options.reference:
            environment["CONFORMANCE_REFERENCE"] = "1"
            # Its other method is wrong for strides that are no multiples of each other.
            environment["ARMCI_STRIDED_METHOD"] = "IOV"
        # Leaks are valgrind's to find: MPI has too many of its own.
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=0")
        environment.update(pair.split("=", 1) for pair in self.options.env)
        return environment

    def launch(self, program, arguments, ranks, mode, deadline_s, *, survive=False, extra_env=None):
        """Run the job; nothing of it is left behind."""
        environment = self.environment(mode)
        environment.update(extra_env or {})
        options = ["--mca", "orte_abort_on_non_zero_status", "0"] if survive else []
        words = [*self.tool(), str(self.build_dir / program), *arguments]
        output = self.build_dir / (program + ".log")
        begin = time.monotonic()
        try:
            status, _ = mpi.execute(mpi.command(ranks, *words, mpi=self.options.mpi, options=options), output, environment,
                                    deadline_s)
        except mpi.Failed:
            status = None
        return Run(status, output.read_text(errors="replace"), time.monotonic() - begin)

    def tool(self):
        if not self.options.valgrind:
            return []
        return [
            "valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect",
            "--num-callers=30", "--child-silent-after-fork=yes", "--xml=yes",
            f"--xml-file={self.build_dir}/valgrind-%p",
        ]

    def deadline(self):
        return self.options.timeout * self.options.slow

    def fail(self, name, run, why):
        tail = "\n".join("    | " + line for line in run.output.splitlines()[-40:])
        print(tail)
        if run.status is None:
            why = f"not ended after {self.deadline():.0f} s"
        self.totals.say(name, run.seconds, "FAILED", why)

    def run_program(self, program, arguments, ranks, mode):
        name = " ".join([program, *arguments, f"[{mode}, {ranks} ranks]"])
        run = self.launch(program, arguments, ranks, mode, self.deadline())
        found = re.search(r"^\S.*: (\d+) passed, 0 failed, (\d+) skipped$", run.output, re.M)
        if run.status != 0 or found is None:
            self.fail(name, run, f"status {run.status}")
            return
        faults = self.valgrind_faults() if self.options.valgrind else []
        if faults:
            print("\n".join("    | " + fault for fault in faults))
            self.totals.say(name, run.seconds, "FAILED", f"valgrind: {len(faults)} errors")
            return
        if found[1] == "0":
            why = re.search(r"skipped: (.*)", run.output)
            self.totals.say(name, run.seconds, "skipped", why[1] if why else "")
            return
        note = f"{found[1]} sections" + (f", {found[2]} skipped" if found[2] != "0" else "")
        self.totals.say(name, run.seconds, "passed", note)

    def valgrind_faults(self):
        """Errors whose first frame outside of the C library is the library's or the program's."""
        faults = []
        for path in self.build_dir.glob("valgrind-*"):
            try:
                root = xml.etree.ElementTree.parse(path).getroot()
            except xml.etree.ElementTree.ParseError:
                faults.append(f"{path.name}: no whole report")
                continue
            for error in root.iter("error"):
                frames = list(error.find("stack").iter("frame"))
                ours = [frame for frame in frames if not self.is_base(frame.findtext("obj", ""))]
                if ours and self.is_ours(ours[0].findtext("obj", "")):
                    places = " < ".join(frame.findtext("fn", "?") for frame in frames[:8])
                    what = error.findtext("what") or error.findtext("xwhat/text")
                    faults.append(f"{error.findtext('kind')}: {what}: {places}")
            path.unlink()
        return faults

    @staticmethod
    def is_base(path):
        return re.search(r"/(vgpreload_|libc\.so|libc-|ld-linux|libpthread)", path) is not None

    def is_ours(self, path):
        return path.startswith(str(self.build_dir)) or os.path.basename(path).startswith("libarmci")

    # ---- Programs that end badly on purpose ----

    def bad_modes(self):
        listing = subprocess.run(
            [str(self.build_dir / "bad_use"), "--list"], stdout=subprocess.PIPE, text=True,
            check=True, env=self.environment("shm"),
        ).stdout
        return [line.split() for line in listing.splitlines()]

    def run_bad_use(self, mode):
        if self.options.mpi != "openmpi":
            self.totals.say(f"bad_use [{mode}]", 0, "skipped", "mpirun.mpich may lose the last words of a job that aborts")
            return
        if mode in ("mixed", "cyclic"):
            return  # two ranks are one node, or two: as shm, or ofi
        for name, call, kind in self.bad_modes():
            if not self.is_wanted([name]):
                continue
            run = self.launch("bad_use", [name], 2, mode, self.deadline())
            title = f"bad_use {name} [{mode}]"
            if "survived" in run.output:
                self.fail(title, run, "the library let it pass")
            elif run.status in (0, None):
                self.fail(title, run, f"status {run.status}")
            elif kind != "silent" and not self.names(run.output, call):
                self.fail(title, run, f"no sentence \"armci: rank R: {call}(…): …\"")
            else:
                self.totals.say(title, run.seconds, "passed", self.sentence(run.output)[:100])

    @staticmethod
    def names(output, call):
        # mpirun may put its own lines between ours, not into them.
        return re.search(rf"^armci: rank (\d+|\?): {call}\(.*\): .+", output, re.M)

    @staticmethod
    def sentence(output):
        found = re.search(r"^armci: rank .*", output, re.M)
        return found[0] if found else ""

    def run_dead_peer(self, mode):
        if mode in ("shm", "cyclic"):
            return
        ranks = 3
        for arguments in filter(self.is_wanted, DEAD_MODES):
            name = " ".join(["dead_peer", *arguments, f"[{mode}, {ranks} ranks]"])
            if self.options.mpi != "openmpi":
                self.totals.say(name, 0, "skipped", "mpirun.mpich ends the survivors itself")
                continue
            run = self.launch(
                "dead_peer", arguments, ranks, mode, self.deadline(), survive=True,
                extra_env={"STASIS_ARMCI_DEAD_S": str(DEAD_S)},
            )
            within = REPORTED_WITHIN_S * self.options.slow
            if "now" not in run.output:
                self.fail(name, run, "it did not come to the death")
            elif not re.search(rf"^armci: rank \d+: .*lost.* rank {ranks - 1}\b|"
                               rf"^armci: rank \d+: .*lost rank {ranks - 1}\b|"
                               rf"^armci: rank \d+: .*rank {ranks - 1}\b.*lost", run.output, re.M):
                self.fail(name, run, f"no sentence says that rank {ranks - 1} is lost")
            elif run.status in (0, None) or run.seconds > within:
                self.fail(name, run, f"status {run.status} after {run.seconds:.0f} s")
            else:
                self.totals.say(name, run.seconds, "passed", self.sentence(run.output)[:100])

    # ---- Coverage ----

    def called_by(self, program):
        text = subprocess.run(
            ["nm", "--undefined-only", str(self.build_dir / program)], stdout=subprocess.PIPE,
            text=True, check=True,
        ).stdout
        return {line.split()[-1].split("@")[0] for line in text.splitlines()}

    def exported(self):
        text = subprocess.run(
            ["nm", "-D", "--defined-only", str(self.library)], stdout=subprocess.PIPE, text=True,
            check=True,
        ).stdout
        symbols = (line.split() for line in text.splitlines())
        return {word[2].split("@")[0] for word in symbols if len(word) == 3 and word[1] in "TWi"}

    def run_coverage(self):
        begin = time.monotonic()
        table = {}
        for line in (SUITE / "coverage.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                function, program = line.split()
                table[function] = program
        programs = [*PROGRAMS, *ENDINGS]
        calls = {program: self.called_by(program) for program in programs if self.build(program)}
        exported = self.exported()
        faults = []
        for function in sorted(name for name in exported if CALLABLE.match(name)):
            if function not in table:
                faults.append(f"{function}: no program of the suite calls it")
        for function, program in table.items():
            if program not in programs:
                faults.append(f"{function}: there is no program {program}")
            elif program in calls and function not in calls[program]:
                faults.append(f"{function}: {program} does not call it")
            elif function not in exported:
                faults.append(f"{function}: the library does not export it")
        aliases = {name for name in exported if PROFILING.match(name)}
        for alias in sorted(aliases):
            if alias.lower().removeprefix("p") not in {name.lower() for name in exported}:
                faults.append(f"{alias}: there is no function that it is the profiling name of")
        if aliases and not aliases & calls.get("profiling", set()):
            faults.append("the program profiling calls no function by its profiling name")
        for fault in faults:
            print("    | " + fault)
        verdict = "FAILED" if faults else "passed"
        count = len([name for name in exported if CALLABLE.match(name)])
        note = f"{count} functions, {len(aliases)} profiling names"
        self.totals.say("coverage", time.monotonic() - begin, verdict, note)

    # ---- All ----

    def is_wanted(self, arguments):
        return not self.options.only or not arguments or arguments[0] in self.options.only

    def run_modes(self, program):
        options = self.options
        for mode in options.modes:
            if program == "bad_use":
                self.run_bad_use(mode)
                continue
            if program == "dead_peer":
                self.run_dead_peer(mode)
                continue
            for ranks in options.rank_counts:
                # Below, the mode is the same as another one.
                if ranks < {"shm": 1, "ofi": 2, "mixed": 3, "cyclic": 3}[mode] and len(options.modes) > 1:
                    continue
                for arguments in filter(self.is_wanted, PROGRAMS[program]):
                    self.run_program(program, arguments, ranks, mode)

    def run(self):
        if self.options.coverage:
            self.run_coverage()
        else:
            for program in self.options.program_names:
                if self.build(program):
                    self.run_modes(program)
        totals = self.totals
        for name in totals.failed:
            print(f"failed: {name}")
        print(f"{totals.passed} passed, {len(totals.failed)} failed, {totals.skipped} skipped")
        return 1 if totals.failed else 0


def usual(names, mpi_name):
    """Without what takes gigabytes, unless it is asked for, and what mpirun.mpich spoils: it may lose the last words of a job
    that aborts, and ends the survivors of a dead rank itself."""
    left_out = [] if os.environ.get("CONFORMANCE_LARGE") else ["large"]
    if mpi_name == "mpich":
        left_out += ENDINGS
    return [name for name in names if name not in left_out]


def parse(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--library", help="full path of the library to link and run with")
    what.add_argument("--coverage", metavar="LIB", help="check what the suite calls of LIB's functions")
    parser.add_argument("--ranks", default="1,2,4", help="numbers of ranks (1,2,4)")
    parser.add_argument("--mode", default="all", help="shm, ofi, mixed, cyclic, a list of them, or all")
    parser.add_argument("--programs", help="a list of programs (all but large, which CONFORMANCE_LARGE=1 adds)")
    parser.add_argument("--only", help="a list of first arguments: modes of init, bad_use, dead_peer (all)")
    parser.add_argument("--mpi", choices=sorted(mpi.MPIRUN), default="openmpi")
    parser.add_argument("--valgrind", action="store_true", help="no error or leak of the library's own")
    parser.add_argument("--slow", type=int, default=1, metavar="FACTOR",
                        help="deadlines times FACTOR, repetitions divided by it (a sanitizer: 5, valgrind: 20)")
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help="deadline of a run (60)")
    parser.add_argument("--build-dir", metavar="D", help="where the programs are built (a temporary directory)")
    parser.add_argument("--include", default=str(INCLUDE), help="directory of the headers")
    parser.add_argument("--cflags", default="", help="more flags for the compiler")
    parser.add_argument("--ldflags", default="", help="more flags behind the library")
    parser.add_argument("--env", action="append", default=[], metavar="K=V", help="for the programs")
    parser.add_argument("--reference", action="store_true",
                        help="the library is ARMCI-MPI with its own headers: only what both promise")
    options = parser.parse_args(words)
    options.modes = list(mpi.MODES) if options.mode == "all" else options.mode.split(",")
    options.rank_counts = [int(word) for word in options.ranks.split(",")]
    options.only = set(options.only.split(",")) if options.only else None
    known = [*PROGRAMS, *ENDINGS]
    if options.reference:
        options.modes = ["shm"]
        known = [name for name in PROGRAMS if name not in BEYOND_REFERENCE]
    options.program_names = options.programs.split(",") if options.programs else usual(known, options.mpi)
    for name in options.program_names:
        if name not in known:
            parser.error(f"no program {name}: there are {', '.join(known)}")
    for mode in options.modes:
        if mode not in mpi.MODES:
            parser.error(f"no mode {mode}: there are {', '.join(mpi.MODES)}")
    return options


if __name__ == "__main__":
    # Ended from outside, it ends its job first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(Suite(parse()).run())
