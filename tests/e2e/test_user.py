#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An ordinary user, without any privilege, has clusters, checkpoints and restarts; nothing of them is left afterwards."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from guest_job import Job
from harness import BUILD, Host, Skip, alive, check, main, wait_for
from own_cache import own_cache

USER = 65533
TUN = "/dev/net/tun"


class OpenTun:
    """Everybody may open /dev/net/tun, as udev has it, for as long as the test runs."""

    def __enter__(self):
        if not os.path.exists(TUN):
            raise Skip("there is no %s" % TUN)
        self.mode = stat.S_IMODE(os.stat(TUN).st_mode)
        os.chmod(TUN, 0o666)

    def __exit__(self, kind, value, trace):
        os.chmod(TUN, self.mode)


def copy_programs(target):
    """The programs where the user can reach them, with what lies beside the image's builder."""
    source = os.path.join(BUILD, "libexec")
    shutil.copytree(source, target)
    shutil.copytree(os.path.join(os.path.dirname(os.path.realpath(os.path.join(source, "build-image"))), "layers"),
                    os.path.join(target, "layers"), dirs_exist_ok=True)
    return target


def processes_of_user():
    found = {}
    for entry in os.listdir("/proc"):
        try:
            # One that has ended and waits for init to notice is none.
            if entry.isdigit() and os.stat("/proc/" + entry).st_uid == USER and alive(int(entry)):
                with open("/proc/%s/cmdline" % entry, "rb") as file:
                    found[int(entry)] = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            pass
    return found


def files_of_user(top):
    return [os.path.join(directory, name) for directory, _, files in os.walk(top) for name in files]


@contextlib.contextmanager
def user_host():
    """A host of an ordinary user's: programs, cache and directories are that user's own."""
    with OpenTun(), Host(user=str(USER)) as host:
        cache = os.path.join(host.dir, "cache")
        host.programs = copy_programs(os.path.join(host.dir, "programs"))
        own_cache(host.programs, cache, USER)
        host.env.update(STASIS_LIBEXEC_DIR=host.programs, STASIS_CACHE_DIR=cache, HOME=host.dir, USER="nobody")
        for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR"):
            host.env.pop(name, None)
        yield host


def test_ordinary_user():
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    if not shutil.which("setpriv"):
        raise Skip("setpriv is not installed")
    check(not processes_of_user(), "user %d has processes already: %s" % (USER, processes_of_user()))
    shared_memory = set(os.listdir("/dev/shm"))
    with user_host() as host:
        host.up("mine", 2)
        check(os.stat("/proc/%d" % host.daemon_pid()).st_uid == USER, "the daemon is not the user's")
        for pid in host.vm_pids("mine"):
            check(os.stat("/proc/%d" % pid).st_uid == USER, "process %d is not the user's" % pid)
        check(sorted(host.exec("all", "hostname").splitlines()) == ["vm0: vm0", "vm1: vm1"], "exec all")
        host.put_program("all", "memory_counter")
        host.put_program("all", "tcp_stream")
        counter = Job(host, "mine", "vm0", "counter").start("/root/memory_counter")
        receiver = Job(host, "mine", "vm1", "receiver").start("/root/tcp_stream", "listen", "5000")
        receiver.wait_lines(1)
        address = host.status("mine")["vms"][1]["address"]
        Job(host, "mine", "vm0", "sender").start("/root/tcp_stream", "send", address, "5000")
        receiver.wait_lines(3)
        number = counter.wait_lines(20)[0].split()[0]
        host.run("checkpoint", "mine")
        host.kill_vms("mine")
        wait_for("the cluster to be seen dead", lambda: host.status("mine")["state"] == "dead")
        host.run("restart", "mine")
        count = len(counter.lines())
        rows = [line.split() for line in counter.wait_lines(count + 20)]
        check(rows == [[number, str(at)] for at in range(len(rows))], "%s was not restored" % number)
        receiver.wait_lines(len(receiver.lines()) + 3)
        receiver.check_running()
        # Another user is not served, and cannot even see the directories.
        other = subprocess.run(["setpriv", "--reuid", str(USER - 1), "--regid", str(USER - 1), "--clear-groups", "--",
                                "ls", host.run_dir], capture_output=True, text=True)
        check(other.returncode != 0, "another user may look into the run directory")
        host.run("down", "mine")
        check(not host.leaks(), "left behind: %s" % host.leaks())
        host.stop_daemon()
        check(not processes_of_user(), "processes are left: %s" % processes_of_user())
        check(set(os.listdir("/dev/shm")) <= shared_memory, "shared memory is left: %s" % os.listdir("/dev/shm"))
        left = [path for path in files_of_user(host.run_dir) if not os.path.basename(path).startswith("stasisd.")]
        check(not left, "files are left: %s" % left)


def test_tun_is_closed():
    """A user who may not open /dev/net/tun is told so in one sentence, and nothing is left."""
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    if not os.path.exists(TUN) or stat.S_IMODE(os.stat(TUN).st_mode) & 0o006:
        raise Skip("%s is open to everybody here" % TUN)
    with Host(user=str(USER)) as host:
        cache = os.path.join(host.dir, "cache")
        host.programs = copy_programs(os.path.join(host.dir, "programs"))
        own_cache(host.programs, cache, USER)
        host.env.update(STASIS_LIBEXEC_DIR=host.programs, STASIS_CACHE_DIR=cache, HOME=host.dir, USER="nobody")
        result = host.run("up", "-c", host.cluster_file("mine", 2), timeout=600, check_exit=False)
        check(result.returncode == 1 and TUN in result.stderr, "exit %d: %s" % (result.returncode, result.stderr))
        check(not host.leaks(), "left behind: %s" % host.leaks())
        host.stop_daemon()
        check(not processes_of_user(), "processes are left: %s" % processes_of_user())


if __name__ == "__main__":
    main([test_ordinary_user, test_tun_is_closed])
