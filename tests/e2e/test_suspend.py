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
import stasis_rpc
from guest_job import Job
from harness import BUILD, CommandFailed, Host, Skip, check, main, wait_for

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
    found = re.search(r" ctx (\d+) ", shown)
    return int(found[1]) if found else 0  # between one device and the next


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
            try:
                job.check_running()
                return contexts(host, cluster, number) >= RANKS // VMS
            except (CommandFailed, stasis_rpc.Failure):
                return False  # an agent that is killed meanwhile: ask the next one

        wait_for("the ranks in vm%d to open the device" % number, all_open, 120, every=0.5)


def end_stress(host, cluster, job):
    host.exec(cluster + ":vm0", "touch", UNTIL)

    def ended():
        job.lines()
        return job.state != "running"

    wait_for("the end of the job", ended, END_SECONDS, every=0.5)
    check(job.code == 0, "the job ended with %d: %s" % (job.code, job.read()[-2000:]))


class Scene:
    """A cluster with the job in it, which must end well."""

    def __init__(self, cluster):
        self.cluster, self.host = cluster, Host()

    def __enter__(self):
        self.host.__enter__()
        self.host.up(self.cluster, vms=VMS, memory="512M", extra=EXTRA)
        put_stress(self.host, self.cluster)
        self.job = start_stress(self.host, self.cluster)
        self.wait_contexts()
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.wait_contexts()
                end_stress(self.host, self.cluster, self.job)
                self.host.down(self.cluster)
        finally:
            self.host.__exit__(kind, value, trace)

    def wait_contexts(self):
        wait_contexts(self.host, self.cluster, self.job)

    def checkpoint_fails(self, words):
        done = self.host.run("checkpoint", self.cluster, check_exit=False)
        check(done.returncode != 0, "the checkpoint succeeds")
        for word in words:
            check(word in done.stderr, "no \"%s\" in: %s" % (word, done.stderr))

    def daemon_with(self, fault):
        self.host.stop_daemon()
        self.host.start_daemon({"STASIS_FAULT": fault})


def run_cycles(cluster, kill):
    """Checkpoints at random instants; before each, the ranks use the device that came after the one before."""
    chance = random.Random(cluster)
    with Scene(cluster) as scene:
        host, seen = scene.host, set()
        for cycle in range(CYCLES):
            scene.wait_contexts()
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
        check_evidence(host, cluster)


def check_evidence(host, cluster):
    """Every checkpoint says of every VM that all its ranks had let go of the device."""
    for checkpoint in host.checkpoints(cluster):
        report = host.json("show", checkpoint["id"])["manifest"]["fabric"]
        check(len(report) == VMS and sum(vm["processes"] for vm in report) == RANKS, "report: %s" % report)
        for vm in report:
            check(re.search(r" ctx 0\b", vm["resources"]), "report: %s" % report)


def test_checkpoints():
    """The VMs run on after each checkpoint."""
    run_cycles("suspend", False)


def test_restarts():
    """All VMs are killed after each checkpoint, and restarted from it."""
    run_cycles("restarts", True)


def test_other_user():
    """A program that nobody suspends holds the device: no capture while it does, and both go on."""
    with Scene("otheruser") as scene:
        host, cluster = scene.host, scene.cluster
        other = Job(host, cluster, "vm1", "other").start(
            "env", "LD_LIBRARY_PATH=" + PLACE, "STASIS_ARMCI_CONTROL=", "STASIS_ARMCI_NODE_RANKS=1",
            "STASIS_ARMCI_TRANSPORT=verbs", "STRESS_UNTIL=" + PLACE + "/never", "mpirun", "--allow-run-as-root", "--oversubscribe",
            "-H", "localhost:2", "-n", "2", PLACE + "/stress")
        wait_for("the other program to open the device",
                 lambda: contexts(host, cluster, 1) >= RANKS // VMS + 2, 60, every=0.3)
        scene.checkpoint_fails(["vm1", "stress", "InfiniBand device"])
        scene.wait_contexts()
        other.check_running()
        other._call("job.signal", signal=9)
        wait_for("the other program's end", lambda: contexts(host, cluster, 1) == RANKS // VMS, 60, every=0.3)
        host.run("checkpoint", cluster)


def test_failing_steps():
    """A step of the checkpoint fails, with the job released or not: it goes on, and the next checkpoint is taken."""
    with Scene("failing") as scene:
        for point in ("ckpt.drain", "ckpt.release", "ckpt.ram", "ckpt.resume", "ckpt.reopen"):
            scene.daemon_with(point + ":1:fail=EIO")
            scene.checkpoint_fails(["%s: " % point.split(".")[1]])
            scene.wait_contexts()
            scene.host.run("checkpoint", scene.cluster)


def test_daemon_killed():
    """stasisd is killed at a step: the next one leads the job back."""
    with Scene("killed") as scene:
        for point in ("ckpt.drain", "ckpt.release", "ckpt.state", "ckpt.resume", "ckpt.reopen"):
            scene.daemon_with(point + ":1:kill")
            scene.host.run("checkpoint", scene.cluster, check_exit=False)
            wait_for("the daemon's end", lambda: not scene.host.daemon_pid(), 60)
            scene.host.start_daemon({})
            wait_for("the cluster to be idle", lambda: scene.host.status(scene.cluster)["state"] == "running", 120, every=0.2)
            scene.wait_contexts()
            scene.host.run("checkpoint", scene.cluster)


def test_agent_killed():
    """A guest's agent is killed after each step: the checkpoint is taken or not, the job goes on, the next one is taken."""
    stasis = os.path.join(BUILD, "libexec", "stasis")
    killer = "for p in $(pgrep -x stasis-agent); do ls -l /proc/$p/fd | grep -q vport && kill -9 $p; done"
    with Scene("agents") as scene:
        host, cluster, taken = scene.host, scene.cluster, []
        for point in ("ckpt.precopy", "ckpt.drain", "ckpt.release", "ckpt.resume", "ckpt.reopen"):
            scene.daemon_with("%s:1:run=timeout 20 %s exec -n %s:vm1 -- sh -c '%s'" % (point, stasis, cluster, killer))
            if host.run("checkpoint", cluster, check_exit=False).returncode == 0:
                taken.append(point)
            scene.wait_contexts()
            host.run("checkpoint", cluster)
        print("taken all the same: %s" % (", ".join(taken) or "none"), flush=True)


def test_no_device():
    """The device does not come back: the checkpoint says so; when it can be made again, the next one leads the job back."""
    with Scene("nodevice") as scene:
        host, cluster = scene.host, scene.cluster
        host.exec(cluster + ":vm1", "sh", "-c", "real=$(command -v rdma) && cp $real /root/rdma && "
                  "printf '#!/bin/sh\\ncase \"$*\" in *add*) exit 1;; esac\\nexec /root/rdma \"$@\"\\n' >/root/fake && "
                  "chmod 755 /root/fake && mount --bind /root/fake $real")
        scene.checkpoint_fails(["reopen", "vm1", "rdma link add"])
        scene.job.check_running()
        host.exec(cluster + ":vm1", "sh", "-c", "umount $(command -v rdma)")
        host.run("checkpoint", cluster)


def test_vm_lost():
    """A VM is killed while the job comes back: a clear error, and the last good checkpoint restarts."""
    with Scene("lost") as scene:
        host, cluster = scene.host, scene.cluster
        host.run("checkpoint", cluster)
        for point in ("ckpt.resume", "ckpt.reopen"):
            scene.wait_contexts()
            good = [one["id"] for one in host.checkpoints(cluster)]
            pid = host.status(cluster)["vms"][1]["pid"]
            scene.daemon_with("%s:1:run=kill -9 %d" % (point, pid))
            done = host.run("checkpoint", cluster, check_exit=False)
            left = [one["id"] for one in host.checkpoints(cluster)]
            if done.returncode == 0:
                check(left != good, "a checkpoint was announced that is not there")
            else:
                check("vm1" in done.stderr and left == good, "%s: %s" % (left, done.stderr))
            wait_for("the loss to be seen", lambda: host.status(cluster)["state"] != "running", 30, every=0.2)
            host.run("restart", cluster)


ATTACH = """#!/bin/sh
# Another device, on another network device with another address, at each time.
set -e
n=$(($(cat /run/fabrics 2>/dev/null || echo 0) + 1))
echo $n >/run/fabrics
# Two network devices in one network: each answers for its own addresses only, else frames for the one go to the other.
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
ip link add link eth0 name fab$n type macvlan mode bridge
ip addr add 10.9$n.0.$(($(hostname | tr -dc 0-9) + 1))/24 dev fab$n
ip link set fab$n up
rdma link add fabric$n type rxe netdev fab$n
until grep -q ACTIVE /sys/class/infiniband/fabric$n/ports/1/state; do sleep 0.1; done
"""
DETACH = """#!/bin/sh
set -e
for device in /sys/class/infiniband/*; do
	rdma link delete ${device##*/}
done
[ ! -e /run/fabrics ] || ip link delete fab$(cat /run/fabrics)
"""


def gids(host, cluster):
    return set(host.exec(cluster + ":vm0", "sh", "-c", "cat /sys/class/infiniband/*/ports/1/gids/*").split()) - {
        "0000:0000:0000:0000:0000:0000:0000:0000"}


def hooks(host, attach, detach):
    """The lines of [files] that put two programs into their places."""
    lines = "[files]\n"
    for name, text in (("attach", attach), ("detach", detach)):
        path = os.path.join(host.dir, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
        lines += "/etc/stasis/fabric-%s = %s\n" % (name, path)
    return lines


def run_restarts(host, cluster, vms, extra, before_each):
    """The job on other devices after each restart."""
    host.up(cluster, vms=vms, memory="512M", extra=extra)
    put_stress(host, cluster)
    job = start_stress(host, cluster)
    for _ in range(CYCLES):
        wait_contexts(host, cluster, job)
        before_each()
        host.run("checkpoint", cluster)
        host.kill_vms(cluster)
        host.run("restart", cluster)
    wait_contexts(host, cluster, job)
    return job


def test_site_hooks():
    """A site's own programs attach and detach: after each restart the device has another name, network device and GID."""
    with Host() as host:
        cluster, seen = "hooks", set()

        def look():
            now = gids(host, cluster)
            check(now and not now & seen, "GIDs %s come again: %s" % (now, seen))
            seen.update(now)

        job = run_restarts(host, cluster, VMS, EXTRA + hooks(host, ATTACH, DETACH), look)
        check(devices(host, cluster, 0) == ["fabric%d" % CYCLES], "devices: %s" % devices(host, cluster, 0))
        print("GIDs: %s" % ", ".join(sorted(seen)), flush=True)
        end_stress(host, cluster, job)
        host.down(cluster)


PLUGGED = ("virtio-net-pci,mac=52:54:00:99:00:0{i},romfile=@dgram,local.type=unix,local.path=%(dir)s/wire%(near)d,"
           "remote.type=unix,remote.path=%(dir)s/wire%(far)d")
PLUGGED_ATTACH = """#!/bin/sh
# The card that the host has plugged, whatever its name is now, with a Soft-RoCE device on it.
set -e
card() { grep -l 52:54:00:99 /sys/class/net/*/address | cut -d/ -f5; }
n=0
until [ "$(card)" ]; do [ $((n += 1)) -lt 200 ]; sleep 0.05; done
cat /sys/class/net/$(card)/ifindex >>/root/cards
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
ip addr add 10.99.0.$(($(hostname | tr -dc 0-9) + 1))/24 dev $(card)
ip link set $(card) mtu 4500 up || ip link set $(card) up
rdma link add plugged$(wc -l </root/cards) type rxe netdev $(card)
"""
PLUGGED_DETACH = """#!/bin/sh
for device in /sys/class/infiniband/*; do
	[ ! -e "$device" ] || rdma link delete ${device##*/}
done
"""


def test_plugged_card():
    """A network card that the host unplugs before the capture and plugs again after it, and after a restart."""
    if VMS != 2:
        raise Skip("a wire has two ends")
    with Host() as host:
        cluster = "plugged"
        cards = " ".join(PLUGGED % {"dir": host.dir, "near": i, "far": 1 - i} for i in range(VMS))
        extra = "[network]\ndevice = %s\n%s" % (cards, hooks(host, PLUGGED_ATTACH, PLUGGED_DETACH))
        job = run_restarts(host, cluster, VMS, extra, lambda: None)
        for number in range(VMS):
            seen = host.exec("%s:vm%d" % (cluster, number), "cat", "/root/cards").split()
            check(len(seen) == CYCLES + 1 and len(set(seen)) == CYCLES + 1, "the cards of vm%d: %s" % (number, seen))
        end_stress(host, cluster, job)
        host.down(cluster)


if __name__ == "__main__":
    main([test_checkpoints, test_restarts, test_other_user, test_failing_steps, test_daemon_killed, test_agent_killed,
          test_no_device, test_vm_lost, test_site_hooks, test_plugged_card])
