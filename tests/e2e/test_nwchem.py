#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""NWChem from Debian's unmodified source on libarmci over verbs (Soft-RoCE), checkpointed again and again during one run, with
all VMs killed and restarted on other devices each time: the energy must be that of an uninterrupted run.

NWCHEM_CYCLES="10" takes another number of checkpoints, NWCHEM_VMS="4" of VMs, NWCHEM_RANKS="8" of ranks.
"""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import BUILD, ROOT, Host, Skip, check, main, wait_for

CYCLES = int(os.environ.get("NWCHEM_CYCLES", "3"))
VMS = int(os.environ.get("NWCHEM_VMS", "2"))
RANKS = int(os.environ.get("NWCHEM_RANKS", str(VMS)))
INPUT = os.path.join(ROOT, "examples", "h2o", "h2o.nw")
EXTRA = """slots = {slots}
[network]
rdma = yes
[files]
/usr/local/bin/nwchem = {nwchem}
/usr/lib/x86_64-linux-gnu/libarmci.so.0 = {library}
/root/h2o.nw = {input}
"""
ENERGY = re.compile(r"Total DFT energy =\s+(-?\d+\.\d+)")
ITERATION = re.compile(r"^ d= 0,ls=", re.M)
TOLERANCE = 1e-8  # hartree
RUN_SECONDS = 1800


def cluster_extra(host):
    library = os.path.realpath(os.path.join(BUILD, "lib", "libarmci.so.0"))
    if not os.path.exists(library):
        raise Skip("%s is not built" % library)
    nwchem = os.path.join(host.dir, "nwchem")
    subprocess.run([os.path.join(ROOT, "scripts", "nwchem-build"), library, nwchem], check=True)
    return EXTRA.format(slots=(RANKS + VMS - 1) // VMS, nwchem=nwchem, library=library, input=INPUT)


def start(host, cluster, name):
    host.exec(cluster + ":all", "mkdir", "-p", "/root/" + name)
    line = "cd /root/%s && exec mpirun --map-by slot --bind-to none -x STASIS_ARMCI_TRANSPORT=verbs -n %d nwchem /root/h2o.nw"
    return Job(host, cluster, "vm0", name).start("sh", "-c", line % (name, RANKS))


def output(job):
    return job.read().decode(errors="replace")


def result(job):
    """Energy and iterations, when it has ended."""

    def ended():
        job.lines()
        return job.state != "running"

    wait_for("NWChem's end", ended, RUN_SECONDS, every=1)
    text = output(job)
    found = ENERGY.search(text)
    check(job.code == 0 and found, "NWChem ended with %d: %s" % (job.code, text[-2000:]))
    return float(found.group(1)), len(ITERATION.findall(text))


def test_energy():
    cluster = "nwchem"
    with Host() as host:
        host.up(cluster, vms=VMS, memory="512M" if RANKS <= VMS else "1G", extra=cluster_extra(host))
        begin = time.monotonic()
        want = result(start(host, cluster, "whole"))
        print("uninterrupted: %.12f in %d iterations, %.0f s" % (*want, time.monotonic() - begin), flush=True)
        job = start(host, cluster, "cut")
        devices = set()
        for cycle in range(CYCLES):
            # Spread over the iterations; a run that is faster than expected is begun again by the last checkpoint's restart.
            after = 1 + cycle * max(1, want[1] - 1) // CYCLES
            wait_for("iteration %d" % after, lambda after=after: len(ITERATION.findall(output(job))) >= after or
                     job.state != "running", RUN_SECONDS, every=0.5)
            check(job.state == "running", "NWChem has ended before checkpoint %d: %s" % (cycle + 1, output(job)[-500:]))
            device = host.exec(cluster + ":vm0", "ls", "/sys/class/infiniband").strip()
            check(device not in devices, "the device %s comes again" % device)
            devices.add(device)
            host.run("checkpoint", cluster)
            host.kill_vms(cluster)
            host.run("restart", cluster)
            print("checkpoint %d in iteration %d, device was %s" % (cycle + 1, after, device), flush=True)
        got = result(job)
        print("%d times killed: %.12f in %d iterations" % (CYCLES, *got), flush=True)
        check(abs(want[0] - got[0]) <= TOLERANCE and want[1] == got[1], "%s instead of %s" % (got, want))
        for checkpoint in host.checkpoints(cluster):
            report = host.json("show", checkpoint["id"])["manifest"]["fabric"]
            check(sum(vm["processes"] for vm in report) == RANKS, "report: %s" % report)
            check(all(re.search(r" ctx 0\b", vm["resources"]) for vm in report), "report: %s" % report)
        host.down(cluster)


if __name__ == "__main__":
    main([test_energy])
