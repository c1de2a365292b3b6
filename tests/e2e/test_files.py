#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Files roll back with memory: logs without gap or repeat, clean file systems, disks that do not grow longer with checkpoints."""

import json
import os
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import Host, Skip, check, main, wait_for

VMS = ("vm0", "vm1")
LOG = "/root/log"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def acknowledged(job):
    """How many records the process says it has written: it must count 0, 1, 2 …"""
    lines = job.lines()
    for at, line in enumerate(lines):
        check(line == str(at), "%s acknowledged record %s as its %d." % (job.vm, line, at))
    return len(lines)


def check_records(text, what):
    records = text.splitlines()
    for at, record in enumerate(records):
        check(record == "record %d" % at, "%s: line %d is '%s': a gap or a repeat" % (what, at, record))
    return len(records)


def compare(host, job):
    """The file must hold what is acknowledged, and at most the one record that is being written."""
    low = acknowledged(job)
    count = check_records(host.exec(job.vm, "cat", LOG), "%s of %s" % (LOG, job.vm))
    high = acknowledged(job)
    check(low <= count <= high + 1, "%s: %d records in the file, %d to %d acknowledged" % (job.vm, count, low, high))
    return count


def start_logs(host, cluster):
    host.put_program(cluster + ":all", "append_log")
    return [Job(host, cluster, vm, "log").start("/root/append_log", LOG) for vm in VMS]


def lose(host, cluster):
    host.kill_vms(cluster)
    wait_for("the cluster to be seen dead", lambda: host.status(cluster)["state"] == "dead")


def disk_files(host, cluster):
    """All files of a cluster's disks, the temporary ones of a checkpoint included."""
    found = []
    for directory, _, files in os.walk(os.path.join(host.state_dir, "clusters", cluster)):
        found += [os.path.join(directory, name) for name in files if "qcow2" in name]
    return sorted(found)


def chain_lengths(host, cluster):
    """Layers of each VM's disk, as QEMU itself says over its debugging socket."""
    lengths = []
    for vm in host.status(cluster)["vms"]:
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.settimeout(60)
            qmp.connect(vm["debug_qmp"])
            stream = qmp.makefile("rw")
            stream.readline()
            for command in ("qmp_capabilities", "query-block"):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
            disks = [device["inserted"] for device in answer["return"] if device.get("inserted")]
            check(len(disks) == 1, "%s has %d disks" % (vm["name"], len(disks)))
            lengths.append(disks[0]["backing_file_depth"] + 1)
    return lengths


def export(host, cluster, vm, name):
    """The whole disk of a VM that does not run, as a raw file."""
    raw = os.path.join(host.dir, name)
    disk = os.path.join(host.state_dir, "clusters", cluster, vm, "disk.qcow2")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw], check=True, timeout=600)
    return raw


def fsck(raw, *options):
    return subprocess.run(
        ["e2fsck", "-f", *options, raw], env=dict(os.environ, PATH=PATH), capture_output=True, text=True, timeout=600
    )


def log_of(raw):
    shown = subprocess.run(
        ["debugfs", "-R", "cat " + LOG, raw], env=dict(os.environ, PATH=PATH), capture_output=True, text=True, timeout=600
    )
    return check_records(shown.stdout, "%s in %s" % (LOG, os.path.basename(raw)))


def power_off(host, cluster):
    """Stop the guests as their users would."""
    for vm in VMS:
        client = host.client()
        client.agent(cluster, vm, "power", action="off")
        client.close()
    wait_for("the guests' orderly end", lambda: host.status(cluster)["state"] == "dead", 120)


def test_logs_roll_back():
    for tool in ("e2fsck", "debugfs", "qemu-img"):
        if not shutil.which(tool, path=PATH):
            raise Skip("%s is not installed" % tool)
    with Host() as host:
        host.up("log", 2)
        jobs = start_logs(host, "log")
        for job in jobs:
            job.wait_lines(50)
        before = [acknowledged(job) for job in jobs]
        taken = host.json("checkpoint", "log")["manifest"]["id"]
        for _ in range(3):
            target = [acknowledged(job) + 100 for job in jobs]
            for job, count in zip(jobs, target):
                job.wait_lines(count, 300)
            last = [compare(host, job) for job in jobs]
            lose(host, "log")
            # A disk that lost its VM is one that lost power: the journal mends it, and nothing acknowledged is missing.
            raw = export(host, "log", "vm1", "lost.raw")
            fsck(raw, "-p")
            result = fsck(raw, "-n")
            check(result.returncode == 0, "the disk of a killed VM: %s" % result.stdout[-2000:])
            check(log_of(raw) >= last[1], "records are missing on the disk of a killed VM")
            os.unlink(raw)
            host.run("restart", taken)
            for at, job in enumerate(jobs):
                job.check_running()
                count = compare(host, job)
                check(before[at] <= count < last[at], "%s: %d records after the restart, %d before the checkpoint, "
                      "%d at its death" % (job.vm, count, before[at], last[at]))
        for job in jobs:
            job.wait_lines(acknowledged(job) + 50, 300)
        written = [acknowledged(job) for job in jobs]
        power_off(host, "log")
        for at, vm in enumerate(VMS):
            raw = export(host, "log", vm, vm + ".raw")
            result = fsck(raw, "-n")
            check(result.returncode == 0, "fsck -n of %s: exit %d, %s" % (vm, result.returncode, result.stdout[-2000:]))
            check(log_of(raw) >= written[at], "%s: records are missing after its orderly end" % vm)
            os.unlink(raw)


def test_ten_checkpoints_of_a_restarted_cluster():
    with Host() as host:
        host.up("ten", 2)
        jobs = start_logs(host, "ten")
        for job in jobs:
            job.wait_lines(10)
        host.run("checkpoint", "ten")
        lose(host, "ten")
        host.run("restart", "ten")
        lengths, files, fds = chain_lengths(host, "ten"), disk_files(host, "ten"), host.daemon_fds()
        check(len(files) == len(VMS), "disk files at the start: %s" % files)
        for turn in range(10):
            # New blocks, so that each merge has something to do.
            host.exec("all", "sh", "-c", "dd if=/dev/urandom of=/root/block.%d bs=64k count=8 conv=fsync 2>&1" % (turn % 3))
            sums = host.exec("vm0", "sh", "-c", "cat /root/block.* | sha256sum")
            before = [acknowledged(job) for job in jobs]
            taken = host.json("checkpoint", "ten")["manifest"]["id"]
            check(chain_lengths(host, "ten") == lengths, "after checkpoint %d chains are %s, were %s"
                  % (turn + 1, chain_lengths(host, "ten"), lengths))
            check(disk_files(host, "ten") == files, "disk files: %s, were %s" % (disk_files(host, "ten"), files))
            lose(host, "ten")
            restarted = host.json("restart", "ten")["checkpoint"]
            check(restarted == taken, "restart took %s, the newest is %s" % (restarted, taken))
            for at, job in enumerate(jobs):
                job.check_running()
                check(compare(host, job) >= before[at], "%s is before its checkpoint" % job.vm)
            check(host.exec("vm0", "sh", "-c", "cat /root/block.* | sha256sum") == sums, "file contents have changed")
        check(chain_lengths(host, "ten") == lengths, "chains grew from %s to %s" % (lengths, chain_lengths(host, "ten")))
        check(disk_files(host, "ten") == files, "disk files grew from %s to %s" % (files, disk_files(host, "ten")))
        wait_for("the daemon's descriptors to be no more than %d" % fds, lambda: host.daemon_fds() <= fds, 30)
        check(len(host.checkpoints("ten")) == 11, "checkpoints are %s" % host.checkpoints("ten"))
        host.run("verify", "--all", timeout=900)


if __name__ == "__main__":
    main([test_logs_roll_back, test_ten_checkpoints_of_a_restarted_cluster])
