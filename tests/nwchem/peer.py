# SPDX-License-Identifier: BSD-3-Clause
"""An NWChem to run QA tests with: one that takes a given libarmci, or Debian's own."""

import os
import shutil
import subprocess

import compare
import launch
import mpi

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILDER = os.path.join(TOP, "scripts", "nwchem-build")
LIBRARY = os.path.join(os.environ.get("STASIS_BUILD_DIR", os.path.join(TOP, "build", "release")), "lib", launch.SONAME)


def built(*words):
    """What scripts/nwchem-build prints; its progress goes to standard error."""
    done = subprocess.run([BUILDER, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise mpi.Failed("scripts/nwchem-build failed")
    return done.stdout


class Peer:
    """A binary with what it needs. Without a library it is Debian's stock binary."""

    def __init__(self, directory, deadline, library=None, binary=None, mpirun_options=()):
        self.directory = directory
        self.mpirun_options = mpirun_options
        self.deadline = deadline
        cache = built("--qa").strip()
        self.qa = os.path.join(cache, "qa")
        self.basis = os.path.join(cache, "libraries")
        self.place = None
        self.binary = os.path.abspath(binary) if binary else launch.STOCK
        if not library:
            return
        self.place = launch.own_library(directory, library)
        if not binary:
            self.binary = os.path.join(directory, "nwchem")
            built(library, self.binary)
        if launch.loaded_library(self.binary, self.place) != os.path.realpath(library):
            raise mpi.Failed("%s does not take %s" % (self.binary, library))

    def step(self, name, scratch, ranks, mode):
        """One QA test in a scratch directory, its results compared. Returns its wall time."""
        test = os.path.join(self.qa, "tests", name)
        for suffix in (".nw", ".xyz"):
            if os.path.exists(os.path.join(test, name + suffix)):
                shutil.copy(os.path.join(test, name + suffix), scratch)
        output = os.path.join(scratch, name + ".out")
        variables = launch.environment(scratch, self.basis, self.place, mode)
        try:
            argv = mpi.command(ranks, self.binary, name + ".nw", options=self.mpirun_options)
            seconds = mpi.run(argv, output, variables, self.deadline, scratch)
        except mpi.Failed as problem:
            raise mpi.Failed("%s; the end of its output:\n%s" % (problem, mpi.tail(output))) from None
        try:
            compare.compare(os.path.join(self.qa, "nwparse.pl"), output, os.path.join(test, name + ".out"))
        except compare.Differs as problem:
            raise mpi.Failed("%s differs from the reference (-) in:\n%s" % (name, problem)) from None
        return seconds
