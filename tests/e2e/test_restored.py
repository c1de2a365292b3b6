#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Restored, not rebooted: what lives only in guests' memory goes on after a checkpoint, the death of all VMs and a restart."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import Host, check, main, wait_for

CLOCK_SECONDS = 2.0
REPORT_WORDS = 65536


def counter_rows(job):
    """(random number, how many) of a memory_counter; its lines must count 0, 1, 2 … under one number."""
    rows = [line.split() for line in job.lines()]
    check(rows and all(len(row) == 2 for row in rows), "%s printed %s" % (job.vm, rows[-3:]))
    numbers = {row[0] for row in rows}
    check(len(numbers) == 1, "%s shows several random numbers: %s" % (job.vm, numbers))
    counts = [int(row[1]) for row in rows]
    for at, count in enumerate(counts):
        check(at == count, "%s: line %d holds count %d: a gap or a repeat" % (job.vm, at, count))
    return numbers.pop(), len(counts)


def guest_clock_error(host, vm):
    """Seconds by which a guest's clock lies outside the instants at which it was asked for."""
    before = time.time()
    guest = float(host.exec(vm, "date", "+%s.%N"))
    after = time.time()
    return max(before - guest, guest - after, 0.0)


def boot_id(host, vm):
    return host.exec(vm, "cat", "/proc/sys/kernel/random/boot_id").strip()


def lose_and_restart(host, cluster, which=None):
    """kill -9 of all VMs, then restart."""
    host.kill_vms(cluster)
    wait_for("the cluster to be seen dead", lambda: host.status(cluster)["state"] == "dead")
    return host.json("restart", which or cluster)


def test_memory_goes_on():
    with Host() as host:
        host.up("mem", 2)
        host.put_program("mem:all", "memory_counter")
        jobs = [Job(host, "mem", vm, "counter").start("/root/memory_counter", "8") for vm in ("vm0", "vm1")]
        boots = [boot_id(host, vm) for vm in ("vm0", "vm1")]
        check(boots[0] != boots[1], "both VMs have the boot id %s" % boots[0])
        for job in jobs:
            job.wait_lines(30)
        before = [counter_rows(job) for job in jobs]
        printed = [("\n".join(job.lines()) + "\n").encode() for job in jobs]
        check(before[0][0] != before[1][0], "getrandom gave both VMs %s" % before[0][0])
        host.run("checkpoint", "mem")
        taken = time.time()
        after = [counter_rows(job) for job in jobs]
        # Far enough beyond the checkpoint that the return to it shows, in counters and in clocks.
        for job, (_, count) in zip(jobs, after):
            job.wait_lines(count + 150)
        wait_for("time to pass", lambda: time.time() - taken > 3 * CLOCK_SECONDS)
        last = [counter_rows(job) for job in jobs]
        lose_and_restart(host, "mem")
        # The first look at what the restored processes have printed.
        first = [counter_rows(job) for job in jobs]
        for at, job in enumerate(jobs):
            number, count = first[at]
            check(number == before[at][0], "%s: another process: %s, not %s" % (job.vm, number, before[at][0]))
            check(before[at][1] <= count < last[at][1], "%s: %d lines after the restart, %d before the checkpoint, %d at "
                  "its death" % (job.vm, count, before[at][1], last[at][1]))
            check(job.read().startswith(printed[at]), "%s: the output's beginning has changed" % job.vm)
            # An offset from before the checkpoint is still the same place.
            rest = job.read(len(printed[at])).split(b"\n")[0].decode()
            check(not rest or ("%s %d" % (number, printed[at].count(b"\n"))).startswith(rest),
                  "%s: from its old end the output goes on with %s" % (job.vm, rest))
        for at, vm in enumerate(("vm0", "vm1")):
            check(boot_id(host, vm) == boots[at], "%s was rebooted" % vm)
            off = guest_clock_error(host, vm)
            check(off <= CLOCK_SECONDS, "the clock of %s is %.1f s off" % (vm, off))
        for at, job in enumerate(jobs):
            # Beyond where it was killed: the same counts come again, each once.
            job.wait_lines(last[at][1] + 20, 300)
            check(counter_rows(job)[0] == before[at][0], "%s: another process" % job.vm)


def test_clones_differ():
    with Host() as host:
        host.up("clones", 3)
        vms = ["vm0", "vm1", "vm2"]

        def pools():
            return [host.exec("clones:" + vm, "od", "-An", "-tx8", "-N32", "/dev/urandom") for vm in vms]

        first = pools()
        check(len(set(first)) == 3, "random pools of clones are alike: %s" % first)
        names = [host.exec("clones:" + vm, "hostname").strip() for vm in vms]
        check(names == vms, "host names are %s" % names)
        macs = {host.exec("clones:" + vm, "cat", "/sys/class/net/eth0/address").strip() for vm in vms}
        check(len(macs) == 3, "MACs are %s" % macs)
        boots = [boot_id(host, "clones:" + vm) for vm in vms]
        check(len(set(boots)) == 3, "boot ids are %s" % boots)
        taken = host.json("checkpoint", "clones")["manifest"]["id"]
        # The same memory comes to life twice; its random numbers must not.
        lose_and_restart(host, "clones", taken)
        second = pools()
        lose_and_restart(host, "clones", taken)
        third = pools()
        every = first + second + third
        check(len(set(every)) == len(every), "random numbers repeat after a restart: %s" % every)
        check([boot_id(host, "clones:" + vm) for vm in vms] == boots, "boot ids changed")


def positions(job, word):
    """The positions that a side of the stream has reported: 1, 2, 3 … times 65536, nothing else."""
    lines = [line for line in job.lines() if line != "listening"]
    for at, line in enumerate(lines):
        check(line == "%s %d" % (word, (at + 1) * REPORT_WORDS), "%s of %s says: %s" % (job.name, job.vm, line))
    return len(lines)


def test_tcp_stream_goes_on():
    with Host() as host:
        cluster = host.up("tcp", 2)["cluster"]
        host.put_program("tcp:all", "tcp_stream")
        receiver = Job(host, "tcp", "vm1", "receiver").start("/root/tcp_stream", "listen", "5000")
        receiver.wait_lines(1)
        address = cluster["vms"][1]["address"]
        sender = Job(host, "tcp", "vm0", "sender").start("/root/tcp_stream", "send", address, "5000")

        def both():
            sender.check_running()
            receiver.check_running()
            return positions(sender, "sent"), positions(receiver, "checked")

        def advance(reports, seconds=300):
            start = both()
            wait_for("the stream to go on from %s" % (start,),
                     lambda: both()[0] >= start[0] + reports and both()[1] >= start[1] + reports, seconds, every=0.3)
            return both()

        advance(5)
        taken = host.json("checkpoint", "tcp")["manifest"]["id"]
        at_checkpoint = both()
        for _ in range(3):
            # Through a further checkpoint, which is thrown away with the rest, then back to the first.
            host.run("checkpoint", "tcp")
            last = advance(20)
            lose_and_restart(host, "tcp", taken)
            sent, checked = both()
            check(sent < last[0] and checked < last[1], "not taken back: %d, %d; at their death %s" % (sent, checked, last))
            check(checked <= both()[0] + 1, "the receiver has words that were not sent: %d of %d" % (checked, sent))
            check(sent <= at_checkpoint[0] + 20, "the sender is at %d, at the checkpoint at %d" % (sent, at_checkpoint[0]))
            advance(5)


if __name__ == "__main__":
    main([test_memory_goes_on, test_clones_differ, test_tcp_stream_goes_on])
