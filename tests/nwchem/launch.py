# SPDX-License-Identifier: BSD-3-Clause
"""What running NWChem needs besides mpirun: its library, its environment, its own timings."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))
import mpi

SONAME = "libarmci.so.0"
STOCK = "/usr/bin/nwchem.openmpi"


def own_library(directory, library):
    """A directory in which the dynamic linker finds this very library under its SONAME."""
    place = os.path.join(directory, "lib")
    os.makedirs(place, exist_ok=True)
    link = os.path.join(place, SONAME)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(os.path.realpath(library), link)
    return place


def loaded_library(binary, place):
    """The file that the binary would load as its libarmci; raises when it takes none."""
    found = subprocess.run(["ldd", binary], env=dict(os.environ, LD_LIBRARY_PATH=place), capture_output=True, text=True,
                           check=False, timeout=60)
    for line in found.stdout.splitlines():
        name, _, rest = line.strip().partition(" => ")
        if name == SONAME and rest.startswith("/"):
            return os.path.realpath(rest.rsplit(" (", 1)[0])
    raise mpi.Failed("%s does not load %s:\n%s%s" % (binary, SONAME, found.stdout, found.stderr))


def environment(scratch, basis, place=None, mode="shm"):
    """What a run sees: nothing of the caller's NWChem settings either."""
    kept = {name: value for name, value in mpi.environment(place, mode).items()
            if not name.startswith(("NWCHEM_", "ARMCI_"))}
    if not place:
        kept.pop("LD_LIBRARY_PATH", None)
    kept.update(LC_ALL="C", TMPDIR=scratch, NWCHEM_BASIS_LIBRARY=os.path.join(basis, ""), SCRATCH_DIR=scratch,
                PERMANENT_DIR=scratch)
    return kept


def own_seconds(path):
    """The wall time that NWChem itself reports at the end of an output."""
    with open(path, errors="replace") as file:
        found = re.findall(r"^ Total times +cpu: .* wall: +([0-9.]+)s", file.read(), re.MULTILINE)
    if len(found) != 1:
        raise mpi.Failed("%s has %d lines with total times, not one" % (os.path.basename(path), len(found)))
    return float(found[0])
