#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What people do with a store: encrypt it, take checkpoints to another host, prove them by starting them, let old ones go."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faulty import check_store_files
from guest_job import Job
from harness import Host, alive, check, main, process_cmdlines, wait_for

NAME = "life"
SECRET = "none of a store's bytes may show this "
MARK = "i=0; while [ $i -lt 20000 ]; do echo \"%s $i\"; i=$((i + 1)); done >/dev/shm/secret" % SECRET


def say(result, code, *words):
    """A command must fail with a sentence that holds these words."""
    check(result.returncode == code, "exit %d, not %d: %s" % (result.returncode, code, result))
    for word in words:
        check(word in result.stdout + result.stderr, "no \"%s\" in: %s%s" % (word, result.stdout, result.stderr))


class Cluster:
    """One VM with a counter in its memory."""

    def __init__(self, host, extra=""):
        self.host = host
        host.up(NAME, 1, "128M", extra)
        host.put_program(NAME + ":vm0", "memory_counter")
        self.job = Job(host, NAME, "vm0", "counter").start("/root/memory_counter", "2")
        self.number = self.job.wait_lines(2)[0].split()[0]

    def checkpoint(self):
        return self.host.json("checkpoint", NAME)["manifest"]["id"]

    def kill(self):
        self.host.kill_vms(NAME)
        wait_for("the cluster to be seen dead", lambda: self.host.status(NAME)["state"] == "dead")

    def check_goes_on(self, host=None):
        job = Job(host or self.host, NAME, "vm0", "counter")
        lines = job.lines()
        rows = [line.split() for line in job.wait_lines(len(lines) + 5)]
        check({row[0] for row in rows} == {self.number}, "another process than %s: %s" % (self.number, rows[-1]))
        check([int(row[1]) for row in rows] == list(range(len(rows))), "a gap or a repeat: %s" % rows[-3:])


def store_bytes(store):
    for top, _, names in os.walk(store):
        for name in names:
            with open(os.path.join(top, name), "rb") as file:
                yield os.path.join(top, name), file.read()


def daemon_refuses(host, *words, env):
    """No daemon starts so, and the sentence says why."""
    say(host.run("status", check_exit=False, env=dict({"STASIS_STORE_KEY_FILE": "", "STASIS_STORE_KEY_COMMAND": ""}, **env)), 3, *words)
    check(host.daemon_pid() is None or not alive(host.daemon_pid()), "a daemon serves")


def test_encrypted():
    with Host() as host, Host() as other, Host() as plain:
        key, wrong = os.path.join(host.dir, "key"), os.path.join(host.dir, "wrong")
        for path, text in ((key, "a key of more than sixteen bytes\n"), (wrong, "another one of at least sixteen\n")):
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, 0o600)
        for each in (host, other):
            each.env.update(STASIS_STORE_KEY_FILE=key, STASIS_STORE_COMPRESSION="raw")
        cluster = Cluster(host)
        host.exec(NAME + ":vm0", "sh", "-c", MARK)
        taken = cluster.checkpoint()
        # Nothing in clear, though nothing is compressed.
        for path, data in store_bytes(host.store_dir):
            check(SECRET.encode() not in data, "%s holds the guest's words" % path)
            check(b"stasis-manifest" not in data and b"\"vms\"" not in data, "%s holds a manifest in clear" % path)
        check(host.json("stats")["encrypted"], "stats: %s" % host.json("stats"))
        pids = host.vm_pids(NAME)
        host.stop_daemon()
        where = host.store_dir
        daemon_refuses(host, "this is not the key of the store " + where, env={"STASIS_STORE_KEY_FILE": wrong})
        daemon_refuses(host, "the store %s is encrypted" % where, "STASIS_STORE_KEY_FILE", env={})
        daemon_refuses(host, key + ".none", env={"STASIS_STORE_KEY_FILE": key + ".none"})
        daemon_refuses(host, "false", env={"STASIS_STORE_KEY_COMMAND": "false"})
        os.chmod(key, 0o644)
        daemon_refuses(host, key, env={"STASIS_STORE_KEY_FILE": key})
        os.chmod(key, 0o600)
        # The key from a command. The VMs have not noticed.
        host.env.update(STASIS_STORE_KEY_FILE="", STASIS_STORE_KEY_COMMAND="cat %s" % key)
        check(host.vm_pids(NAME) == pids, "VMs were ended for the lack of a key")
        host.run("verify", taken)
        cluster.checkpoint()
        cluster.kill()
        host.run("restart", NAME)
        cluster.check_goes_on()
        host.run("verify", "--all", "--restore")
        # An export is sealed, too: a store with the key takes it in, one without does not.
        file = os.path.join(host.dir, "export")
        host.run("export", taken, file)
        with open(file, "rb") as exported:
            check(SECRET.encode() not in exported.read(), "the export holds the guest's words")
        other.run("import", file)
        other.run("verify", taken)
        say(plain.run("import", file, check_exit=False), 1, "encrypted")
        check(plain.json("list")["checkpoints"] == [], "imported without the key")
        check_store_files(plain, [])
        check_store_files(host, [entry["id"] for entry in host.checkpoints(NAME)])
        daemon = plain.daemon_pid()
        check(daemon, "no daemon")


def left_of(host):
    """Everything that a proof might leave."""
    files = []
    for top in (host.run_dir, host.state_dir):
        for directory, _, names in os.walk(top):
            files += [directory] + [os.path.join(directory, name) for name in names]
    processes = [(pid, line) for pid, line in process_cmdlines(host.dir).items() if alive(pid)]
    return sorted(files), sorted(processes)


def test_export_import_and_proof():
    with Host() as host, Host() as other:
        cluster = Cluster(host)
        first = cluster.checkpoint()
        # Here and there: through a file, and through a pipe.
        file = os.path.join(host.dir, "export")
        host.run("export", first, file)
        other.run("import", file)
        say(other.run("import", file, check_exit=False), 1, first, "already")
        second = cluster.checkpoint()
        pipe = subprocess.Popen(host.argv(["export", second]), env=host.env, stdout=subprocess.PIPE)
        result = subprocess.run(other.argv(["import"]), env=other.env, stdin=pipe.stdout, capture_output=True, text=True, timeout=300)
        pipe.stdout.close()
        check(pipe.wait(60) == 0 and result.returncode == 0, "through a pipe: %s" % result)
        check([entry["id"] for entry in other.checkpoints(NAME)] == [first, second], "imported: %s" % other.checkpoints(NAME))
        other.run("verify", "--all")
        # Cut off, or damaged: nothing of it stays.
        size = os.path.getsize(file)
        other.run("rm", first)
        for change in (lambda data: data[: size // 2], lambda data: data[:-1],
                       lambda data: data[: size // 2] + bytes([data[size // 2] ^ 1]) + data[size // 2 + 1:], lambda data: b""):
            with open(file, "rb") as whole, open(file + ".bad", "wb") as bad:
                bad.write(change(whole.read()))
            say(other.run("import", file + ".bad", check_exit=False), 1, "import")
            check([entry["id"] for entry in other.checkpoints(NAME)] == [second], "listed: %s" % other.checkpoints(NAME))
        check_store_files(other, [second])
        # A reader that goes away ends the export, and nothing else.
        pipe = subprocess.Popen(host.argv(["export", second]), env=host.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        pipe.stdout.read(100000)
        pipe.stdout.close()
        check(pipe.wait(60) != 0, "an export without a reader has succeeded")
        check_store_files(host, [first, second])
        # It runs there, while it runs here.
        other.run("restart", second)
        cluster.check_goes_on(other)
        cluster.check_goes_on()
        other.down(NAME)
        prove(host, cluster, first)


def prove(host, cluster, good):
    """verify --restore of a good checkpoint, and of one whose guest cannot do what is asked of it, beside the running cluster."""
    pids, before = host.vm_pids(NAME), left_of(host)
    result = host.json("verify", good, "--restore")
    check(result, "it says %s" % result)
    check(left_of(host) == before, "before the proof: %s\nafter it: %s" % (before, left_of(host)))
    # Where the proof writes its file there is a directory.
    host.exec(NAME + ":vm0", "mkdir", "/.stasis-verify")
    bad = cluster.checkpoint()
    host.exec(NAME + ":vm0", "rmdir", "/.stasis-verify")
    before = left_of(host)
    say(host.run("verify", bad, "--restore", check_exit=False), 1, bad, "could not be proven", "vm0")
    check(left_of(host) == before, "before the proof that failed: %s\nafter it: %s" % (before, left_of(host)))
    # What is stored is good all the same.
    check(not [entry for entry in host.checkpoints(NAME) if entry["damaged"]], "quarantined: %s" % host.checkpoints(NAME))
    check([cluster_["name"] for cluster_ in host.json("status")["clusters"]] == [NAME], "clusters: %s" % host.json("status"))
    check(host.vm_pids(NAME) == pids, "the running cluster was touched")
    cluster.check_goes_on()


SCRIPT = "#!/bin/sh\nstep=0\nwhile [ ! -e stop ]; do step=$((step + 1)); echo step $step; sleep 0.1; done\n"


def test_keep_with_an_interval():
    with Host() as host:
        work = os.path.join(host.dir, "work")
        os.mkdir(work)
        with open(os.path.join(work, "job.sh"), "w") as file:
            file.write(SCRIPT)
        config = host.cluster_file(NAME, 1, "128M", "[checkpoint]\nkeep = 2\nevery = 1s\n")
        process = host.start("run", "-c", config, "-n", "1", "--dir", work, "--", "sh", "job.sh", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        seen, most = [], 0
        while len(seen) < 6:
            ids = wait_for("another checkpoint", lambda: [entry["id"] for entry in (host.checkpoints(NAME) if host.daemon_pid() else [])
                                                           if entry["id"] not in seen], 300, every=0.2)
            seen += ids
            most = max(most, len(host.checkpoints(NAME)))
            check(process.poll() is None, "the run has ended: %s" % process.poll())
        # One more is there until the oldest has been removed.
        check(most <= 3, "%d at once" % most)
        host.exec(NAME + ":vm0", "touch", "/home/stasis/%s/stop" % NAME)
        check(process.wait(120) == 0, "the run: exit %s, %s" % (process.returncode, process.stderr.read()))
        process.stderr.close()
        wait_for("the older ones to go", lambda: len(host.checkpoints(NAME)) == 2, 60)
        ids = [entry["id"] for entry in host.checkpoints(NAME)]
        check_store_files(host, ids)
        host.run("verify", "--all")
        host.kill_vms(NAME)
        wait_for("death", lambda: host.status(NAME)["state"] == "dead")
        check(host.json("restart", ids[0])["checkpoint"] == ids[0], "the older one of both was not restarted")


if __name__ == "__main__":
    main([test_encrypted, test_export_import_and_proof, test_keep_with_an_interval])
