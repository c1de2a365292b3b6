#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints in object storage: a real S3 server, and a proxy before it that breaks what it answers, in checkpoints and in restarts."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import s3_server
from faulty import FILL, collect_all
from guest_job import Job
from harness import LONG, Host, check, main, wait_for
from s3_proxy import Rule, S3Proxy
from s3_server import BUCKET, S3Server

NAME = "cloud"
DEADLINE_S = 3
EXPIRED = dict(status=400, code="ExpiredToken")
SLOW = dict(status=503, code="SlowDown")


class Site:
    """Server, proxy, and a cluster of one VM whose checkpoints go there; shared by the tests."""

    site = None

    @classmethod
    def get(cls):
        if not cls.site:
            cls.site = cls()
        return cls.site

    def __init__(self):
        self.server = S3Server()
        self.proxy = S3Proxy(self.server.port, s3_server.SECRET)
        env = {name: "" for name in os.environ if name.startswith("AWS_")}
        env.update(
            AWS_ACCESS_KEY_ID=s3_server.KEY, AWS_SECRET_ACCESS_KEY=s3_server.SECRET, AWS_REGION="us-east-1",
            AWS_ENDPOINT_URL_S3="http://127.0.0.1:%d" % self.proxy.port, STASIS_S3_DEADLINE_S=str(DEADLINE_S),
        )
        self.where = "s3://%s/e2e" % BUCKET
        self.host = Host(store=self.where, env=env)
        self.host.up(NAME, 1, "128M")
        self.host.put_program(NAME + ":vm0", "memory_counter")
        self.job = Job(self.host, NAME, "vm0", "counter").start("/root/memory_counter", "2")
        self.number = self.job.wait_lines(2)[0].split()[0]

    def objects(self, kind):
        """Names of the objects of a kind, as they lie in the server's directory."""
        top = os.path.join(self.server.dir, "data", BUCKET, "e2e", kind)
        names = {name.partition("._S3rver")[0] for name in os.listdir(top)} if os.path.isdir(top) else set()
        return sorted(names)

    def ids(self):
        entries = self.host.checkpoints(NAME)
        check(not [entry for entry in entries if entry["damaged"]], "quarantined: %s" % entries)
        return [entry["id"] for entry in entries]

    def checkpoint(self):
        self.host.exec(NAME + ":vm0", "sh", "-c", FILL, "1")
        return self.host.json("checkpoint", NAME)["manifest"]["id"]

    def check_goes_on(self):
        rows = [line.split() for line in self.job.wait_lines(len(self.job.lines()) + 5)]
        check({row[0] for row in rows} == {self.number}, "another process than %s: %s" % (self.number, rows[-1]))
        check([int(row[1]) for row in rows] == list(range(len(rows))), "a gap or a repeat: %s" % rows[-3:])

    def kill(self):
        self.host.kill_vms(NAME)
        wait_for("the cluster to be seen dead", lambda: self.host.status(NAME)["state"] == "dead")

    def fails(self, words, *args):
        result = self.host.run(*args, check_exit=False)
        check(result.returncode == 1, "%s: exit %d: %s%s" % (args, result.returncode, result.stdout, result.stderr))
        for word in words + (BUCKET,):
            check(word in result.stderr, "%s: no \"%s\" in: %s" % (args, word, result.stderr))
        return result.stderr

    def check_store(self, ids):
        """After a collection there is what these checkpoints need, and nothing else."""
        report = collect_all(self.host)
        check(self.objects("manifests") == sorted(ids), "manifests %s, listed %s" % (self.objects("manifests"), ids))
        check(len(self.objects("packs")) == report["packs"], "packs %s, %s" % (self.objects("packs"), report))
        for kind in ("leases", "condemned", "suspect", "damaged", "removed"):
            check(self.objects(kind) == [], "%s: %s" % (kind, self.objects(kind)))

    def close(self):
        Site.site = None
        self.host.close()
        self.proxy.close()
        self.server.close()


def test_life():
    """Checkpoint, death of the VM, restart, retention, collection."""
    site = Site.get()
    first = site.checkpoint()
    second = site.checkpoint()
    check(site.ids() == [first, second], "listed: %s" % site.ids())
    site.host.run("verify", "--all")
    site.kill()
    site.host.run("restart", NAME)
    site.check_goes_on()
    third = site.checkpoint()
    # Another daemon, without what the first one knew.
    site.host.kill_daemon()
    check(site.ids() == [first, second, third], "listed: %s" % site.ids())
    reply = site.host.json("prune", NAME, "--keep", "2")
    check(reply["removed"] == [first], "removed: %s" % reply)
    site.host.run("rm", second)
    site.check_store([third])
    site.host.run("verify", third)
    site.kill()
    site.host.run("restart", third)
    site.check_goes_on()
    check(not site.proxy.faults, "requests were wrong: %s" % site.proxy.faults)


def test_faults_in_a_checkpoint():
    site = Site.get()
    ids = site.ids() or [site.checkpoint()]
    # Now and then: it is tried again.
    for rule in (Rule("PUT|POST", "e2e/", "status", 3, **SLOW), Rule("PUT|POST|GET", "e2e/", "reset", 3, every=2), Rule("PUT|POST", "packs", "lost", 1)):
        site.proxy.set(rule)
        ids = ids + [site.checkpoint()]
        check(rule.hits, "no request was broken")
        site.proxy.set()
        check(site.ids() == ids, "listed: %s" % site.ids())
    # For good: it fails with a sentence, and the VM goes on.
    for rule, words in (
        (Rule("PUT|POST", "e2e/packs", "status", -1, **SLOW), ("SlowDown", "tried")),
        (Rule("PUT|POST", "e2e/packs", "hang", -1), ("tried",)),
        (Rule("PUT|POST", "e2e/packs", "status", -1, **EXPIRED), ("ExpiredToken", "expired")),
        (Rule("PUT|POST", "e2e/manifests", "status", -1, **EXPIRED), ("ExpiredToken", "expired")),
        (Rule("PUT|POST", "e2e/leases", "status", -1, **EXPIRED), ("ExpiredToken", "expired")),
    ):
        site.proxy.set(rule)
        site.host.exec(NAME + ":vm0", "sh", "-c", FILL, "1")
        site.fails(words, "checkpoint", NAME)
        check(rule.hits, "no request was broken")
        check(site.host.status(NAME)["state"] == "running", "the cluster: %s" % site.host.status(NAME))
        site.check_goes_on()
        site.proxy.set()
        check(site.ids() == ids, "listed: %s" % site.ids())
    site.check_store(ids)
    site.host.run("verify", "--all")
    ids.append(site.checkpoint())
    check(site.ids() == ids, "listed: %s" % site.ids())


def test_faults_in_a_restart():
    site = Site.get()
    ids = site.ids() or [site.checkpoint()]
    for rule in (Rule("GET", "e2e/packs", "status", 3, **SLOW), Rule("GET", "e2e/packs", "truncate", 3), Rule("GET", "e2e/packs", "reset", 5, every=3)):
        site.kill()
        site.host.kill_daemon()
        site.proxy.set(rule)
        site.host.run("restart", NAME)
        check(rule.hits, "no request was broken")
        site.proxy.set()
        site.check_goes_on()
    for rule, words in (
        (Rule("GET", "e2e/packs", "status", -1, **SLOW), ("SlowDown", "tried")),
        (Rule("GET", "e2e/packs", "status", -1, **EXPIRED), ("ExpiredToken", "expired")),
        (Rule("GET", "e2e/packs", "hang", -1), ("tried",)),
    ):
        site.kill()
        site.proxy.set(rule)
        site.fails(words, "restart", NAME)
        check(rule.hits, "no request was broken")
        site.proxy.set()
        # What could not be read is not damaged.
        check(site.ids() == ids, "listed: %s" % site.ids())
        check(site.host.status(NAME)["state"] == "dead", "the cluster: %s" % site.host.status(NAME))
        site.host.run("restart", NAME)
        site.check_goes_on()
    # A living cluster is not thrown away when the store cannot be read.
    pids = site.host.vm_pids(NAME)
    site.proxy.set(Rule("GET", "e2e/packs", "status", -1, **EXPIRED))
    site.fails(("ExpiredToken",), "restart", "--force", NAME)
    site.proxy.set()
    check(site.host.vm_pids(NAME) == pids, "VMs were ended")
    site.check_store(ids)


def nothing_is_left():
    Site.get().close()


if __name__ == "__main__":
    main([test_life] + ([test_faults_in_a_checkpoint, test_faults_in_a_restart] if LONG else []) + [nothing_is_left])
