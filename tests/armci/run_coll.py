#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs test_coll, the test of collectives, groups and mailboxes, on several numbers of ranks."""

import argparse
import os
import re
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import mpi

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-dir", default=os.path.join(ROOT, "build", "release"), help="of CMake (%(default)s)")
    parser.add_argument("--ranks", default="1,2,4,7", help="numbers of ranks, with commas (%(default)s)")
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds for each run (%(default)g)")
    args = parser.parse_args()
    program = os.path.join(args.build_dir, "tests", "armci", "test_coll")
    sums = [0, 0, 0]
    for ranks in args.ranks.split(","):
        with tempfile.NamedTemporaryFile(prefix="stasis-coll-") as output:
            wrong, found = None, None
            try:
                mpi.run(mpi.command(ranks, program), output.name, mpi.environment(), args.deadline)
            except mpi.Failed as failure:
                wrong = str(failure)
            with open(output.name, errors="replace") as file:
                found = SUMMARY.search(file.read())
            if wrong or not found:
                print("%s ranks: FAILED, %s\n%s" % (ranks, wrong or "no summary", mpi.tail(output.name)))
            counts = [int(count) for count in found.groups()] if found else [0, 0, 0]
            if wrong and counts[1] == 0 or not found:
                counts[1] += 1
            sums = [a + b for a, b in zip(sums, counts)]
    print("%d passed, %d failed, %d skipped" % tuple(sums))
    return 1 if sums[1] else 0


if __name__ == "__main__":
    sys.exit(main())
