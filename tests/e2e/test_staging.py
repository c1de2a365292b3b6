#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Memory for staging: too little of it makes the pause longer and the checkpoint no worse; a capture leaves holes of RAM alone."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import Host, check, main, wait_for

MIB = 1 << 20
QEMU_FD_RAM = 3


def ram_bytes(host, cluster):
    """Populated bytes of all VMs' RAM files, as the files themselves have them."""
    return sum(os.stat("/proc/%d/fd/%d" % (pid, QEMU_FD_RAM)).st_blocks * 512 for pid in host.vm_pids(cluster))


def checkpoint_and_return(host, cluster, direct):
    """A checkpoint that says whether its pause holds the write; then the VMs are killed, and what ran in them goes on."""
    job = Job(host, cluster, "vm1", "counter").start("/root/memory_counter", "8")
    number = job.wait_lines(20)[0].split()[0]
    manifest = host.json("checkpoint", cluster)["manifest"]
    check(manifest["pause_includes_write"] == direct, "pause_includes_write is %s" % manifest["pause_includes_write"])
    said = host.status(cluster)["message"]
    check(("the write of RAM included" in said) == direct, "the message is: %s" % said)
    printed = len(job.lines())
    host.run("verify", manifest["id"])
    host.kill_vms(cluster)
    wait_for("the cluster to be seen dead", lambda: host.status(cluster)["state"] == "dead")
    host.run("restart", cluster)
    rows = [line.split() for line in job.wait_lines(printed + 20)]
    check({row[0] for row in rows} == {number}, "another process than %s: %s" % (number, rows[-1]))
    check([int(row[1]) for row in rows] == list(range(len(rows))), "the counter has a gap: %s" % rows[-3:])
    return manifest


def test_too_little_staging():
    with Host(env={"STASIS_STAGING": "1M"}) as host:
        host.up("small", 2)
        host.put_program("small:all", "memory_counter")
        manifest = checkpoint_and_return(host, "small", True)
        phases = {phase["name"]: phase["duration_ns"] for phase in manifest["phases"]}
        check(manifest["pause_ns"] > phases["ram"], "the pause does not hold the write: %s" % phases)
        check("1 MiB are left" in host.log(), "the log does not say how much was left")


def test_enough_staging():
    with Host(env={"STASIS_STAGING": "2G"}) as host:
        host.up("large", 2)
        host.put_program("large:all", "memory_counter")
        checkpoint_and_return(host, "large", False)


def test_holes_are_not_filled():
    """RAM that a guest has never used, or has given back, costs nothing after a capture, either."""
    with Host() as host:
        host.up("holes", 2)
        vms = ("holes:vm0", "holes:vm1")
        for vm in vms:
            host.exec(vm, "dd", "if=/dev/zero", "of=/dev/shm/fill", "bs=1M", "count=64")
        full = ram_bytes(host, "holes")
        for vm in vms:
            host.exec(vm, "rm", "/dev/shm/fill")
        # Free-page reporting gives it back, some seconds later.
        wait_for("the guests to give memory back", lambda: ram_bytes(host, "holes") < full - 64 * MIB, 120, 0.5)
        before = ram_bytes(host, "holes")
        for _ in range(3):
            manifest = host.json("checkpoint", "holes")["manifest"]
            check(not manifest["pause_includes_write"], "there was no room for staging")
        after = ram_bytes(host, "holes")
        # The guests run, and use a little more now and then.
        check(after < before + 16 * MIB, "RAM files had %d MiB before three captures, %d MiB after them"
              % (before // MIB, after // MIB))


def test_wrong_sizes_are_refused():
    with Host() as host:
        program = os.path.join(host.programs, "stasisd")
        for value in ("much", "12X", "-1"):
            for words, env, name in ((["--staging=" + value], {}, "--staging"), ([], {"STASIS_STAGING": value}, "STASIS_STAGING")):
                result = subprocess.run([program] + words, env=dict(host.env, **env), capture_output=True, text=True, timeout=60)
                check(result.returncode == 2, "%s %s: exit %d" % (name, value, result.returncode))
                check(name in result.stderr and value in result.stderr, "it says: %s" % result.stderr)
        check(not os.path.exists(host.run_dir), "a daemon that does not start has made %s" % host.run_dir)


if __name__ == "__main__":
    main([test_too_little_staging, test_enough_staging, test_holes_are_not_filled, test_wrong_sizes_are_refused])
