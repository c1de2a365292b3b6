# SPDX-License-Identifier: BSD-3-Clause
"""Loads of the VMs that are checkpointed: memory that is rewritten, NWChem again and again, nothing."""

import os
import time

from guest_job import Job
from harness import ROOT, check, wait_for

MIB = 1 << 20
NWCHEM_INPUT = os.path.join(ROOT, "examples", "h2o", "h2o.nw")
# What the example asks for would not fit into small VMs.
NWCHEM_MEMORY = "64 mb"


def nwchem_input(tasks=1):
    """The example's input with less memory."""
    with open(NWCHEM_INPUT) as file:
        text = file.read()
    check("memory total 200 mb" in text, "%s says something else about memory" % NWCHEM_INPUT)
    return text.replace("memory total 200 mb", "memory total " + NWCHEM_MEMORY)


class Idle:
    """No load."""

    text = "idle"
    rate_mib_s = 0.0

    def check(self):
        pass

    def mark(self):
        pass


class Pages:
    """page_load in every VM: holds memory, rewrites some MiB of it each second, checks what it wrote, and knows a number that
    only this process can know."""

    def __init__(self, host, cluster, vms, program, hold_mib, rate_mib_s):
        self.text = "holds %d MiB, rewrites %d MiB/s" % (hold_mib, rate_mib_s)
        host.run("cp", program, "%s:all:/root/page_load" % cluster)
        self.jobs = [Job(host, cluster, "vm%d" % at, "load") for at in range(vms)]
        for job in self.jobs:
            job.start("/root/page_load", str(hold_mib), str(rate_mib_s))
        # The first line comes when all is populated.
        self.numbers = [job.wait_lines(3, 300)[0].split()[0] for job in self.jobs]
        self.mark()

    def mark(self):
        """The rate is counted from here."""
        self.marked = [(time.monotonic(), self._last(job)[2]) for job in self.jobs]

    @property
    def rate_mib_s(self):
        """What each VM really rewrote in a second since mark(), on average."""
        rates = [(self._last(job)[2] - written) / (time.monotonic() - since)
                 for job, (since, written) in zip(self.jobs, self.marked)]
        return sum(rates) / len(rates)

    def check(self):
        """It still runs, under the same number, and still counts."""
        for job, number in zip(self.jobs, self.numbers):
            seen = self._last(job)[1]
            wait_for("%s to count on" % job.vm, lambda job=job, seen=seen: self._last(job)[1] > seen, 60, 0.1)
            now = self._last(job)[0]
            check(now == number, "%s shows %s, not %s: another process" % (job.vm, now, number))

    @staticmethod
    def _last(job):
        """(random number, count, MiB) of the last whole line; of the output only its end is fetched."""
        job.check_running()
        text = job.tail(200).decode()
        check("corrupt" not in text, "%s: %s" % (job.vm, text[-80:]))
        word, count, written = text[: text.rfind("\n")].rpartition("\n")[2].split()
        return word, int(count), int(written)


NWCHEM_LOOP = "mkdir -p /root/n && cd /root/n && while nwchem /root/load.nw >out.txt 2>&1; do cp out.txt last.txt; echo done; done"


class NWChem:
    """NWChem (Debian's binary, one rank in each VM) again and again."""

    text = "NWChem"
    rate_mib_s = None

    def __init__(self, host, cluster, vms):
        path = os.path.join(host.dir, "load.nw")
        with open(path, "w") as file:
            file.write(nwchem_input())
        host.run("cp", path, "%s:all:/root/load.nw" % cluster)
        self.jobs = [Job(host, cluster, "vm%d" % at, "nwchem").start("sh", "-c", NWCHEM_LOOP) for at in range(vms)]
        time.sleep(5)
        self.check()

    def check(self):
        for job in self.jobs:
            job.check_running()

    def mark(self):
        pass

    def stop(self):
        for job in self.jobs:
            job._call("job.signal", signal=9)
