# SPDX-License-Identifier: BSD-3-Clause
"""NWChem's own comparison of an output with its reference: nwparse.pl on both, then diff, as its QA/runtests.mpi.unix does."""

import os
import shutil
import subprocess


class Differs(Exception):
    """The text is the difference."""


def parsed(parser, path):
    """The numbers that NWChem's parser takes from an output, rounded by its rules, in a file beside it."""
    done = subprocess.run(["perl", parser, os.path.basename(path)], cwd=os.path.dirname(path), capture_output=True,
                          text=True, errors="replace", check=False, timeout=60)
    if done.returncode:
        raise Differs("nwparse.pl fails on %s:\n%s" % (os.path.basename(path), done.stderr[-2000:]))
    return path + ".nwparse"


def compare(parser, output, reference):
    """Raises unless the output gives the reference's results. Returns how many lines of results were compared."""
    stem = os.path.splitext(output)[0]
    expected = stem + ".ok.out"
    shutil.copy(reference, expected)
    files = [parsed(parser, path) for path in (expected, output)]
    found = subprocess.run(["diff", "-w", "-U2", *files], capture_output=True, text=True, errors="replace", check=False,
                           timeout=60)
    if found.returncode:
        raise Differs("\n".join(found.stdout.splitlines()[2:]) or found.stderr)
    with open(files[0], errors="replace") as file:
        lines = sum(1 for line in file if line.strip())
    if not lines:
        raise Differs("the reference holds no results that nwparse.pl knows")
    return lines
