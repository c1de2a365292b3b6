#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that is killed at any time is followed by one that takes over: what runs lives on, what was half done is cleaned up."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faulty import SETTLE_SECONDS, Faulty, fd_kinds, settled_fds
from harness import Host, alive, check, kill_and_wait, main, process_cmdlines, wait_for


def guarded(test):
    def run():
        faulty = Faulty()
        try:
            test(faulty)
        except BaseException:
            sys.stderr.write("--- end of stasisd.log\n%s\n" % "\n".join(faulty.host.log().splitlines()[-40:]))
            faulty.close(check_leaks=False)
            raise
        faulty.close()

    run.__name__ = test.__name__
    return run


def record_path(faulty):
    return os.path.join(faulty.host.state_dir, "clusters", faulty.name, "cluster.json")


def end_without_word(faulty):
    """SIGKILL to the daemon, so that the record stays as it is."""
    faulty.host.kill_daemon()


@guarded
def test_idle_five_times(faulty):
    for _ in range(5):
        pids = faulty.host.vm_pids(faulty.name)
        counts = [faulty.counter(vm)[1] for vm in (0, 1)]
        old = faulty.host.daemon_pid()
        os.kill(old, signal.SIGKILL)
        # At once: a daemon that is just dying is no reason to fail.
        status = faulty.status()
        check(faulty.host.daemon_pid() != old, "the killed daemon answers")
        check([vm["pid"] for vm in status["vms"]] == pids, "VMs are %s, they were %s" % (status["vms"], pids))
        faulty.check_whole()
        check(faulty.host.vm_pids(faulty.name) == pids, "the VMs are others now")
        check(all(faulty.counter(vm)[1] > counts[vm] for vm in (0, 1)), "the counters went back")
    faulty.host.run("checkpoint", faulty.name)
    faulty.check_whole()
    faulty.host.kill_vms(faulty.name)
    faulty.bring_back()
    faulty.check_whole()


@guarded
def test_two_daemons(faulty):
    argv = [os.path.join(faulty.host.programs, "stasisd")]
    pid, pids = faulty.host.daemon_pid(), faulty.host.vm_pids(faulty.name)
    begin = time.monotonic()
    result = subprocess.run(argv, env=faulty.host.env, capture_output=True, text=True, timeout=60)
    check(result.returncode == 1 and "a stasisd serves %s already" % faulty.host.run_dir in result.stderr, "the second says: %s" % result)
    check(time.monotonic() - begin < 5, "it took %.1f s to see the first" % (time.monotonic() - begin))
    # Another run directory with the same store is another host's: it serves, and has none of the first one's clusters.
    env = dict(faulty.host.env, STASIS_RUN_DIR=os.path.join(faulty.host.dir, "r2"), STASIS_STATE_DIR=os.path.join(faulty.host.dir, "s2"))
    with subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL) as other:
        try:
            wait_for("the other to serve", lambda: os.path.exists(os.path.join(env["STASIS_RUN_DIR"], "stasisd.sock")), 30)
            check(json.loads(faulty.host.run("status", "--json", env=env).stdout)["clusters"] == [], "it has the first one's clusters")
            listed = json.loads(faulty.host.run("list", "--json", env=env).stdout)["checkpoints"]
            check([entry["id"] for entry in listed] == faulty.ids, "it lists %s" % listed)
        finally:
            other.terminate()
            other.wait(60)
    shutil.rmtree(env["STASIS_RUN_DIR"])
    shutil.rmtree(env["STASIS_STATE_DIR"])
    check(faulty.host.daemon_pid() == pid and faulty.host.vm_pids(faulty.name) == pids, "the first was disturbed")
    faulty.check_whole()


@guarded
def test_many_commands_start_one_daemon(faulty):
    """Commands that find no daemon at the same moment all succeed."""
    pids = faulty.host.vm_pids(faulty.name)
    end_without_word(faulty)
    commands = [faulty.host.start("status", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(6)]
    for command in commands:
        out, err = command.communicate(timeout=SETTLE_SECONDS)
        check(command.returncode == 0, "exit %d: %s%s" % (command.returncode, out, err))
        check([vm["pid"] for vm in json.loads(out)["clusters"][0]["vms"]] == pids, "it shows %s" % out)
    check(len(daemons(faulty.host)) == 1, "daemons: %s" % daemons(faulty.host))
    faulty.check_whole()


def daemons(host):
    """Daemons of this host's run directory."""
    found = []
    for pid, line in process_cmdlines("stasisd").items():
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                if ("STASIS_RUN_DIR=" + host.run_dir).encode() in file.read().split(b"\0") and alive(pid):
                    found.append(pid)
        except OSError:
            continue
    return found


BAD_RECORDS = (
    ("empty", lambda text: ""),
    ("truncated", lambda text: text[: len(text) // 2]),
    ("garbage", lambda text: "\0\xff" * 2000),
    ("no object", lambda text: "[]"),
    ("newer", lambda text: text.replace('"format": 1', '"format": 2')),
    ("wrong kinds", lambda text: text.replace('"pid": ', '"pid": "x", "was": ')),
    ("too many VMs", lambda text: text.replace('"vms": 2', '"vms": 3')),
    ("an endless name", lambda text: re.sub(r'"image_dir": "[^"]*"', '"image_dir": "%s"' % ("/x" * 5000), text)),
)


@guarded
def test_corrupt_record(faulty):
    """A record that cannot be read is refused with a sentence; "down" removes what is left, "restart" goes back to a checkpoint."""
    for name, change in BAD_RECORDS:
        with open(record_path(faulty)) as file:
            text = file.read()
        end_without_word(faulty)
        broken = change(text)
        check(broken != text, "%s: nothing was changed" % name)
        with open(record_path(faulty), "w", encoding="latin-1") as file:
            file.write(broken)
        faulty.start_daemon()
        status = faulty.status()
        check(status["state"] == "dead" and "record cannot be read" in status["message"], "%s: %s" % (name, status))
        check("cluster.json" in faulty.host.log(), "%s: the log does not name the file" % name)
        result = faulty.host.run("checkpoint", faulty.name, check_exit=False)
        check(result.returncode == 1, "%s: a checkpoint of it: %s" % (name, result))
        result = faulty.host.run("up", "-c", os.path.join(faulty.host.dir, faulty.name + ".ini"), check_exit=False)
        check(result.returncode == 1 and "stasis down" in result.stderr, "%s: up says %s" % (name, result))
        faulty.host.run("restart", faulty.name)
        faulty.check_whole()
    end_without_word(faulty)
    with open(record_path(faulty), "w") as file:
        file.write("{")
    faulty.start_daemon()
    faulty.host.run("down", faulty.name)
    left = faulty.host.leaks()
    check(not left, "down has left %s" % left)
    check(faulty.host.json("status")["clusters"] == [], "the cluster is still there")
    check(faulty.listed() == faulty.ids, "down removed checkpoints")
    faulty.host.run("restart", faulty.name)
    faulty.check_whole()


@guarded
def test_reused_pid(faulty):
    """A record whose pids have become other processes adopts none of them and ends none of them."""
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        for with_start_time in (False, True):
            faulty.host.stop_daemon()
            with open(record_path(faulty)) as file:
                record = json.load(file)
            for pid in [node["pid"] for node in record["nodes"]] + [record["net_pid"]]:
                kill_and_wait(pid)
            # Even its start time fits: then it is known by what it runs.
            with open("/proc/%d/stat" % stranger.pid) as file:
                start_time = int(file.read().rpartition(")")[2].split()[19])
            for node in record["nodes"]:
                node["pid"] = stranger.pid
                if with_start_time:
                    node["start_time"] = start_time
            record["net_pid"] = stranger.pid
            if with_start_time:
                record["net_start_time"] = start_time
            with open(record_path(faulty), "w") as file:
                json.dump(record, file)
            faulty.start_daemon()
            status = faulty.status()
            check(status["state"] == "dead", "adopted: %s" % status)
            check(stranger.poll() is None, "a stranger was killed at the start")
            faulty.host.run("restart", faulty.name)
            check(stranger.poll() is None, "a stranger was killed by the restart")
            faulty.check_whole()
    finally:
        stranger.kill()
        stranger.wait()


@guarded
def test_stale_processes(faulty):
    """VMs of a cluster that no record names any more are ended by whoever takes the cluster's place."""
    pids = faulty.host.vm_pids(faulty.name)
    end_without_word(faulty)
    os.remove(record_path(faulty))
    faulty.start_daemon()
    check(faulty.host.json("status")["clusters"] == [], "a cluster without a record was adopted")
    check(not any(alive(pid) for pid in pids), "its VMs live on")
    left = faulty.host.leaks()
    check(not left, "left: %s" % left)
    # The same with the whole directory gone: the next one of that name ends them.
    faulty.host.run("restart", faulty.name)
    faulty.wait_running()
    pids = faulty.host.vm_pids(faulty.name)
    end_without_word(faulty)
    shutil.rmtree(os.path.join(faulty.host.state_dir, "clusters", faulty.name))
    faulty.start_daemon()
    faulty.host.run("restart", faulty.name)
    check(not any(alive(pid) for pid in pids), "the old VMs live beside the new ones")
    faulty.check_whole()


@guarded
def test_one_vm_died_meanwhile(faulty):
    pids = faulty.host.vm_pids(faulty.name)
    end_without_word(faulty)
    kill_and_wait(pids[1])
    faulty.start_daemon()
    status = faulty.status()
    check(status["state"] == "degraded" and [vm["state"] for vm in status["vms"]] == ["running", "dead"], "%s" % status)
    faulty.bring_back()
    faulty.check_whole()


@guarded
def test_killed_during_adoption(faulty):
    """Daemons killed one after the other while they adopt a cluster that was left in the middle of a checkpoint."""
    for point in ("ckpt.pause", "ckpt.disk", "ckpt.ram"):
        faulty.restart_daemon(point + ":1:kill")
        faulty.wait_running()
        pid = faulty.host.daemon_pid()
        faulty.host.run("checkpoint", faulty.name, check_exit=False)
        wait_for("the end of the daemon", lambda: not alive(pid), 30)
        for delay in (0.005, 0.02, 0.04, 0.08):
            argv = [os.path.join(faulty.host.programs, "stasisd")]
            with subprocess.Popen(argv, env=faulty.host.env, stderr=subprocess.DEVNULL) as process:
                # Not a wait for anything: the instants of the kills are spread over the adoption.
                time.sleep(delay)
                process.kill()
        faulty.start_daemon()
        faulty.check_whole()
        faulty.host.run("checkpoint", faulty.name)
        faulty.check_whole()
        faulty.keep_newest()


def kill_during(host, args, delay):
    """Start a command and kill the daemon so long after it; returns whether the command had ended before."""
    process = host.start(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.communicate(timeout=delay)
        ended = True
    except subprocess.TimeoutExpired:
        ended = False
    host.kill_daemon()
    process.communicate(timeout=SETTLE_SECONDS)
    return ended


def check_gone_or_running(host, name):
    """After a kill in the middle: a new daemon shows the cluster whole, or not at all and nothing is left of it."""
    # The command starts a daemon unless the killed one's client has done so already.
    clusters = host.json("status")["clusters"]
    if not clusters:
        left = host.leaks()
        check(not left, "the cluster is gone, but not %s" % left)
        return "gone"

    def whole():
        status = host.status(name)
        return status["state"] == "running" and all(vm["agent"] for vm in status["vms"])

    wait_for("the cluster to run", whole, SETTLE_SECONDS)
    names = [host.exec("%s:vm%d" % (name, at), "hostname").strip() for at in (0, 1)]
    check(names == ["vm0", "vm1"], "host names: %s" % names)
    return "running"


def test_during_up():
    with Host() as host:
        path = host.cluster_file("rise", 2, "128M")
        host.start_daemon()
        baseline = settled_fds(host)
        host.run("up", "-c", path, timeout=600)
        host.run("down", "rise")
        begin = time.monotonic()
        host.run("up", "-c", path, timeout=600)
        host.run("down", "rise")
        took = time.monotonic() - begin
        seen = []
        for part in (0.02, 0.1, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
            ended = kill_during(host, ["up", "-c", path], part * took)
            result = check_gone_or_running(host, "rise")
            check(result == "running" or not ended, "a cluster that was up is gone")
            seen.append(result)
            if result == "running":
                host.run("down", "rise")
            left = host.leaks()
            check(not left, "after a kill at %.2f s: %s" % (part * took, left))
            fds = settled_fds(host)
            check(fds == baseline, "descriptors are %s, of an idle daemon %s" % (fds, baseline))
        check("gone" in seen, "no kill hit \"up\": %s" % seen)
        # And it still works.
        host.run("up", "-c", path, timeout=600)
        check(check_gone_or_running_now(host), "the last cluster does not run")


def check_gone_or_running_now(host):
    return host.status("rise")["state"] == "running"


def test_during_template_boot():
    """The boot of a template is cut short: its QEMU goes with the next daemon, and the boot is done anew."""
    host = Host()
    host.env["STASIS_CACHE_DIR"] = os.path.join(host.dir, "cache")
    with host:
        # The image is taken from the common cache; templates are not.
        common = os.environ.get("STASIS_CACHE_DIR") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "stasis")
        with Host() as other:
            other.up("warm", 2, "128M")
        os.mkdir(host.env["STASIS_CACHE_DIR"])
        os.symlink(os.path.join(common, "images"), os.path.join(host.env["STASIS_CACHE_DIR"], "images"))
        path = host.cluster_file("rise", 2, "128M")
        templates = os.path.join(host.run_dir, "t") + "/"
        process = host.start("up", "-c", path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            booting = wait_for("a template to boot", lambda: [pid for pid in process_cmdlines(templates) if alive(pid)], 300, every=0.01)
        finally:
            host.kill_daemon()
            process.communicate(timeout=SETTLE_SECONDS)
        host.start_daemon()
        wait_for("the end of the template's QEMU", lambda: not any(alive(pid) for pid in booting), 30)
        check(host.json("status")["clusters"] == [], "a half cluster is there")
        left = host.leaks()
        check(not left, "left: %s" % left)
        host.run("up", "-c", path, timeout=600)
        check(check_gone_or_running_now(host), "the cluster does not run")
        check(not [pid for pid in process_cmdlines(templates) if alive(pid)], "a template still runs")


def test_during_down():
    faulty = Faulty()
    try:
        good = faulty.ids
        for delay in (0.005, 0.02, 0.05, 0.1, 0.2):
            kill_during(faulty.host, ["down", faulty.name], delay)
            clusters = faulty.host.json("status")["clusters"]
            if clusters:
                # It was killed before it began.
                faulty.check_whole()
            else:
                left = faulty.host.leaks()
                check(not left, "after a kill at %.3f s: %s" % (delay, left))
                faulty.host.run("restart", faulty.name)
                faulty.check_whole()
            check(faulty.listed() == good, "checkpoints: %s, before: %s" % (faulty.listed(), good))
    except BaseException:
        sys.stderr.write("--- end of stasisd.log\n%s\n" % "\n".join(faulty.host.log().splitlines()[-40:]))
        faulty.close(check_leaks=False)
        raise
    faulty.close()


if __name__ == "__main__":
    main([test_idle_five_times, test_two_daemons, test_many_commands_start_one_daemon, test_corrupt_record, test_reused_pid,
          test_stale_processes, test_one_vm_died_meanwhile, test_killed_during_adoption, test_during_up, test_during_template_boot,
          test_during_down])
