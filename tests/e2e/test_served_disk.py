#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A large disk is served from the store while its VM runs already: right bytes at once, all of it in the end, whoever dies meanwhile."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Host, check, main, process_cmdlines, wait_for

MIB = 80  # more than what a restart waits for
NAME = "big"


def digest(host):
    return host.exec("vm0", "sha256sum", "/root/large").split()[0]


def server_pids(host):
    return [pid for pid, line in process_cmdlines(host.run_dir).items() if "nbdkit" in line]


def lose(host):
    host.kill_vms(NAME)
    wait_for("the cluster to be seen dead", lambda: host.status(NAME)["state"] == "dead")


def filled(host):
    return not server_pids(host)


def restart_and_look(host, want, checkpoint):
    """The VM runs and reads right bytes while the rest of its disk is on the way."""
    lose(host)
    host.run("restart", checkpoint)
    check(server_pids(host) or "has all of its disk" in host.log(), "nothing serves the disk")
    check(digest(host) == want, "the file differs after the restart")


class World:
    host = None

    @classmethod
    def get(cls):
        if not cls.host:
            host = Host()
            host.up(NAME, vms=1, memory="128M")
            # Different pages, quickly made where a processor is emulated.
            host.exec("vm0", "sh", "-c", "head -c %d /dev/urandom > /root/seed && for i in $(seq %d); do sed s/./$i/1 /root/seed; done "
                      "> /root/large && sync && echo 3 > /proc/sys/vm/drop_caches" % (1 << 20, MIB), timeout=600)
            cls.want = digest(host)
            cls.host = host
            cls.checkpoint = host.json("checkpoint", NAME)["manifest"]["id"]
        return cls.host

    @classmethod
    def close(cls):
        if cls.host:
            cls.host.down(NAME)
            cls.host.close()


def test_runs_before_its_disk_is_there():
    host = World.get()
    restart_and_look(host, World.want, World.checkpoint)
    wait_for("the disk to be whole", lambda: filled(host), 300)
    check(digest(host) == World.want, "the file differs when the disk is whole")


def test_checkpoint_waits_for_the_disk():
    host = World.get()
    restart_and_look(host, World.want, World.checkpoint)
    host.exec("vm0", "sh", "-c", "echo more > /root/more && sync")
    newer = host.json("checkpoint", NAME, timeout=600)["manifest"]["id"]
    host.run("verify", newer)
    restart_and_look(host, World.want, newer)
    check(host.exec("vm0", "cat", "/root/more") == "more\n", "what was written while the disk was served is lost")
    host.run("rm", newer)
    wait_for("the disk to be whole", lambda: filled(host), 300)


def test_daemon_killed():
    host = World.get()
    restart_and_look(host, World.want, World.checkpoint)
    host.kill_daemon()
    check(host.status(NAME)["state"] == "running", "the cluster does not run under the next daemon")
    wait_for("the disk to be whole", lambda: filled(host), 300)
    check(digest(host) == World.want, "the file differs under the next daemon")


def test_server_killed_with_the_daemon():
    host = World.get()
    restart_and_look(host, World.want, World.checkpoint)
    host.kill_daemon()
    for pid in server_pids(host):
        os.kill(pid, 9)
    check(host.status(NAME)["state"] == "running", "the cluster does not run under the next daemon")
    wait_for("the disk to be whole", lambda: filled(host), 300)
    check(digest(host) == World.want, "the file differs under the next daemon and server")


def test_vm_killed_meanwhile():
    host = World.get()
    restart_and_look(host, World.want, World.checkpoint)
    restart_and_look(host, World.want, World.checkpoint)
    wait_for("the disk to be whole", lambda: filled(host), 300)
    host.run("gc")
    host.run("verify", World.checkpoint)
    left = [name for name in os.listdir(os.path.join(host.store_dir, "leases")) if not re.match(r"\.", name)]
    check(not left, "leases are left: %s" % left)


if __name__ == "__main__":
    try:
        main([
            test_runs_before_its_disk_is_there, test_checkpoint_waits_for_the_disk, test_daemon_killed,
            test_server_killed_with_the_daemon, test_vm_killed_meanwhile,
        ])
    finally:
        World.close()
