#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of running jobs that talk over verbs (Soft-RoCE) between real VMs: the processes let go of the device, it is
taken away, the VMs are captured, and all comes back on another device; with and without all VMs killed in between.

SUSPEND_CYCLES="10" takes another number of checkpoints, SUSPEND_VMS="4" of VMs, SUSPEND_RANKS="8" of ranks.
"""

import os
import random
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "armci"))
import run_conformance
from guest_job import Job
from harness import BUILD, Host, Skip, check, main, wait_for

PLACE = "/root/armci"
UNTIL = PLACE + "/until"
EXTRA = "[network]\nrdma = yes\n"
CYCLES = int(os.environ.get("SUSPEND_CYCLES", "3"))
VMS = int(os.environ.get("SUSPEND_VMS", "2"))
RANKS = int(os.environ.get("SUSPEND_RANKS", "4"))
END_SECONDS = 600


def devices(host, cluster, number):
    return host.exec("%s:vm%d" % (cluster, number), "ls", "/sys/class/infiniband").split()


def contexts(host, cluster, number):
    shown = host.exec("%s:vm%d" % (cluster, number), "rdma", "resource", "show")
    return int(re.search(r" ctx (\d+) ", shown).group(1))


def put_stress(host, cluster):
    """The conformance suite's program of random operations with checked results, which ends when it is told to."""
    library = os.path.realpath(os.path.join(BUILD, "lib", "libarmci.so.0"))
    if not os.path.exists(library):
        raise Skip("%s is not built" % library)
    with tempfile.TemporaryDirectory(prefix="stasis-armci-") as build_dir:
        suite = run_conformance.Suite(run_conformance.parse(["--library", library, "--build-dir", build_dir]))
        check(suite.build("stress"), "stress is not built")
        host.exec(cluster + ":all", "mkdir", "-p", PLACE)
        host.run("cp", library, "%s:all:%s/libarmci.so.0" % (cluster, PLACE))
        host.run("cp", os.path.join(build_dir, "stress"), "%s:all:%s/stress" % (cluster, PLACE))


def start_stress(host, cluster):
    line = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--hostfile", "/etc/stasis/hostfile", "--map-by", "node",
            "--bind-to", "none", "--mca", "osc", "^rdma,ucx"]
    for name, value in (("LD_LIBRARY_PATH", PLACE), ("STASIS_ARMCI_TRANSPORT", "verbs"), ("STRESS_UNTIL", UNTIL),
                        ("CONFORMANCE_SLOW", "10")):
        line += ["-x", "%s=%s" % (name, value)]
    return Job(host, cluster, "vm0", "stress").start(*line, "-n", str(RANKS), PLACE + "/stress")


def wait_contexts(host, cluster, job):
    """Every rank has its device open, with or without a connection."""
    for number in range(VMS):

        def all_open(number=number):
            job.check_running()
            return contexts(host, cluster, number) >= RANKS // VMS

        wait_for("the ranks in vm%d to open the device" % number, all_open, 120, every=0.5)


def end_stress(host, cluster, job):
    host.exec(cluster + ":vm0", "touch", UNTIL)

    def ended():
        job.lines()
        return job.state != "running"

    wait_for("the end of the job", ended, END_SECONDS, every=0.5)
    check(job.code == 0, "the job ended with %d: %s" % (job.code, job.read()[-2000:]))


def run_cycles(cluster, kill):
    """Checkpoints at random instants; before each, the ranks use the device that came after the one before."""
    chance = random.Random(cluster)
    with Host() as host:
        host.up(cluster, vms=VMS, memory="512M", extra=EXTRA)
        put_stress(host, cluster)
        job = start_stress(host, cluster)
        seen = set()
        for cycle in range(CYCLES):
            wait_contexts(host, cluster, job)
            names = tuple(devices(host, cluster, 0))
            check(len(names) == 1 and names not in seen, "cycle %d: devices %s, seen %s" % (cycle, names, sorted(seen)))
            seen.add(names)
            time.sleep(chance.random() * 2)
            begin = time.monotonic()
            host.run("checkpoint", cluster)
            taken = time.monotonic()
            if kill:
                host.kill_vms(cluster)
                host.run("restart", cluster)
            print("cycle %d: checkpoint %.1f s%s, device was %s" % (
                cycle + 1, taken - begin, ", restart %.1f s" % (time.monotonic() - taken) if kill else "", names[0]), flush=True)
        wait_contexts(host, cluster, job)
        end_stress(host, cluster, job)
        host.down(cluster)


def test_checkpoints():
    """The VMs run on after each checkpoint."""
    run_cycles("suspend", False)


def test_restarts():
    """All VMs are killed after each checkpoint, and restarted from it."""
    run_cycles("restarts", True)


if __name__ == "__main__":
    main([test_checkpoints, test_restarts])
