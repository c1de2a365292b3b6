#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""exec, cp and console with real guests: codes, signals, streams, big output, trees both ways, names that are refused."""

import hashlib
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Host, check, main, wait_for

USAGE = 2
OWN = 125
BIG_MIB = 20


def stasis(host, *args, data=None, timeout=300):
    """Run the command with bytes in and out."""
    argv = [arg if isinstance(arg, bytes) else str(arg) for arg in args]
    more = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    return subprocess.run(host.argv([]) + argv, env=host.env, capture_output=True, timeout=timeout, **more)


def expect(result, code, out=None, err=None, what=""):
    check(result.returncode == code, "%s: exit %d, not %d: %s" % (what, result.returncode, code, result.stderr[-500:]))
    check(out is None or result.stdout == out, "%s: stdout is %s" % (what, result.stdout[-500:]))
    check(err is None or result.stderr == err, "%s: stderr is %s" % (what, result.stderr[-500:]))


def exec_codes_and_streams(host):
    def sh(script, data=None):
        return stasis(host, "exec", "vm0", "--", "sh", "-c", script, data=data)

    for code in (0, 1, 42, 255):
        expect(sh("exit %d" % code), code, b"", b"", "exit %d" % code)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        expect(sh("kill -%d $$" % number), 128 + number, b"", None, "signal %d" % number)
    result = stasis(host, "exec", "vm0", "--", "/no/such/program")
    check(result.returncode in (126, 127) and b"/no/such/program" in result.stderr, "no program: %s" % result)
    expect(sh("echo to-out; echo to-err >&2; printf no-newline"), 0, b"to-out\nno-newline", b"to-err\n", "streams")
    expect(sh("cat; echo end >&2", b""), 0, b"", b"end\n", "empty input")
    expect(sh("cat >&2", b"one\ntwo"), 0, b"", b"one\ntwo", "input to errors")
    data = os.urandom(3 << 20)
    expect(sh("sha256sum", data), 0, hashlib.sha256(data).hexdigest().encode() + b"  -\n", b"", "3 MiB of input")
    expect(sh("read line; echo $line", b"first\n" + data), 0, b"first\n", None, "input that nobody reads to its end")
    result = stasis(host, "exec", "--cwd", "/usr", "vm1", "--", "pwd")
    expect(result, 0, b"/usr\n", b"", "--cwd")
    result = stasis(host, "exec", "vm0", "--", "printf", "%s|", "a b", "$HOME", "", "*", "-x", "\u00e4\u00f6")
    expect(result, 0, "a b|$HOME||*|-x|\u00e4\u00f6|".encode(), b"", "arguments")
    result = stasis(host, "exec", "all", "--", "sh", "-c", "hostname; hostname >&2; [ $(hostname) = vm0 ]")
    check(result.returncode == 1, "exec all: exit %d" % result.returncode)
    check(sorted(result.stdout.splitlines()) == [b"vm0: vm0", b"vm1: vm1"], "exec all: %s" % result.stdout)
    check(sorted(result.stderr.splitlines()) == [b"vm0: vm0", b"vm1: vm1"], "exec all: %s" % result.stderr)
    result = stasis(host, "exec", "--json", "all", "--", "sh", "-c", "[ $(hostname) = vm0 ] || exit 9")
    document = json.loads(result.stdout)
    check(result.returncode == 9 and {vm["vm"]: vm["code"] for vm in document["vms"]} == {"vm0": 0, "vm1": 9},
          "exec --json: %s" % document)


def exec_big_output(host):
    script = "head -c %d /dev/urandom > /root/big; sha256sum < /root/big >&2; cat /root/big" % (BIG_MIB << 20)
    result = stasis(host, "exec", "vm0", "--", "sh", "-c", script, timeout=900)
    check(result.returncode == 0 and len(result.stdout) == BIG_MIB << 20, "exit %d, %d bytes, %s"
          % (result.returncode, len(result.stdout), result.stderr[-300:]))
    check(result.stderr.split()[0].decode() == hashlib.sha256(result.stdout).hexdigest(), "big output is damaged")
    fetched = os.path.join(host.dir, "big")
    expect(stasis(host, "cp", "vm0:/root/big", fetched, timeout=900), 0, what="cp of the big file")
    with open(fetched, "rb") as file:
        check(file.read() == result.stdout, "the big file is damaged")
    expect(stasis(host, "cp", fetched, "vm1:/root/back", timeout=900), 0, what="cp of the big file back")
    expect(stasis(host, "exec", "vm1", "--", "sh", "-c", "sha256sum < /root/back"), 0, result.stderr, b"", "the file in vm1")


def exec_interrupts(host):
    def begin(script):
        out = os.path.join(host.dir, "interrupted")
        with open(out, "wb") as file:
            process = host.start("exec", "vm0", "--", "sh", "-c", script, stdout=file, stderr=subprocess.DEVNULL)

        def printed(text):
            wait_for("the command to print %s" % text, lambda: text in open(out).read(), 60)

        printed("ready")
        return process, printed

    process, printed = begin("trap 'echo got it; exit 5' INT; echo ready; while :; do sleep 0.1; done")
    process.send_signal(signal.SIGINT)
    check(process.wait(60) == 5, "interrupted: exit %d" % process.returncode)
    printed("got it")
    process, printed = begin("trap 'echo not yet' INT; echo ready; while :; do sleep 0.1; done")
    process.send_signal(signal.SIGINT)
    printed("not yet")
    process.send_signal(signal.SIGINT)
    check(process.wait(60) == 128 + signal.SIGKILL, "interrupted twice: exit %d" % process.returncode)
    process, printed = begin("echo ready; exec sleep 1000")
    process.send_signal(signal.SIGTERM)
    check(process.wait(60) == 128 + signal.SIGTERM, "ended: exit %d" % process.returncode)
    left = stasis(host, "exec", "vm0", "--", "sh", "-c", "grep -l '^sleep.1000' /proc/[0-9]*/cmdline").stdout
    check(left == b"", "the command is left running: %s" % left)


def test_exec():
    with Host() as host:
        host.up("exec", 2)
        exec_codes_and_streams(host)
        exec_big_output(host)
        exec_interrupts(host)


def make_tree(top):
    """A tree with what trees have: modes, links, empty things, names that shells dislike."""
    os.makedirs(os.path.join(top, "sub", "empty"))
    os.makedirs(os.path.join(top, "private"))
    files = {
        "plain": (b"plain\n", 0o644),
        "script": (b"#!/bin/sh\necho ran\n", 0o755),
        "empty-file": (b"", 0o600),
        "read-only": (b"fixed\n", 0o444),
        "sub/block": (os.urandom(200000), 0o640),
        "sub/exact": (os.urandom(65536), 0o644),
        "sub/-n": (b"dash\n", 0o644),
        "sub/two words": (b"space\n", 0o644),
        "sub/line\nbreak": (b"line\n", 0o644),
        "sub/\u00e4\u4e2d": (b"letters\n", 0o644),
        "sub/" + "n" * 255: (b"long\n", 0o644),
        "private/key": (b"secret\n", 0o600),
    }
    for name, (content, mode) in files.items():
        with open(os.path.join(top, name), "wb") as file:
            file.write(content)
        os.chmod(os.path.join(top, name), mode)
    os.symlink("plain", os.path.join(top, "link"))
    os.symlink("sub/block", os.path.join(top, "deep-link"))
    os.symlink("nowhere", os.path.join(top, "dangling"))
    os.chmod(os.path.join(top, "private"), 0o700)
    os.chmod(os.path.join(top, "sub"), 0o755)
    os.chmod(os.path.join(top, "sub", "empty"), 0o755)


def tree_of(top):
    """path -> kind, mode and content of all below a directory."""
    found = {}
    for directory, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                what = ("link", os.readlink(path))
            elif stat.S_ISDIR(st.st_mode):
                what = ("dir", oct(st.st_mode & 0o777))
            else:
                with open(path, "rb") as file:
                    what = ("file", oct(st.st_mode & 0o777), hashlib.sha256(file.read()).hexdigest())
            found[os.path.relpath(path, top)] = what
    return found


def check_same_trees(want, have, what):
    for path in sorted(set(want) | set(have)):
        check(want.get(path) == have.get(path), "%s: %r is %s, not %s" % (what, path, have.get(path), want.get(path)))


def cp_trees(host):
    source = os.path.join(host.dir, "tree")
    make_tree(source)
    want = tree_of(source)
    expect(stasis(host, "cp", source, "all:/root/tree"), 0, what="cp into all")
    # What the guest itself sees: modes and contents of all files, by find and sha256sum.
    listing = "cd /root/tree && find . -mindepth 1 -printf '%y %m %l %P\\0' | sort -z | sha256sum"
    here = subprocess.run(["sh", "-c", listing.replace("/root/tree", source)], capture_output=True, check=True).stdout
    for vm in ("vm0", "vm1"):
        expect(stasis(host, "exec", vm, "--", "sh", "-c", listing), 0, here, b"", "the tree in %s" % vm)
    expect(stasis(host, "exec", "vm1", "--", "/root/tree/script"), 0, b"ran\n", b"", "a copied program")
    # Out again: under a new name, and into a directory that exists.
    back = os.path.join(host.dir, "back")
    expect(stasis(host, "cp", "vm1:/root/tree", back), 0, what="cp out")
    check_same_trees(want, tree_of(back), "the tree that came back")
    os.mkdir(os.path.join(host.dir, "into"))
    expect(stasis(host, "cp", "vm0:/root/tree", "vm0:/root/tree/plain", os.path.join(host.dir, "into") + "/"), 0, what="cp into")
    check_same_trees(want, tree_of(os.path.join(host.dir, "into", "tree")), "the tree in a directory")
    with open(os.path.join(host.dir, "into", "plain"), "rb") as file:
        check(file.read() == b"plain\n", "a single file among several sources")
    # Again over itself: nothing doubles.
    expect(stasis(host, "cp", source + "/plain", "vm0:/root/tree/"), 0, what="cp over a file")
    expect(stasis(host, "exec", "vm0", "--", "cat", "/root/tree/plain"), 0, b"plain\n", b"", "the overwritten file")
    expect(stasis(host, "cp", "vm0:/root/tree/plain", os.path.join(back, "script")), 0, what="cp out over a file")
    with open(os.path.join(back, "script"), "rb") as file:
        check(file.read() == b"plain\n", "a file that was copied over another")
    left = [name for name in os.listdir(back) if "tmp" in name]
    check(not left, "temporary files are left: %s" % left)


def cp_hostile(host):
    outside = os.path.join(host.dir, "outside")
    os.mkdir(outside)
    # Links that lead out of the tree, and things that are no files, are left behind; the rest comes.
    script = (
        "mkdir -p /root/evil/sub; cd /root/evil; echo good > good; ln -s /etc/passwd absolute; ln -s ../../../etc up;"
        "ln -s sub/../../x hidden; ln -s good fine; mkfifo fifo"
    )
    expect(stasis(host, "exec", "vm0", "--", "sh", "-c", script), 0, what="hostile tree")
    target = os.path.join(host.dir, "evil")
    result = stasis(host, "cp", "--json", "vm0:/root/evil", target, timeout=60)
    expect(result, 0, what="cp of a hostile tree")
    check(json.loads(result.stdout)["skipped"] == 4, "skipped: %s" % result.stdout)
    check(sorted(os.listdir(target)) == ["fine", "good", "sub"], "came: %s" % os.listdir(target))
    # A link on this side of the way is not followed.
    os.rmdir(os.path.join(target, "sub"))
    os.symlink(outside, os.path.join(target, "sub"))
    expect(stasis(host, "exec", "vm0", "--", "sh", "-c", "echo bad > /root/evil/sub/file"), 0, what="a file in sub")
    os.mkdir(os.path.join(host.dir, "around"))
    os.rename(target, os.path.join(host.dir, "around", "evil"))
    result = stasis(host, "cp", "vm0:/root/evil", os.path.join(host.dir, "around"))
    check(result.returncode == 1 and b"symbolic link" in result.stderr, "a link in the way: %s" % result)
    check(os.listdir(outside) == [], "it was written through a link: %s" % os.listdir(outside))
    # A name that is not UTF-8 has no place in the protocol; it is said, in both directions.
    bad = os.fsencode(host.dir) + b"/bad"
    os.mkdir(bad)
    with open(bad + b"/caf\xe9", "wb"):
        pass
    result = stasis(host, "cp", bad, "vm0:/root/bad")
    check(result.returncode != 0 and b"UTF-8" in result.stderr, "a name that is not UTF-8: %s" % result)
    stasis(host, "exec", "vm0", "--", "sh", "-c", "mkdir /root/latin; touch \"/root/latin/$(printf 'caf\\351')\"")
    result = stasis(host, "cp", "vm0:/root/latin", os.path.join(host.dir, "latin"))
    check(result.returncode != 0 and b"Traceback" not in result.stderr and len(result.stderr) > 20,
          "a guest's name that is not UTF-8: %s" % result)
    for source, destination, words in (
        ("/etc/hostname", "vm0:relative", b"must be absolute"),
        ("/etc/hostname", "vm0:", b"must be absolute"),
        ("/etc/hostname", "/tmp/x", b"both on this host"),
        ("vm0:/etc/hostname", "vm1:/tmp/x", b"both in VMs"),
        ("all:/etc/hostname", "/tmp/x", b"one VM at a time"),
        ("/etc/hostname", "vm 0:/x", b"no VM name"),
        ("/etc/hostname", "../vm0:/x", b"both on this host"),
        (b"/etc/host\xff", "vm0:/x", b"UTF-8"),
        ("/" + "n" * 5000, "vm0:/x", b"long"),
    ):
        result = stasis(host, "cp", source, destination)
        check(result.returncode == USAGE and words in result.stderr, "%s %s: %s" % (source[:40], destination, result))
    for source, destination, words in (
        ("/no/such/file", "vm0:/x", b"/no/such/file"),
        ("vm0:/no/such/file", outside, b"/no/such/file"),
        ("/etc/hostname", "vm0:/no/such/directory/", b"not a directory"),
        ("/etc/hostname", "vm9:/x", b"vm9"),
        ("vm0:/etc/hostname", "/no/such/directory/x", b"/no/such/directory"),
    ):
        result = stasis(host, "cp", source, destination)
        check(result.returncode == 1 and words in result.stderr, "%s %s: %s" % (source, destination, result))
    check(os.listdir(outside) == [], "failed copies have left %s" % os.listdir(outside))


def test_cp():
    with Host() as host:
        host.up("copy", 2)
        cp_trees(host)
        cp_hostile(host)


def test_names_of_vms():
    with Host() as host:
        host.up("names", 2)
        host.up("more", 1)
        for name in ("", "vm 0", "../vm0", "vm0/", "names:", ":vm0", "names:vm0:vm1", "NAMES:vm0", "v" * 100, b"vm\xff", "vm0\n"):
            for command in (("exec", name, "--", "true"), ("console", name)):
                result = stasis(host, *command)
                want = OWN if command[0] == "exec" else USAGE
                check(result.returncode == want and result.stderr.startswith(b"stasis") and not result.stdout,
                      "%s %r: exit %d, %s" % (command[0], name, result.returncode, result.stderr))
        for name, words in (("vm0", b"2 clusters run"), ("names:vm2", b"vm2"), ("more:vm1", b"vm1"), ("other:vm0", b"other")):
            result = stasis(host, "exec", name, "--", "true")
            check(result.returncode == OWN and words in result.stderr, "exec %s: %s" % (name, result))
        expect(stasis(host, "exec", "names:vm1", "--", "hostname"), 0, b"vm1\n", b"", "exec names:vm1")
        expect(stasis(host, "exec", "more:vm0", "--", "hostname"), 0, b"vm0\n", b"", "exec more:vm0")


def test_console():
    with Host() as host:
        host.up("console", 1)
        master, slave = pty.openpty()
        process = subprocess.Popen(host.argv(["console", "vm0"]), env=host.env, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        shown = b""

        def read_until(text, seconds=60):
            nonlocal shown
            end = time.monotonic() + seconds
            while text not in shown:
                check(time.monotonic() < end, "the console never shows %s, only %s" % (text, shown))
                if select.select([master], [], [], 0.2)[0]:
                    shown += os.read(master, 4096)

        read_until(b"connected")
        host.exec("vm0", "sh", "-c", "echo a word from the guest > /dev/console")
        read_until(b"a word from the guest")
        os.write(master, b"\x1d")
        check(process.wait(30) == 0, "Ctrl-] ends it with %d" % process.returncode)
        os.close(master)
        # It can be opened anew, by a pipe too, and after a restart.
        host.run("checkpoint", "console")
        host.kill_vms("console")
        wait_for("the cluster to be seen dead", lambda: host.status("console")["state"] == "dead")
        host.run("restart", "console")
        process = subprocess.Popen(host.argv(["console", "vm0"]), env=host.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def words_come():
            host.exec("vm0", "sh", "-c", "echo once more > /dev/console")
            return select.select([process.stdout], [], [], 1)[0] and b"once more" in os.read(process.stdout.fileno(), 4096)

        wait_for("the console after a restart", words_come, 60)
        process.kill()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    os.umask(0o022)  # modes of copies depend on it
    main([test_exec, test_cp, test_names_of_vms, test_console])
