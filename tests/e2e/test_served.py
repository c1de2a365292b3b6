#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Large disks are served: the VMs run at once and have the rest copied behind them, whatever dies meanwhile."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import LONG, Host, check, kill_and_wait, main, process_cmdlines, wait_for
from test_files import chain_lengths, lose

MIB = 120


def servers(host):
    """Processes that serve layers."""
    return [pid for pid, cmdline in process_cmdlines(host.dir).items() if "stasis-nbdkit-plugin" in cmdline]


def sums(host):
    return host.exec("vm0", "sha256sum", "/root/big", "/root/small")


def make_files(host):
    host.exec("vm0", "sh", "-c", "dd if=/dev/urandom of=/root/big bs=1M count=%d conv=fsync 2>&1; echo 1 >/root/small" % MIB, timeout=600)


def drop_caches(host):
    """What is read next comes from the disk."""
    host.exec("vm0", "sh", "-c", "sync; echo 3 >/proc/sys/vm/drop_caches")


def await_filled(host):
    wait_for("the disk to be whole and its server to end", lambda: not servers(host) and chain_lengths(host, "large") == [2], 300, 0.2)
    check("has all of its disk" in host.log(), "the disk was not served")


def begin(host):
    host.up("large", 1)
    make_files(host)
    before = sums(host)
    taken = host.json("checkpoint", "large")["manifest"]["id"]
    lose(host, "large")
    return before, taken


def test_restarts():
    with Host() as host:
        before, taken = begin(host)
        for turn in range(2):
            host.run("restart", taken if turn == 0 else "large")
            host.exec("vm0", "sh", "-c", "echo %d >>/root/small" % turn)
            drop_caches(host)
            now = sums(host)
            check(now.split()[0] == before.split()[0], "the large file has changed")
            # A checkpoint waits until the disk is whole.
            host.run("checkpoint", "large")
            await_filled(host)
            drop_caches(host)
            check(sums(host) == now, "files have changed when the disk had been filled")
            lose(host, "large")
            host.run("restart", "large")
            drop_caches(host)
            check(sums(host) == now, "files have changed with the second restart")
            lose(host, "large")


def test_server_dies():
    with Host() as host:
        before, _ = begin(host)
        host.run("restart", "large")
        for pid in servers(host):
            kill_and_wait(pid)
        drop_caches(host)
        check(sums(host) == before, "files have changed")
        await_filled(host)
        check(sums(host) == before, "files have changed when the disk had been filled")


def test_daemon_dies():
    with Host() as host:
        before, _ = begin(host)
        host.run("restart", "large")
        for pid in servers(host):
            os.kill(pid, signal.SIGSTOP)  # so that the fill lasts
        held = servers(host)
        host.kill_daemon()
        for pid in held:
            os.kill(pid, signal.SIGCONT)
        host.start_daemon()
        drop_caches(host)
        check(sums(host) == before, "files have changed")
        await_filled(host)
        host.run("checkpoint", "large")

        # The daemon and the server.
        lose(host, "large")
        host.run("restart", "large")
        host.kill_daemon()
        for pid in servers(host):
            kill_and_wait(pid)
        host.start_daemon()
        drop_caches(host)
        check(sums(host) == before, "files have changed after the death of daemon and server")
        await_filled(host)


def test_vm_dies():
    with Host() as host:
        before, _ = begin(host)
        for _ in range(2):
            host.run("restart", "large")
            lose(host, "large")
        host.run("restart", "large")
        drop_caches(host)
        check(sums(host) == before, "files have changed")
        await_filled(host)


if __name__ == "__main__":
    main([test_restarts, test_daemon_dies] + ([test_server_dies, test_vm_dies] if LONG else []))
