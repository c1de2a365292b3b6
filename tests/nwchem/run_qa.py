#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""NWChem's QA inputs on a libarmci of ours, with the results compared by NWChem's own scripts."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lib")]
import mpi
from inputs import INPUTS, SUBSETS
from peer import LIBRARY, Peer


def numbers(text):
    found = [int(word) if word.isdigit() else 0 for word in text.split(",")]
    if min(found) < 1:
        raise argparse.ArgumentTypeError("%r: whole numbers from 1 on, like 1,2,4" % text)
    return found


def modes(text):
    found = text.split(",")
    for mode in found:
        if mode not in mpi.MODES:
            raise argparse.ArgumentTypeError("%r: modes are %s" % (mode, ", ".join(mpi.MODES)))
    return found


def names(text):
    found = text.split(",")
    for name in found:
        if name not in INPUTS:
            raise argparse.ArgumentTypeError("no input %r; run_qa.py --list shows them" % name)
    return found


def seconds(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("%r: a whole number of seconds" % text)
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", metavar="PATH", default=LIBRARY,
                        help="the libarmci to run on (default: of the release build)")
    parser.add_argument("--binary", metavar="PATH", help="an NWChem that takes it (default: linked by scripts/nwchem-build)")
    parser.add_argument("--stock", action="store_true", help="Debian's own NWChem instead, to check the inputs themselves")
    parser.add_argument("--ranks", type=numbers, default=[2], metavar="N,…", help="numbers of ranks (default 2)")
    parser.add_argument("--mode", type=modes, default=["shm"], metavar="MODE,…",
                        help="shm: all ranks on one node (default); ofi: each rank a node, over libfabric; mixed: nodes of two; cyclic: dealt out to two nodes")
    parser.add_argument("--inputs", type=names, metavar="NAME,…", help="only these")
    parser.add_argument("--subset", choices=SUBSETS, default="ci", help="ci: a few short ones (default); all")
    parser.add_argument("--deadline", type=seconds, default=600, metavar="SECONDS", help="for each run of NWChem (default 600)")
    parser.add_argument("--keep", metavar="DIR", help="leave the files of failed runs there")
    parser.add_argument("--list", action="store_true", help="print the inputs and exit")
    return parser.parse_args()


class Suite:
    """The tests of one binary and their counts."""

    def __init__(self, peer, keep):
        self.peer = peer
        self.keep = keep
        self.passed = 0
        self.failures = []

    def test(self, one, ranks, mode):
        """All steps of an input, reported on one line, or with the difference."""
        scratch = tempfile.mkdtemp(dir=self.peer.directory)
        title = "%s, %d rank%s, %s" % (one.name, ranks, "s" if ranks > 1 else "", mode)
        try:
            times = [self.peer.step(name, scratch, ranks, mode) for name in one.steps()]
            print("%s: ok (%s s; %s)" % (title, " + ".join("%.1f" % wall for wall in times), one.kinds), flush=True)
            self.passed += 1
        except mpi.Failed as problem:
            print("%s: FAILED: %s" % (title, problem), flush=True)
            self.failures.append(title)
            if self.keep:
                place = os.path.join(self.keep, "%s.%d.%s" % (one.name, ranks, mode))
                shutil.copytree(scratch, place, dirs_exist_ok=True)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def summary(self):
        for title in self.failures:
            print("failed: %s" % title)
        print("%d passed, %d failed, 0 skipped" % (self.passed, len(self.failures)))
        return not self.failures


def interrupted(number, frame):
    raise KeyboardInterrupt


def run(options, directory):
    # Not bound to cores: other jobs on the machine would be bound to the same ones.
    peer = Peer(directory, options.deadline, None if options.stock else options.library, options.binary, ("--bind-to", "none"))
    suite = Suite(peer, options.keep)
    begin = time.monotonic()
    for mode in options.mode:
        for ranks in options.ranks:
            for name in options.inputs or SUBSETS[options.subset]:
                suite.test(INPUTS[name], ranks, mode)
    print("%.0f s" % (time.monotonic() - begin))
    return suite.summary()


def main():
    options = arguments()
    if options.list:
        for one in INPUTS.values():
            print("%-20s %s%s" % (one.name, one.kinds, " [ci]" if one.name in SUBSETS["ci"] else ""))
        return
    if not options.stock and not os.path.exists(options.library):
        sys.exit("run_qa.py: there is no %s; build it, or give --library" % options.library)
    signal.signal(signal.SIGTERM, interrupted)
    directory = tempfile.mkdtemp(prefix="nwqa")
    try:
        fine = run(options, directory)
    except mpi.Failed as problem:
        sys.exit("run_qa.py: %s" % problem)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
