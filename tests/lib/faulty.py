# SPDX-License-Identifier: BSD-3-Clause
"""One cluster that lives through many faults: how to provoke one, and everything that must be whole after it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess

from harness import Host, alive, check, kill_and_wait, process_cmdlines, wait_for

VMS = 2
SETTLE_SECONDS = 120
# What a collection shows when there was nothing to do for it.
IDLE = {"condemned": 0, "deleted": 0, "rewritten": 0, "waiting": 0, "freed_bytes": 0}
# Objects that the store keeps open for reading; of one that was deleted the name has another end.
OBJECT = re.compile(r"/(store|packs|manifests|leases|condemned|suspect|damaged)/[^/ ]+$")

# In a guest: a file in its memory, of which a piece stays as it is and the rest is another one each time.
FILL = "cd /dev/shm && head -c 1000000 /dev/urandom >keep$0 && head -c 6000000 /dev/urandom >fill"

# What a fault point's run= action starts: it does its deed and leaves a word about it; the daemon waits for it.
HOOK = r"""#!/bin/sh
cd %(dir)s || exit 1
case $(cat deed) in
qemu)
	pids=$(grep -lsaF -f victim /proc/[0-9]*/cmdline | cut -d/ -f3) ;;
cli)
	until [ -s cli.pid ]; do sleep 0.01; done
	pids=$(cat cli.pid) ;;
fill)
	dd if=/dev/zero of="$(cat filler)" bs=64k 2>/dev/null
	echo filled >done; exit 0 ;;
hold)
	echo held >done
	until [ -e release ]; do sleep 0.02; done; exit 0 ;;
esac
said=none
for pid in $pids; do
	kill -9 $pid && said=$pid
	while grep -qs '^State:.[^ZX]' /proc/$pid/status; do sleep 0.01; done
done
echo $said >done
"""


def qmp(path, *commands):
    """Run commands on a monitor socket; their results."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        with sock.makefile("rw") as stream:
            stream.readline()
            results = []
            for command in ("qmp_capabilities",) + commands:
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                reply = json.loads(stream.readline())
                while "event" in reply:
                    reply = json.loads(stream.readline())
                results.append(reply["return"])
    return results[1:]


def fd_kinds(pid):
    """What a process has open, without the numbers that differ each time and the objects of the store; and the memfds among them."""
    kinds, memfds = {}, set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        path = "/proc/%d/fd/%s" % (pid, fd)
        try:
            target = os.readlink(path)
            if target.startswith("/memfd:"):
                memfds.add(os.stat(path).st_ino)
        except OSError:
            continue
        if OBJECT.search(target):
            continue
        kind = re.sub(r"\[\d+\]", "", target)
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds, memfds


def settled_fds(host):
    """A daemon's descriptors when ten looks in a row agree, so that no client's connection is among them."""
    looks = []

    def same():
        looks.append(fd_kinds(host.daemon_pid())[0])
        return len(looks) > 10 and all(look == looks[-1] for look in looks[-10:]) and looks[-1]

    return wait_for("the daemon's descriptors to settle", same, 30)


def store_files(store):
    """kind -> names of its objects, for a store in a directory; everything else in it is a failure."""
    kinds = {}
    for top, _, files in os.walk(store):
        kind = os.path.relpath(top, store)
        if files:
            kinds[kind] = sorted(files)
    return kinds


def pack_stats(store):
    """Which packs there are, so that one is known again: packs never change."""
    found = set()
    for name in store_files(store).get("packs", []):
        stat = os.stat(os.path.join(store, "packs", name))
        found.add((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found


def collect(host):
    """stasis gc until nothing waits: a collection of the daemon's own may be under way. The last report."""

    def settled():
        result = host.run("gc", "--json", check_exit=False)
        if "another collection is at work" in result.stdout + result.stderr:
            return None
        check(result.returncode == 0, "gc: %s" % result)
        report = json.loads(result.stdout)
        return report["waiting"] == 0 and report

    return wait_for("a collection that need not wait", settled, SETTLE_SECONDS, every=0.2)


def collect_all(host):
    """Collections until one has nothing to do. Of chunks that a killed one has left in two packs it takes one or two more to be rid."""
    for _ in range(4):
        report = collect(host)
        if all(report[key] == value for key, value in IDLE.items()):
            return report
    raise AssertionError("the last of four collections had work: %s" % report)


def check_store_files(host, ids):
    """After a collection a store in a directory holds what these checkpoints need, and nothing else."""
    report = collect_all(host)
    stats = host.json("stats")
    # A pack of which less than half is needed would have been rewritten.
    check(stats["chunk_bytes"] <= 2 * report["live_bytes"], "%s, needed are %s" % (stats, report))
    wait_for("the end of all leases: %s" % store_files(host.store_dir).get("leases"),
             lambda: "leases" not in store_files(host.store_dir), 20)
    files = store_files(host.store_dir)
    packs = files.pop("packs", [])
    want = {"store": ["format"]}
    if ids:
        want["manifests"] = sorted(ids)
    check(files == want, "the store holds %s, it should %s" % (files, want))
    check(bool(packs) == bool(ids), "packs are %s" % packs)
    check(all(re.fullmatch(r"[0-9a-f]{32}\.pack", name) for name in packs), "packs are %s" % packs)
    check(len(packs) == report["packs"] == stats["packs"], "%s, %s, packs are %s" % (report, stats, packs))


class Faulty:
    """A cluster with a memory_counter in each VM and one good checkpoint at least."""

    name = "faulty"

    def __init__(self, memory="128M", store=None, env=None):
        self.host = Host(store=store, env=env)
        self.hook_dir = os.path.join(self.host.dir, "hook")
        os.mkdir(self.hook_dir)
        self.hook = os.path.join(self.hook_dir, "hook")
        with open(self.hook, "w") as file:
            file.write(HOOK % {"dir": shlex.quote(self.hook_dir)})
        os.chmod(self.hook, 0o755)
        try:
            self._begin(memory)
        except BaseException:
            self.close(check_leaks=False)
            raise

    def _begin(self, memory):
        host = self.host
        host.up(self.name, VMS, memory)
        host.put_program(self.name + ":all", "memory_counter")
        for vm in range(VMS):
            self.agent(vm, "job.start", job="counter", argv=["/root/memory_counter", "1"], env={}, cwd="/root", stdin=False)
        self.numbers = {}
        self.numbers = {vm: self.counter(vm)[0] for vm in range(VMS)}
        check(len(set(self.numbers.values())) == VMS, "counters are alike: %s" % self.numbers)
        host.run("checkpoint", self.name)
        self.ids = [entry["id"] for entry in host.checkpoints(self.name)]
        check(len(self.ids) == 1, "checkpoints: %s" % self.ids)
        self.verified = {}
        # A daemon that has adopted is what all others are compared with.
        self.restart_daemon()
        self.wait_running()
        self.baseline = settled_fds(self.host)
        self.run_files = self._run_files()

    # ----- talking with it

    def agent(self, vm, op, **members):
        client = self.host.client()
        try:
            return client.agent(self.name, "vm%d" % vm, op, **members)
        finally:
            client.close()

    def counter(self, vm):
        """(random number, count) of the last whole line, after seeing it advance by two lines at least."""

        def size():
            reply, _ = self.agent(vm, "job.poll", job="counter", out=0, err=0, max=0, wait_ms=0)
            check(reply["state"] == "running", "the counter of vm%d: %s" % (vm, reply))
            return reply["out_size"]

        start = size()
        end = wait_for("the counter of vm%d to go on from byte %d" % (vm, start),
                       lambda: size() >= start + 60 and size(), SETTLE_SECONDS, every=0.02)
        reply, blob = self.agent(vm, "job.poll", job="counter", out=max(0, end - 120), err=0, max=4096, wait_ms=0)
        lines = blob[: reply["out_bytes"]].decode().split("\n")[:-1]
        check(len(lines) >= 2, "vm%d shows %r" % (vm, blob))
        # The first line may be cut; of two whole ones the later must count one more.
        rows = [line.split() for line in lines[-2:]]
        check(all(len(row) == 2 and len(row[0]) == 16 for row in rows[-1:]), "vm%d shows %s" % (vm, lines))
        if len(rows[0]) == 2 and len(rows[0][0]) == 16:
            check(int(rows[1][1]) == int(rows[0][1]) + 1, "vm%d counts %s" % (vm, lines))
        return rows[-1][0], int(rows[-1][1])

    def status(self):
        return self.host.status(self.name)

    def wait_running(self):
        def whole():
            status = self.status()
            return status["state"] == "running" and all(vm["agent"] and vm["state"] == "running" for vm in status["vms"])

        wait_for("the cluster to run with all agents", whole, SETTLE_SECONDS)

    def wait_idle(self):
        """Wait until nothing is under way in the cluster; its state."""
        busy = ("starting", "checkpointing", "restarting", "stopping")
        return wait_for("the operation's end", lambda: self.status()["state"] not in busy and self.status(), SETTLE_SECONDS)["state"]

    def restart_daemon(self, fault=""):
        """End the daemon in an orderly way and start one with a fault armed; returns its pid."""
        self.host.stop_daemon()
        return self.start_daemon(fault)

    def start_daemon(self, fault=""):
        self.host.start_daemon({"STASIS_FAULT": fault})
        pid = self.host.daemon_pid()
        check(pid, "no daemon after its start")
        return pid

    # ----- deeds of the hook

    def set_deed(self, deed, **files):
        for name in ("done", "cli.pid", "release"):
            if os.path.exists(os.path.join(self.hook_dir, name)):
                os.remove(os.path.join(self.hook_dir, name))
        for name, text in dict(files, deed=deed).items():
            self.tell(name, text)

    def tell(self, name, text=""):
        path = os.path.join(self.hook_dir, name)
        with open(path + ".new", "w") as file:
            file.write(text + "\n")
        os.rename(path + ".new", path)

    def deed_done(self):
        """The hook's word, or None while it has not ended."""
        try:
            with open(os.path.join(self.hook_dir, "done")) as file:
                return file.read().strip() or None
        except OSError:
            return None

    def victim(self, vm):
        """What the command line of a VM's QEMU holds and no other's does."""
        return os.path.join(self.host.run_dir, "c", self.name, "vm%d" % vm) + "/"

    # ----- what must be whole

    def _run_files(self):
        found = []
        for top, _, files in os.walk(self.host.run_dir):
            found += [os.path.join(os.path.relpath(top, self.host.run_dir), file) for file in files]
        return sorted(found)

    def check_nothing_leaks(self):
        host = self.host
        daemon = host.daemon_pid()
        wait_for("the daemon's descriptors to be %s, they are %s" % (self.baseline, fd_kinds(daemon)[0]),
                 lambda: fd_kinds(daemon)[0] == self.baseline, 20)
        status = self.status()
        pids = sorted(vm["pid"] for vm in status["vms"])
        mine = {pid: line for pid, line in process_cmdlines(host.dir).items() if pid != daemon and alive(pid)}
        qemus = sorted(pid for pid, line in mine.items() if "qemu-system" in line.split(" ")[0])
        check(qemus == pids, "QEMUs are %s, the cluster's are %s" % (qemus, pids))
        rest = [line for pid, line in mine.items() if pid not in pids]
        check(len(rest) == 1 and "stasis-netns" in rest[0], "processes beside the VMs: %s" % rest)
        memfds = set()
        for pid in pids + [daemon]:
            memfds |= fd_kinds(pid)[1]
        check(len(memfds) == VMS, "%d memfds for %d VMs" % (len(memfds), VMS))
        with open("/proc/self/mounts") as file:
            left = [line for line in file if host.dir in line and line.split()[1] != host.store_dir]
        check(not left, "mounts are left: %s" % left)
        check(self._run_files() == self.run_files, "run directory holds %s, at the start %s" % (self._run_files(), self.run_files))
        for vm in range(VMS):
            files = os.listdir(os.path.join(host.state_dir, "clusters", self.name, "vm%d" % vm))
            layers = [name for name in files if name.endswith(".qcow2")]
            check(layers == ["disk.qcow2"], "vm%d has the layers %s" % (vm, layers))

    def check_vms(self):
        for vm in self.status()["vms"]:
            state, devices, jobs = qmp(vm["debug_qmp"], "query-status", "query-block", "query-block-jobs")
            check(state["running"], "%s is %s" % (vm["name"], state))
            check(not jobs, "%s has jobs: %s" % (vm["name"], jobs))
            depths = [device["inserted"]["backing_file_depth"] for device in devices if device.get("inserted")]
            check(depths == [1], "%s: lengths of disk chains are %s" % (vm["name"], depths))
        for vm in range(VMS):
            number, _ = self.counter(vm)
            check(number == self.numbers[vm], "vm%d: another process runs: %s, not %s" % (vm, number, self.numbers[vm]))

    def listed(self):
        entries = self.host.checkpoints(self.name)
        check(not [entry for entry in entries if entry["damaged"]], "damaged: %s" % entries)
        return [entry["id"] for entry in entries]

    def check_store(self):
        """Everything listed is good, and nothing else is there; returns the ids."""
        ids = self.listed()
        check_store_files(self.host, ids)
        packs = pack_stats(self.host.store_dir)
        for each in ids:
            # Every byte, again as soon as one of the packs that were there is no more.
            known = self.verified.get(each)
            self.host.run("verify", *(["--quick"] if known and known <= packs else []), each)
            if not known or not known <= packs:
                self.verified[each] = packs
        return ids

    def bring_back(self):
        """If the job does not run any more, its last good checkpoint must restart; says whether it had to."""
        state = self.wait_idle()
        lost = state != "running"
        if lost:
            self.host.run("restart", self.name)
        self.wait_running()
        return lost

    def check_whole(self):
        self.wait_running()
        self.check_vms()
        self.ids = self.check_store()
        self.check_nothing_leaks()

    def keep_newest(self):
        for each in self.ids[:-1]:
            self.host.run("rm", each)
        self.ids = self.ids[-1:]
        check(self.ids, "no checkpoint is left")

    def start_cli(self, *args):
        """A command in the background whose pid the hook learns."""
        process = self.host.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.tell("cli.pid", str(process.pid))
        return process

    def close(self, check_leaks=True):
        if check_leaks:
            self.host.close()
            return
        try:
            self.host.close()
        except (AssertionError, subprocess.SubprocessError, OSError) as problem:
            print("while cleaning up: %s" % problem, flush=True)
            pid = self.host.daemon_pid()
            if pid:
                os.kill(pid, signal.SIGKILL)
            for pid in process_cmdlines(self.host.dir):
                kill_and_wait(pid)
