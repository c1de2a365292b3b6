#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Builds the Global Arrays programs against an ARMCI library given by its path, runs them on every number of ranks and
transport asked for, each under a deadline, and counts. Skips when Global Arrays or Open MPI are not installed."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import mpi

C_PROGRAMS = ["create", "patch", "scatter", "strided", "nonblock", "access", "collect", "counter", "locks", "groups",
              "ghosts", "heat", "matmul"]
FORTRAN_PROGRAMS = ["f_patch", "f_matmul", "f_nxtval", "f_ghosts", "f_solve"]
PROGRAMS = C_PROGRAMS + FORTRAN_PROGRAMS

LIBGA = "libga-openmpi.a"
LIBRARIES = ["-lscalapack-openmpi", "-llapack", "-lblas", "-lgfortran", "-lm"]
C_FLAGS = ["-std=gnu17", "-O2", "-g", "-D_GNU_SOURCE", "-ffp-contract=off", "-Wall", "-Wextra", "-Wshadow",
           "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wpointer-arith", "-Wformat=2", "-Wconversion",
           "-Wno-sign-conversion", "-Wundef", "-Wvla", "-Werror"]
# Global Arrays has INTEGER*8, and takes buffers of any type where Fortran wants always the same.
FORTRAN_FLAGS = ["-O2", "-g", "-ffp-contract=off", "-fdefault-integer-8", "-fallow-argument-mismatch", "-w"]


def libga_path():
    """Where Debian's static library is, or None."""
    found = subprocess.run(["gcc", "-print-file-name=" + LIBGA], capture_output=True, text=True, check=True).stdout.strip()
    return os.path.realpath(found) if os.path.isabs(found) else None


def missing():
    """What keeps the programs from being built here; empty when nothing does."""
    absent = [tool for tool in ("gcc", "mpicc.openmpi", "mpifort.openmpi", "mpirun.openmpi") if not shutil.which(tool)]
    if "gcc" not in absent and not libga_path():
        absent.append(LIBGA)
    return ", ".join(absent)


class Builder:
    """Compiles into a folder of its own for each library, and only what is older than its sources."""

    def __init__(self, build_dir, library):
        self.dir = os.path.join(build_dir, library.strip("/").replace("/", "_"))
        self.library = library
        os.makedirs(self.dir, exist_ok=True)

    def up_to_date(self, target, sources):
        return os.path.exists(target) and all(os.path.getmtime(s) < os.path.getmtime(target) for s in sources)

    def compile(self, argv, target, sources):
        """Run a compiler unless the target is newer than its sources. It appears under its name when it is whole."""
        if self.up_to_date(target, sources):
            return
        result = subprocess.run(argv + ["-o", target + ".new"], cwd=self.dir, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError("%s\n%s" % (" ".join(argv), (result.stdout + result.stderr)[-4000:]))
        os.rename(target + ".new", target)

    def shared_object(self, compiler, flags, source, headers):
        target = os.path.join(self.dir, os.path.basename(source) + ".o")
        self.compile([compiler, *flags, "-c", source], target, [source, *headers, __file__])
        return target

    def program(self, name):
        """The path of a built program."""
        target = os.path.join(self.dir, name)
        if name in C_PROGRAMS:
            compiler, flags, source = "mpicc.openmpi", C_FLAGS, os.path.join(HERE, name + ".c")
            header = os.path.join(HERE, "check.h")
            shared = self.shared_object(compiler, flags, os.path.join(HERE, "check.c"), [header])
        else:
            compiler, source = "mpifort.openmpi", os.path.join(HERE, name + ".F90")
            flags = [*FORTRAN_FLAGS, "-J", self.dir]
            header = os.path.join(HERE, "f_check.F90")
            shared = self.shared_object(compiler, flags, header, [])
        # The library by its full path: -larmci would take Debian's own. Global Arrays first, for it needs the other.
        argv = [compiler, *flags, source, shared, libga_path(), self.library, *LIBRARIES]
        self.compile(argv, target, [source, header, shared, libga_path(), self.library, __file__])
        return target


def run(program, ranks, mode, library, deadline_s, output_path):
    """Run a program. Returns what was wrong, or None."""
    try:
        mpi.run(mpi.command(ranks, program), output_path, mpi.environment(os.path.dirname(library), mode), deadline_s)
    except mpi.Failed as failure:
        return str(failure)
    with open(output_path, encoding="utf-8", errors="replace") as file:
        said_ok = file.read().splitlines().count("ok")
    if said_ok != 1:
        return "it says ok %d times instead of once" % said_ok
    return None


def one_of(allowed):
    """The type of an argument that is a list with commas."""
    def parse(text):
        words = text.split(",")
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError("%s is none of %s" % (word, ", ".join(allowed)))
        return words
    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default=os.path.join(ROOT, "build", "release", "lib", "libarmci.so.0"),
                        help="the ARMCI library to link with, .so or .a (%(default)s)")
    parser.add_argument("--ranks", type=one_of([str(n) for n in range(1, 65)]), default=["1", "2", "4", "8"],
                        help="numbers of ranks, with commas (1,2,4,8)")
    parser.add_argument("--mode", type=one_of(list(mpi.MODES)), default=list(mpi.MODES),
                        help="shm: one node; ofi: each rank a node; mixed: nodes of two ranks; cyclic: dealt out to two nodes (all)")
    parser.add_argument("--programs", type=one_of(PROGRAMS), default=PROGRAMS, help="names, with commas (all)")
    parser.add_argument("--build-dir", default=os.path.join(ROOT, "build", "tests-ga"), help="where to build (%(default)s)")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds for each run (%(default)g)")
    return parser.parse_args()


def main():
    args = parse_arguments()
    # Ended by a signal, it takes the ranks along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    library = os.path.abspath(args.library)
    passed = failed = 0
    absent = missing()

    if absent:
        runs = len(args.programs) * len(args.ranks) * len(args.mode)
        print("Global Arrays skipped: %s not installed" % absent)
        print("0 passed, 0 failed, %d skipped" % runs)
        return 0
    if not os.path.exists(library):
        print("there is no %s to test" % library)
        print("0 passed, 1 failed, 0 skipped")
        return 1
    builder = Builder(os.path.abspath(args.build_dir), library)
    for name in args.programs:
        try:
            program = builder.program(name)
        except RuntimeError as error:
            print("%s: FAILED to build: %s" % (name, error))
            failed += len(args.mode) * len(args.ranks)
            continue
        for mode in args.mode:
            for ranks in args.ranks:
                output = "%s.%s.%s.log" % (program, mode, ranks)
                begin = time.monotonic()
                wrong = run(program, ranks, mode, library, args.deadline, output)
                took_s = time.monotonic() - begin
                print("%s %s, ranks %s: %s (%.1f s)" % (name, mode, ranks, "FAILED, " + wrong if wrong else "ok", took_s),
                      flush=True)
                if wrong:
                    failed += 1
                    print(mpi.tail(output, 25))
                else:
                    passed += 1
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
