# SPDX-License-Identifier: BSD-3-Clause
"""Two VMs with Soft-RoCE for bench/verbs: perftest's programs between them, and armci_ops under mpirun."""

import os
import subprocess

import armci_run
from harness import wait_for

PLACE = "/root/bench"
PERFTEST_PORT = ":4853 "  # 18515, as /proc/net/tcp writes it
LISTENING = " 0A "
SECOND = "10.77.0.2"  # vm1
ROCE_V2_INDEX = "1"
# Microseconds of polling of rank 0, which waits for completions, and of rank 1, whose service thread waits for requests: it
# goes on from one to the next, but not into operations that have none. The rest sleeps: a VM has one processor, and whoever
# polls there for nothing takes it from those who work.
MODES = {
    "polling": ({"STASIS_ARMCI_POLL_US": "1000000", "STASIS_ARMCI_SERVE_POLL_US": "0"},
                {"STASIS_ARMCI_POLL_US": "0", "STASIS_ARMCI_SERVE_POLL_US": "20000"}),
    "sleeping": ({"STASIS_ARMCI_POLL_US": "0", "STASIS_ARMCI_SERVE_POLL_US": "0"},) * 2,
    "default": ({}, {}),
}


class Guests:
    """The cluster, with both programs in it."""

    def __init__(self, host, name, memory, cpus, programs, library):
        self.host, self.name = host, name
        host.up(name, vms=2, memory=memory, extra="cpus = %d\n[network]\nrdma = yes\n" % cpus)
        self.accelerator = host.status(name)["why"]
        host.run("exec", name + ":all", "--", "mkdir", "-p", PLACE)
        for path, target in [(os.path.realpath(library), os.path.join(PLACE, "libarmci.so.0"))] + [
                (path, os.path.join(PLACE, whose)) for whose, path in programs.items()]:
            host.run("cp", path, "%s:all:%s" % (name, target))

    def vm(self, number):
        return "%s:vm%d" % (self.name, number)

    def perftest(self, tool, *words, seconds=120):
        """Run one of perftest's programs between the VMs; the numbers of its line of results."""
        line = ["timeout", str(seconds), tool, "-d", "rxe0", "-x", ROCE_V2_INDEX, "-F"] + [str(word) for word in words]
        server = self.host.start("exec", "-n", self.vm(1), "--", *line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for("%s to listen" % tool, self.listens, 60)
            out = self.host.exec(self.vm(0), *line, SECOND, timeout=seconds + 60)
            server.wait(60)
        finally:
            if server.poll() is None:
                self.host.run("exec", self.vm(1), "--", "pkill", "-x", tool, check_exit=False)
                server.wait(60)
        for text in out.splitlines():
            words = text.split()
            if words and all(is_number(word) for word in words) and len(words) >= 5:
                return [float(word) for word in words]
        raise armci_run.Failed("%s printed no result: %s" % (" ".join(line), out[-500:]))

    def listens(self):
        table = self.host.exec(self.vm(1), "cat", "/proc/net/tcp", "/proc/net/tcp6")
        return any(PERFTEST_PORT in line and LISTENING in line for line in table.splitlines())

    def latency(self, tool, count, sleeping, *words):
        """Nanoseconds: median, min, mean."""
        numbers = self.perftest(tool, "-n", count, *words, *(["-e"] if sleeping else []))
        return {"median": numbers[4] * 1e3, "min": numbers[2] * 1e3, "mean": numbers[5] * 1e3}

    def bandwidth(self, size, count):
        """MiB/s of ib_write_bw, which has no way to sleep."""
        return self.perftest("ib_write_bw", "-s", size, "-n", count)[3]

    def armci(self, whose, words, mode="default", seconds=600):
        """Run armci_ops, a rank in each VM."""
        line = ["timeout", "-k", "5", str(seconds), "mpirun", "--allow-run-as-root", "--hostfile", "/etc/stasis/hostfile",
                "--map-by", "node", "--bind-to", "none", "--mca", "osc", "^rdma,ucx"]
        for rank in range(2):
            settings = dict({"LD_LIBRARY_PATH": PLACE, "STASIS_ARMCI_TRANSPORT": "verbs"}, **MODES[mode][rank])
            line += [":"] * rank + ["-n", "1"]
            for name, value in settings.items() if whose == "ours" else ():
                line += ["-x", "%s=%s" % (name, value)]
            line += [os.path.join(PLACE, whose)] + list(words)
        return armci_run.results(self.host.exec(self.vm(0), *line, timeout=seconds + 60))


def is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True
