#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""libarmci over verbs between real VMs with Soft-RoCE: its transport alone, then the conformance programs.

Arguments choose tests by name, as everywhere. CONFORMANCE_PROGRAMS="acc strided" takes other programs,
CONFORMANCE_RANKS="7" another number of ranks.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "armci"))
import run_conformance
from harness import BUILD, Host, Skip, check, main, wait_for

PLACE = "/root/armci"
PORT = 7000
FIRST = "10.77.0.1"  # vm0
EXTRA = "[network]\nrdma = yes\n"
SLOW = 10  # a VM may share its processor with others, and may have to be translated
RUN_SECONDS = 30  # of a conformance program, before SLOW
# Bad use that is found on the way to the other node, where transports differ; and uses of a rank that dies.
ENDINGS = {"put_outside", "get_outside", "acc_outside", "puts_outside", "getv_outside", "rmw_outside", "put_value_outside",
           "flag_outside", "put_freed", "get_freed", "put_past_end", "unlock_of_other", "lock_number", "error",
           "get", "put", "acc", "rmw", "lock", "barrier"}
# Programs for more ranks than VMs: near and far partners at once.
MIXED = ["contig", "strided", "vector", "acc", "rmw", "mutex", "fence", "group", "msg", "msg_node"]


def built(*path):
    found = os.path.join(BUILD, *path)
    if not os.path.exists(found):
        raise Skip("%s is not built" % found)
    return os.path.realpath(found)


def vm(cluster, number):
    return "%s:vm%d" % (cluster, number)


def bring_up(host, cluster, vms, memory):
    host.up(cluster, vms=vms, memory=memory, extra=EXTRA)
    host.exec(cluster + ":all", "mkdir", "-p", PLACE)


def check_released(host, cluster, vms):
    """No process has anything of the device any more."""
    for number in range(vms):

        def released(number=number):
            return " ctx 0 " in host.exec(vm(cluster, number), "rdma", "resource", "show")

        wait_for("vm%d to hold no device context" % number, released, 30, every=0.5)


def run_transport(vms):
    """test_transport with a rank in each VM. The last rank kills itself in the end, which belongs to the test."""
    program = built("tests", "armci", "test_transport")
    cluster = "transport%d" % vms
    with Host() as host:
        bring_up(host, cluster, vms, "384M")
        host.run("cp", program, "%s:all:%s/test_transport" % (cluster, PLACE))
        line = ["timeout", "-k", "5", "900", PLACE + "/test_transport", "verbs", "--ranks", vms, "--meet",
                "%s:%d" % (FIRST, PORT), "--rank"]
        others = []
        with tempfile.TemporaryFile("w+") as said:
            for rank in range(1, vms):
                others.append(host.start("exec", "-n", vm(cluster, rank), "--", *line, rank, stdout=said, stderr=said))
            first = host.run("exec", "-n", vm(cluster, 0), "--", *line, 0, timeout=960, check_exit=False)
            codes = [other.wait(60) for other in others]
            said.seek(0)
            text = first.stdout + first.stderr + said.read()
        print(first.stdout, end="", flush=True)
        check(first.returncode == 0 and re.search(r"^\d+ passed, 0 failed, 0 skipped$", first.stdout, re.M),
              "rank 0 ended with %d: %s" % (first.returncode, text))
        check(codes[:-1] == [0] * (vms - 2), "the others ended with %s: %s" % (codes, text))
        check_released(host, cluster, vms)


class GuestSuite(run_conformance.Suite):
    """The conformance programs, built here and run in a cluster, ranks going round the VMs."""

    def __init__(self, host, cluster, vms, build_dir):
        super().__init__(argparse.Namespace(
            library=built("lib", "libarmci.so.0"), coverage=None, build_dir=build_dir, reference=False,
            include=str(run_conformance.INCLUDE), mpi="openmpi", cflags="", ldflags="", slow=SLOW, timeout=RUN_SECONDS,
            valgrind=False, env=[], only=ENDINGS))
        self.host, self.cluster, self.vms = host, cluster, vms
        host.run("cp", self.library, "%s:all:%s/libarmci.so.0" % (cluster, PLACE))

    def is_wanted(self, arguments):
        """A process that is only stopped is not lost to a get: the adapter goes on reading its memory."""
        return super().is_wanted(arguments) and "stop" not in arguments

    def build(self, program):
        if not super().build(program):
            return False
        self.host.run("cp", self.build_dir / program, "%s:all:%s/%s" % (self.cluster, PLACE, program))
        return True

    def launch(self, program, arguments, ranks, mode, deadline_s, *, survive=False, extra_env=None):
        variables = {"LD_LIBRARY_PATH": PLACE, "STASIS_ARMCI_TRANSPORT": "verbs", "CONFORMANCE_SLOW": str(SLOW)}
        if program == "dead_peer":
            variables["STASIS_ARMCI_NODE_RANKS"] = "1"  # no survivor shares a node with the dead rank
        variables.update(extra_env or {})
        line = ["timeout", "-k", "5", str(int(deadline_s)), "mpirun", "--allow-run-as-root", "--oversubscribe", "--hostfile",
                "/etc/stasis/hostfile", "--map-by", "node", "--bind-to", "none", "--mca", "osc", "^rdma,ucx"]
        if survive:
            line += ["--mca", "orte_abort_on_non_zero_status", "0"]
        for name, value in variables.items():
            line += ["-x", "%s=%s" % (name, value)]
        line += ["-n", str(ranks), "%s/%s" % (PLACE, program), *arguments]
        begin = time.monotonic()
        try:
            done = self.host.run("exec", "-n", vm(self.cluster, 0), "--", *line, timeout=deadline_s + 60, check_exit=False)
            status, output = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as late:
            status, output = None, "%s%s" % (late.stdout or "", late.stderr or "")
        self.host.run("exec", "-n", self.cluster + ":all", "--", "pkill", "-KILL", "-f", "^%s/" % PLACE, check_exit=False)
        return run_conformance.Run(status, output, time.monotonic() - begin)

    def run_all(self, programs, ranks):
        programs = os.environ.get("CONFORMANCE_PROGRAMS", "").split() or programs
        ranks = int(os.environ.get("CONFORMANCE_RANKS", ranks))
        for program in programs:
            if not self.build(program):
                continue
            if program == "bad_use":
                self.run_bad_use("verbs")
            elif program == "dead_peer":
                self.run_dead_peer("verbs")
            else:
                for arguments in run_conformance.PROGRAMS[program]:
                    self.run_program(program, arguments, ranks, "verbs")
            check_released(self.host, self.cluster, self.vms)
        totals = self.totals
        check(totals.passed > 0 and not totals.failed, "%d passed; failed: %s" % (totals.passed, ", ".join(totals.failed)))


def run_programs(vms, ranks, programs):
    cluster = "armci%d" % vms
    built("lib", "libarmci.so.0")
    with Host() as host, tempfile.TemporaryDirectory(prefix="stasis-armci-") as build_dir:
        bring_up(host, cluster, vms, "512M")
        GuestSuite(host, cluster, vms, build_dir).run_all(programs, ranks)


def test_transport_two():
    run_transport(2)


def test_transport_four():
    run_transport(4)


def test_conformance_two():
    run_programs(2, 2, [*run_conformance.PROGRAMS, *run_conformance.ENDINGS])


def test_conformance_mixed():
    """Two ranks in each of two VMs."""
    run_programs(2, 4, MIXED)


def test_conformance_four():
    run_programs(4, 4, [*run_conformance.PROGRAMS])


if __name__ == "__main__":
    main([test_transport_two, test_transport_four, test_conformance_two, test_conformance_mixed, test_conformance_four])
