#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the stasis command does when all is well, and when the daemon or the cluster goes away, against a fake daemon."""
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cli_test import CliTest  # noqa: E402
from stasis_rpc import Failure  # noqa: E402

t = CliTest()
CKPT = {"id": "demo-20260301-120000-abcd", "cluster": "demo", "tag": "x\x1b[31m", "created_ns": 1772366400 * 10**9,
        "bytes": 5 << 20, "logical_bytes": 3 << 30, "pause_ns": 25 * 10**6, "vms": 2, "damaged": False}


def write(path, data, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def test_simple():
    write(os.path.join(t.work, "demo.ini"), b"[cluster]\nvms = 2\n")
    t.expect("up", t.run("up", "-c", "demo.ini", "--memory", "1G", "-o", "mtu=1500"), 0, "cluster demo runs", "a fake")
    spec = t.daemon.requests[-1]["spec"]
    t.check("up's overrides", spec["memory_bytes"] == 1 << 30 and spec["mtu"] == 1500, spec)
    result = t.run("status", "--json")
    t.check("status --json", json.loads(result.stdout)["clusters"][0]["name"] == "demo", result)
    t.expect("status", t.run("status"), 0, "demo", "vm1", "10.77.0.2", "512 MiB")
    t.expect("checkpoint", t.run("checkpoint", "--tag", "a.b"), 0, CKPT["id"], "25 ms")
    t.check("the tag goes out", t.daemon.requests[-1]["tag"] == "a.b", t.daemon.requests[-1])
    t.expect("an empty list", t.run("list"), 0, "no checkpoints")
    t.daemon.checkpoints = [CKPT, {**CKPT, "id": "demo-bad", "damaged": True}]
    result = t.run("list")
    t.expect("list", result, 0, CKPT["id"], "damaged", "ADDED", "3 GiB", "5 MiB")
    t.check("no escape sequence reaches the terminal", b"\x1b" not in result.stdout, result.stdout)
    t.expect("show", t.run("show", CKPT["id"]), 0, "tcg", "vm0", "1 GiB, 96 MiB without",
             "deduplication 3.2x, compression 3.0x", "25 ms: pause 2 ms, ram 3 ms, resume 4 ms\n", "memory was short")
    t.expect("verify", t.run("verify", CKPT["id"]), 0, "good")
    t.check("verify does not start anything", not t.daemon.requests[-1]["restore"], t.daemon.requests[-1])
    t.expect("verify --restore", t.run("verify", CKPT["id"], "--restore"), 0, "good", "2 VMs started", "3.2 s")
    t.expect("verify --restore, damaged", t.run("verify", "demo-bad", "--restore"), 1, "DAMAGED")
    result = t.run("verify", "--all", "--json")
    t.expect("verify --all", result, 1)
    t.check("verify's document", json.loads(result.stdout)["bad"] == 1, result.stdout)
    t.expect("rm", t.run("rm", CKPT["id"]), 0, "removed")
    t.expect("restart by id", t.run("restart", CKPT["id"]), 0, "runs again", "verify")
    t.check("id as checkpoint", t.daemon.requests[-1].get("checkpoint") == CKPT["id"], t.daemon.requests[-1])
    t.expect("restart by cluster", t.run("restart", "demo", "--force"), 0)
    t.check("name as cluster", t.daemon.requests[-1].get("cluster") == "demo" and t.daemon.requests[-1]["force"], "")
    t.expect("console --json", t.run("console", "vm1", "--json"), 0, "vm1.console")
    t.expect("version", t.run("version", "--json"), 0, "protocol")
    t.expect("down", t.run("down"), 0, "demo")
    t.expect("status without clusters", t.run("status"), 0, "no cluster")
    t.expect("exec without clusters", t.run("exec", "vm0", "--", "true"), 125, "no cluster runs")
    t.daemon.up = True


def test_store():
    t.daemon.checkpoints = [{**CKPT, "id": f"demo-{i}"} for i in range(5)]
    t.expect("prune --dry-run", t.run("prune", "--keep", "3", "--dry-run"), 0, "demo-0 would be removed\n",
             "demo-1 would be removed\n")
    t.check("nothing is gone", len(t.daemon.checkpoints) == 5, t.daemon.checkpoints)
    result = t.run("prune", "demo", "--keep", "3", "--keep-within", "2h", "--keep-tag", "a", "--keep-tag", "b.c")
    t.expect("prune", result, 0, "demo-0 is removed\n", "demo-1 is removed\n", "3 MiB freed", "under way may need: 1;")
    asked = {k: v for k, v in t.daemon.requests[-1].items() if k != "id"}
    t.check("prune's rules", asked == {"op": "store.prune", "cluster": "demo", "keep": 3, "keep_within_ms": 7200000,
                                       "keep_tags": ["a", "b.c"], "dry_run": False}, asked)
    t.expect("prune with nothing to remove", t.run("prune", "--keep", "3"), 0, "every checkpoint is kept")
    result = t.run("prune", "--keep", "2", "--json")
    t.check("prune --json", json.loads(result.stdout)["removed"] == ["demo-2"] and not result.stderr, result)
    t.expect("gc", t.run("gc"), 0, "3 MiB freed (packs deleted: 3, rewritten: 2), 5 GiB in use")
    t.check("gc --json", json.loads(t.run("gc", "--json").stdout)["freed_bytes"] == 3 << 20, "")
    t.expect("stats", t.run("stats"), 0, "s3://bucket/demo", "1 damaged", "96 GiB", "deduplication 2.5x", "compression 2.0x",
             "in all 48.0x", "encrypted", "yes")
    t.check("stats --json", json.loads(t.run("stats", "--json").stdout)["pack_bytes"] == 2 << 30, "")


def left_over():
    return [name for name in os.listdir(t.work) if ".part-" in name]


def test_export():
    t.daemon.checkpoints = [CKPT]
    path = os.path.join(t.work, "out.stasis")
    t.expect("export", t.run("export", CKPT["id"], "out.stasis"), 0, "is exported to out.stasis", "1.1 MiB")
    t.check("the file", read(path) == t.daemon.exported and os.stat(path).st_mode & 0o777 == 0o600, os.stat(path))
    result = t.run("export", CKPT["id"], "--json", "out.stasis")
    t.check("export --json", json.loads(result.stdout)["bytes"] == len(t.daemon.exported), result)
    result = t.run("export", CKPT["id"])
    t.check("export to a pipe", result.stdout == t.daemon.exported and b"is exported" in result.stderr, result.stderr)
    t.check("export to -", t.run("export", CKPT["id"], "-", "-q").stdout == t.daemon.exported, "")
    os.symlink("out.stasis", os.path.join(t.work, "link.stasis"))
    t.expect("export over a link", t.run("export", CKPT["id"], "link.stasis"), 0)
    t.check("the link stays", os.path.islink(os.path.join(t.work, "link.stasis")), "")
    write(path, b"old")
    t.expect("no such checkpoint", t.run("export", "demo-none", "out.stasis"), 1, "demo-none")
    t.expect("no room", t.run("export", CKPT["id"], "/dev/full"), 1, "/dev/full", "No space")
    t.expect("no such directory", t.run("export", CKPT["id"], "nowhere/x"), 1, "nowhere/x")
    t.expect("a directory", t.run("export", CKPT["id"], "."), 1, "is a directory")
    master, slave = os.openpty()
    with subprocess.Popen([t.stasis, "export", CKPT["id"]], env=t.env, stdout=slave, stderr=subprocess.PIPE) as child:
        _, err = child.communicate(timeout=10)
    t.check("a terminal is refused", child.returncode == 2 and b"terminal" in err, (child.returncode, err))
    t.daemon.exported = b"short"
    with subprocess.Popen([t.stasis, "export", CKPT["id"], "--force", "-q"], env=t.env, stdout=slave) as child:
        t.check("unless by --force", os.read(master, 100) == b"short" and child.wait(10) == 0, "")
    os.close(master)
    os.close(slave)
    t.check("what was there stays", read(path) == b"old" and not left_over(), os.listdir(t.work))


def test_export_cut():
    """Ctrl-C, and a daemon that ends, leave nothing; the daemon learns of the first."""
    path = os.path.join(t.work, "out.stasis")
    broken = threading.Event()

    def endless(request):
        with open(request["path"], "wb") as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except BrokenPipeError:
                broken.set()
        return {}

    t.daemon.replies["ckpt.export"] = endless
    child = t.start("export", CKPT["id"], "out.stasis")
    t.await_that(lambda: left_over() and os.path.getsize(os.path.join(t.work, left_over()[0])) > 0)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    t.check("Ctrl-C in an export", child.returncode == -signal.SIGINT and not left_over() and read(path) == b"old",
            (child.returncode, os.listdir(t.work)))
    t.check("the daemon is told", broken.wait(10), "")
    t.daemon.replies["ckpt.export"] = lambda request: t.daemon.hang_up() or {}
    t.expect("the daemon dies in an export", t.run("export", CKPT["id"], "out.stasis"), 3, "in the middle of")
    t.check("nothing of it stays", not left_over() and read(path) == b"old", os.listdir(t.work))
    t.daemon.listen()
    del t.daemon.replies["ckpt.export"]


def test_import():
    t.daemon.exported = os.urandom(5 << 20)
    write(os.path.join(t.work, "in.stasis"), t.daemon.exported)
    t.expect("import", t.run("import", "in.stasis"), 0, CKPT["id"], "5 MiB read")
    t.check("what came", t.daemon.imported == t.daemon.exported, "")
    t.daemon.imported = None
    result = t.run("import", "--json", stdin=t.daemon.exported)
    t.check("import from a pipe", json.loads(result.stdout) == {"checkpoint": CKPT["id"], "bytes": 5 << 20} and
            t.daemon.imported == t.daemon.exported, result)
    t.expect("import of a cut file", t.run("import", "-", stdin=t.daemon.exported[:-1]), 1, "the standard input",
             "cut short")
    t.expect("import of nothing", t.run("import", stdin=b""), 1, "cut short")
    t.expect("no such file", t.run("import", "nowhere"), 1, "nowhere")
    t.expect("a directory", t.run("import", "."), 1, "is a directory")

    def refuse(request):
        raise Failure(errno.EEXIST, f"the store has {CKPT['id']} already")

    t.daemon.replies["ckpt.import"] = refuse
    t.expect("an import that is refused at once", t.run("import", "in.stasis"), 1, "already")
    del t.daemon.replies["ckpt.import"]
    with subprocess.Popen([t.stasis, "import"], env=t.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as child:
        since = len(t.daemon.requests)
        child.stdin.write(t.daemon.exported[:100000])
        child.stdin.flush()
        t.daemon.await_request(since, lambda request: request["op"] == "ckpt.import")
        t.daemon.imported = None
        child.send_signal(signal.SIGINT)
        child.wait(10)
    t.check("Ctrl-C in an import", child.returncode == -signal.SIGINT and t.daemon.imported is None, child.returncode)
    master, slave = os.openpty()
    result = subprocess.run([t.stasis, "import"], env=t.env, stdin=slave, capture_output=True, timeout=10, check=False)
    t.expect("import from a terminal", result, 2, "terminal")
    os.close(master)
    os.close(slave)


def asks_agent(op, **values):
    """A test for a request to an agent: that operation with these values."""
    def test(request):
        inner = request.get("request", {}) if request["op"] == "agent" else {}
        return inner.get("op") == op and all(inner[name] == value for name, value in values.items())

    return test


def test_exec():
    result = t.run("exec", "vm0", "-C", "/root", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    t.expect("options after the VM belong to the command", result, 125, "-C")
    result = t.run("exec", "-C", "/root", "vm0", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    t.expect("exec passes the code", result, 7)
    t.check("streams stay apart", result.stdout == b"out\n" and result.stderr == b"err\n", result)
    t.check("the job is removed", not t.daemon.jobs, t.daemon.jobs)
    t.expect("exec of a killed command", t.run("exec", "vm0", "sh", "-c", "kill -9 $$"), 137)
    data = os.urandom(300000)
    result = t.run("exec", "-i", "demo:vm1", "--", "cat", stdin=data)
    t.check("input through cat", result.stdout == data, (result.returncode, len(result.stdout), result.stderr))
    t.expect("a command that reads no input", t.run("exec", "all", "--", "sh", "-c", "exec <&-; sleep 0.3; exit 4",
                                                    stdin=data), 4)
    result = t.run("exec", "all", "--", "printf", "a\nb")
    t.check("prefixes", sorted(result.stdout.splitlines()) == [b"vm0: a", b"vm0: b", b"vm1: a", b"vm1: b"], result)
    result = t.run("exec", "--json", "vm0", "--", "sh", "-c", "echo hi; exit 3")
    t.check("exec --json", json.loads(result.stdout)["vms"][0]["code"] == 3 and result.stderr == b"hi\n", result)
    child = t.start("exec", "vm0", "--", "sh", "-c", "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    child.stdout.read(6)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=10)
    t.check("Ctrl-C goes to the job", child.returncode == 5 and out == b"got\n", (child.returncode, out))
    child = t.start("exec", "vm0", "--", "sh", "-c", "trap '' INT; echo ready; while :; do sleep 0.05; done")
    child.stdout.read(6)
    since = len(t.daemon.requests)
    child.send_signal(signal.SIGINT)
    t.daemon.await_request(since, asks_agent("job.signal", signal=signal.SIGINT))
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    t.check("a second Ctrl-C kills", child.returncode == 137, child.returncode)


def test_cp():
    big = os.urandom(200001)
    write(os.path.join(t.work, "d", "sub", "big"), big, 0o755)
    write(os.path.join(t.work, "d", "empty"), b"")
    os.symlink("sub/big", os.path.join(t.work, "d", "link"))
    os.mkfifo(os.path.join(t.work, "d", "fifo"))
    t.expect("cp in", t.run("cp", "d", "all:/root/"), 0, "3 files", "fifo")
    for vm in ("vm0", "vm1"):
        t.check(f"cp to {vm}", read(t.vm(vm, "root", "d", "sub", "big")) == big and
                os.readlink(t.vm(vm, "root", "d", "link")) == "sub/big" and
                os.stat(t.vm(vm, "root", "d", "sub", "big")).st_mode & 0o777 == 0o755, "")
    os.symlink("/etc/passwd", t.vm("vm0", "root", "d", "evil"))
    os.symlink("../../x", t.vm("vm0", "root", "d", "evil2"))
    for name in ("a", "b", "c", "e", "f"):
        write(t.vm("vm0", "root", "d", "many", name), name.encode())
    t.expect("cp out", t.run("cp", "vm0:/root/d", "copy"), 0, "evil is a link that leads out")
    t.check("what was copied out", read(os.path.join(t.work, "copy", "sub", "big")) == big and
            sorted(os.listdir(os.path.join(t.work, "copy", "many"))) == ["a", "b", "c", "e", "f"] and
            not os.path.lexists(os.path.join(t.work, "copy", "evil")), os.listdir(os.path.join(t.work, "copy")))
    t.expect("cp into a directory", t.run("cp", "vm0:/root/d/empty", "vm0:/root/d/sub/big", "copy/"), 0)
    t.check("its names", read(os.path.join(t.work, "copy", "big")) == big, "")
    t.check("no temporary file stays", not [n for n in os.listdir(os.path.join(t.work, "copy")) if n[0] == "."], "")
    outside = os.path.join(t.dir, "outside")
    os.mkdir(outside)
    os.mkdir(os.path.join(t.work, "trap"))
    os.symlink(outside, os.path.join(t.work, "trap", "d"))
    t.expect("no link is followed", t.run("cp", "vm0:/root/d", "trap/"), 1, "symbolic link")
    t.check("nothing was written through it", os.listdir(outside) == [], os.listdir(outside))
    for name in ("../evil", "a/b", "..", ".", ""):
        t.daemon.agent_fs_list = lambda vm, inner, blob, n=name: {
            "entries": [{"name": n, "kind": "file", "size": 1, "mode": 0o644, "mtime_ns": 0}], "more": False}
        t.expect(f"guest's name '{name}'", t.run("cp", "vm0:/root/d", "evilcopy"), 1, "refused")
    del t.daemon.agent_fs_list
    t.expect("missing in the guest", t.run("cp", "vm0:/nowhere", "x"), 1, "/nowhere")
    t.expect("missing on the host", t.run("cp", "nowhere", "vm0:/root/"), 1, "nowhere")


def test_run():
    os.mkdir(os.path.join(t.work, "job"))
    write(os.path.join(t.work, "job", "in"), b"input")
    script = "cat in; echo new > result; mkdir sub; echo x > sub/y; exit 3"
    result = t.run("run", "-c", "demo.ini", "-n", "8", "-x", "A=b", "--checkpoint-every", "30s", "-d", "job", "--",
                   "sh", "-c", script)
    t.expect("run passes the code", result, 3, "input", "stays up", "stasis down demo")
    start = next(r for r in t.daemon.requests if r["op"] == "run.start")
    argv = " ".join(start["argv"])
    t.check("mpirun's line", "-n 8" in argv and "--oversubscribe" in argv and "-x A=b" in argv and
            "-wdir /home/stasis/demo sh" in argv, argv)
    t.check("the interval", start["checkpoint_every_ms"] == 30000, start)
    t.check("results", read(os.path.join(t.work, "job", "result")) == b"new\n" and
            read(os.path.join(t.work, "job", "sub", "y")) == b"x\n", os.listdir(os.path.join(t.work, "job")))
    t.check("the run is forgotten", t.daemon.run is None and not t.daemon.jobs, t.daemon.run)

    write(os.path.join(t.work, "job", "in"), b"changed on the host")
    only = "echo other > ../../../../vm1/home/stasis/demo/only1; echo z > result"
    t.expect("files of other VMs", t.run("run", "-c", "demo.ini", "-d", "job", "--down", "sh", "-c", only), 0,
             "has ended")
    t.check("fetched from vm1", read(os.path.join(t.work, "job", "only1")) == b"other\n", "")
    t.check("--down", not t.daemon.up, "")
    t.daemon.up = True

    child = t.start("run", "-c", "demo.ini", "-d", "job", "--", "sh", "-c",
                    "echo one; while [ ! -e stop ]; do sleep 0.05; done; echo two; echo r > late")
    child.stdout.read(4)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    t.check("Ctrl-C detaches", child.returncode == 130 and b"stasis attach demo" in err, (child.returncode, err))
    t.expect("a second run is refused", t.run("run", "-c", "demo.ini", "-d", "job", "--", "true"), 125,
             "stasis attach demo")
    child = t.start("attach")
    t.check("attach shows it all", child.stdout.read(4) == b"one\n", "")
    t.daemon.hang_up()
    time.sleep(0.1)
    t.daemon.listen()
    write(t.vm("vm0", "home", "stasis", "demo", "stop"), b"")
    out, err = child.communicate(timeout=15)
    t.check("attach survives a new daemon", child.returncode == 0 and out == b"two\n", (child.returncode, out, err))
    child = t.start("run", "-c", "demo.ini", "-d", "job", "--", "sh", "-c",
                    "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two")
    child.stdout.read(4)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    t.check("SIGTERM detaches", child.returncode == 143, child.returncode)
    since = len(t.daemon.requests)
    child = t.start("attach", "--new")
    t.daemon.await_request(since, asks_agent("job.poll", out=4))
    write(t.vm("vm0", "home", "stasis", "demo", "go"), b"")
    out, err = child.communicate(timeout=15)
    t.check("attach --new", child.returncode == 0 and out == b"two\n", (child.returncode, out, err))
    t.check("attach fetches", read(os.path.join(t.work, "job", "late")) == b"r\n", "")


def long_run():
    for name in ("stop", "late"):
        if os.path.exists(os.path.join(t.work, "job", name)):
            os.unlink(os.path.join(t.work, "job", name))
    child = t.start("run", "-c", "demo.ini", "-d", "job", "--", "sh", "-c",
                    "echo 1234567890; while [ ! -e stop ]; do sleep 0.05; done; exit 9")
    child.stdout.read(11)
    return child


def test_rollback_and_loss():
    child = long_run()
    job = next(iter(t.daemon.jobs.values()))
    since = len(t.daemon.requests)
    with job.changed:
        del job.streams[0][4:]
    t.daemon.await_request(since, asks_agent("job.poll", out=4))
    with job.changed:
        job.streams[0] += b"xyz\n"
        job.changed.notify_all()
    write(t.vm("vm0", "home", "stasis", "demo", "stop"), b"")
    out, err = child.communicate(timeout=10)
    t.check("a rollback is said and followed", child.returncode == 9 and out == b"xyz\n" and
            b"taken back to a checkpoint" in err, (child.returncode, out, err))

    child = long_run()
    t.daemon.dead, t.daemon.state, t.daemon.message = {"vm1"}, "degraded", "vm1 was killed by signal 9"
    _, err = child.communicate(timeout=15)
    t.check("a lost VM ends the run with 4", child.returncode == 4 and b"vm1 was killed" in err and
            b"stasis restart " + CKPT["id"].encode() in err and b"stasis attach demo" in err, (child.returncode, err))
    t.daemon.dead, t.daemon.state = set(), "restarting"
    since = len(t.daemon.requests)
    child = t.start("attach", "--json")
    # Its second question: the first was answered with "restarting".
    for _ in range(2):
        t.daemon.await_request(since, lambda request: request["op"] == "cluster.status")
        since = len(t.daemon.requests)
    t.daemon.state = "running"
    write(t.vm("vm0", "home", "stasis", "demo", "stop"), b"")
    out, err = child.communicate(timeout=15)
    t.check("attach --json after the restart", child.returncode == 9 and json.loads(out)["code"] == 9, (out, err))

    child = long_run()
    t.daemon.jobs.clear()
    _, err = child.communicate(timeout=15)
    t.check("a job from before the checkpoint", child.returncode == 4 and b"before the job began" in err, err)
    t.daemon.run = None
    child = t.start("exec", "vm0", "--", "sh", "-c", "echo go; sleep 60")
    child.stdout.read(3)
    t.daemon.up = False
    _, err = child.communicate(timeout=15)
    t.check("exec in a cluster that ends", child.returncode == 4 and b"was ended" in err, (child.returncode, err))
    t.daemon.up = True


def test_daemon_dies():
    t.daemon.replies["checkpoint"] = lambda request: (t.daemon.hang_up(), time.sleep(5))
    t.expect("the daemon dies in a request", t.run("checkpoint"), 3, "in the middle of 'checkpoint'")
    t.expect("no daemon, none to start", t.run("list"), 3, "no daemon answers", "stasisd")
    program = os.path.join(t.dir, "libexec", "stasisd")
    write(program, b"#!/bin/sh\necho nothing >&2; echo the disk is full >&2; exit 1\n", 0o755)
    result = t.run("list", "--json")
    t.expect("a daemon that cannot start", result, 3, "the disk is full")
    t.check("as JSON", json.loads(result.stdout)["error"]["errno"] > 0, result.stdout)


test_simple()
test_store()
test_export()
test_export_cut()
test_import()
test_exec()
test_cp()
test_run()
test_rollback_and_loss()
test_daemon_dies()
t.finish()
