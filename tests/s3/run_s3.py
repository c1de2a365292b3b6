#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The S3 backend against a real server: the suite of all backends, then again while a proxy breaks what it answers."""

import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import s3_server
from harness import BUILD, Skip, check, main
from s3_proxy import Rule, S3Proxy
from s3_server import BUCKET, S3Server

MIB = 1 << 20
TOOL = os.path.join(BUILD, "tests", "s3", "s3_tool")
SUITE = os.path.join(BUILD, "tests", "unit", "test_backend")
EXPIRED = dict(status=400, code="ExpiredToken")


def settings(port, deadline_s, **more):
    """The environment of a client, without what this user has set."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env.update(
        AWS_ACCESS_KEY_ID=s3_server.KEY, AWS_SECRET_ACCESS_KEY=s3_server.SECRET, AWS_REGION="us-east-1",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:%d" % port, STASIS_S3_DEADLINE_S=str(deadline_s), HOME="/nonexistent",
    )
    env.update(more)
    return {name: value for name, value in env.items() if value is not None}


class Site:
    """The server, the proxy in front of it, and files to put."""

    site = None

    @classmethod
    def get(cls):
        if not cls.site:
            for program in (TOOL, SUITE):
                if not os.path.exists(program):
                    raise Skip("%s is not built" % program)
            cls.site = cls()
        return cls.site

    def __init__(self):
        self.server = S3Server()
        self.proxy = S3Proxy(self.server.port, s3_server.SECRET)
        self.dir = tempfile.TemporaryDirectory(prefix="stasis-s3-test-")
        self.count = 0
        self.small = self.file("small", os.urandom(5000))
        self.large = self.file("large", os.urandom(20 * MIB + 777))

    def file(self, name, data=None):
        path = os.path.join(self.dir.name, name)
        if data is not None:
            with open(path, "wb") as file:
                file.write(data)
        return path

    def close(self):
        self.proxy.close()
        self.server.close()
        self.dir.cleanup()


class Store:
    """A store of a test's own, seen through the proxy and directly."""

    def __init__(self, deadline_s=6, **env):
        self.site = Site.get()
        self.proxy = self.site.proxy
        self.site.count += 1
        self.location = "s3://%s/test-%d/store" % (BUCKET, self.site.count)
        self.env = settings(self.proxy.port, deadline_s, **env)
        self.proxy.set()

    def tool(self, *args, env=None, deadline_s=120):
        return subprocess.run(
            [TOOL, self.location, *map(str, args)], env=env or self.env, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=deadline_s, check=False,
        )

    def ok(self, *args):
        result = self.tool(*args)
        check(result.returncode == 0, "%s: %s" % (args, result.stderr.decode()))
        return result.stdout

    def fails(self, code, texts, *args, env=None):
        """Fails with this errno, in a sentence that names the store and holds the texts."""
        result = self.tool(*args, env=env)
        told = result.stderr.decode()
        check(result.returncode == 1 and told.startswith(code + ": "), "%s instead of %s: %s" % (args, code, told))
        for text in [BUCKET, *texts]:
            check(text in told, "\"%s\" is not in: %s" % (text, told))
        return told

    def direct(self, *args):
        """Without the proxy."""
        result = self.tool(*args, env=settings(self.site.server.port, 6))
        check(result.returncode == 0, "%s: %s" % (args, result.stderr.decode()))
        return result.stdout

    def names(self, kind="packs"):
        return sorted(line.split()[0] for line in self.direct("list", kind).decode().splitlines())

    def holds(self, name, path):
        copy = self.site.file("copy")
        self.direct("get", name, copy)
        with open(copy, "rb") as have, open(path, "rb") as want:
            return have.read() == want.read()

    def rules(self, *rules):
        self.proxy.set(*rules)
        return rules

    def aborted(self):
        return self.proxy.seen("DELETE", "uploadId=")


def suite(port, **env):
    site = Site.get()
    site.count += 1
    full = settings(port, 20, STASIS_TEST_S3="s3://%s/suite-%d" % (BUCKET, site.count),
                    STASIS_TEST_S3_LACKS=s3_server.LACKS, **env)
    result = subprocess.run([SUITE], env=full, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
                            check=False)
    output = result.stdout + result.stderr
    check(result.returncode == 0, "\n".join(line for line in output.splitlines() if " OK " not in line))
    check(re.search(r"PASSED  \] 1[0-9] test", output), output[-2000:])


def test_suite():
    suite(Site.get().server.port)


def test_suite_signed():
    """Every request is signed as the service computes it, and its checksums are right."""
    site = Site.get()
    site.proxy.set()
    suite(site.proxy.port)
    check(len(site.proxy.requests) > 1000, "the proxy was not used")
    check(not site.proxy.faults, site.proxy.faults[:3])


def test_suite_disturbed():
    """The whole suite passes while each kind of request fails now and then."""
    site = Site.get()
    every = "GET|HEAD|PUT|POST|DELETE"
    rules = [
        Rule(every, "", "reset", -1, every=23),
        Rule(every, "", "status", -1, every=29, status=503, code="SlowDown"),
        Rule(every, "", "status", -1, every=31, status=500, code="InternalError"),
        Rule("GET", "", "truncate", -1, every=17),
        Rule("GET|PUT|DELETE|HEAD", "", "lost", -1, every=37),
        Rule("PUT", "", "etag", -1, every=19),
        Rule(every, "", "status", -1, every=41, status=429, code="TooManyRequests"),
    ]
    site.proxy.set(*rules)
    suite(site.proxy.port)
    check(all(rule.hits > 3 for rule in rules), [rule.hits for rule in rules])


TRANSIENT = {
    "reset": ("reset", {}, "EIO"),
    "lost answer": ("lost", {}, "EIO"),
    "hang": ("hang", {}, "ETIMEDOUT"),
    "500": ("status", dict(status=500, code="InternalError"), "EIO"),
    "502": ("status", dict(status=502, code="BadGateway"), "EIO"),
    "503": ("status", dict(status=503, code="SlowDown"), "EIO"),
    "429": ("status", dict(status=429, code="TooManyRequests"), "EIO"),
    "RequestTimeout": ("status", dict(status=400, code="RequestTimeout"), "ETIMEDOUT"),
}


def transient(name):
    """A fault that passes: each operation succeeds all the same."""
    action, more, _ = TRANSIENT[name]
    times = 1 if action == "hang" else 3
    store = Store(deadline_s=3 if action == "hang" else 6)

    def rule(method, pattern):
        return store.rules(Rule(method, pattern, action, times, **more))[0]

    def hit(had):
        check(had.hits == times, "the rule was applied %d times" % had.hits)

    had = rule("PUT", "packs/small")
    store.ok("put", "packs/small", store.site.small)
    hit(had)
    check(store.holds("packs/small", store.site.small), "what was put is there")
    for method, pattern in (("POST", "uploads="), ("PUT", "partNumber=2"), ("PUT", "partNumber=3"), ("POST", "uploadId=")):
        if action == "lost" and pattern == "uploadId=":
            continue
        had = rule(method, "packs/large.*" + pattern)
        store.ok("put", "packs/large", store.site.large)
        hit(had)
        check(store.holds("packs/large", store.site.large), "what was put is there")
        store.direct("remove", "packs/large")
    had = rule("GET", "packs/small")
    copy = store.site.file("through")
    store.ok("get", "packs/small", copy)
    hit(had)
    with open(copy, "rb") as have, open(store.site.small, "rb") as want:
        check(have.read() == want.read(), "what was got is right")
    for method, pattern, args in (
        ("HEAD", "packs/small", ("stat", "packs/small")),
        ("GET", "list-type=2&prefix", ("list", "packs")),
        ("HEAD", "", ("now",)),
        ("DELETE", "packs/small", ("remove", "packs/small")),
    ):
        had = rule(method, pattern)
        store.ok(*args)
        hit(had)
    check(store.names() == [], "all is removed")


def persistent(name):
    """A fault that stays: each operation fails with errno and sentence, and no half of anything is seen."""
    action, more, code = TRANSIENT[name]
    store = Store(deadline_s=2)
    texts = [more["code"], "HTTP %d" % more["status"]] if more else []
    store.direct("put", "packs/old", store.site.small)
    other = store.site.file("other", b"other")

    store.rules(Rule("PUT|GET|HEAD|POST|DELETE", "store/packs|list-type=2&prefix", action, -1, **more))

    def one(args):
        begin = time.monotonic()
        # What HEAD is answered has no body, so no code of S3.
        named = [args[1]] if args[0] != "list" else []
        told = store.fails(code, (texts[1:] if args[0] == "stat" else texts) + named, *args)
        check("tried" in told, told)
        check(time.monotonic() - begin < 20, "the deadline of 2 s is kept within 20 s")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, (
            ("put", "packs/new", other), ("put", "packs/old", other), ("put", "packs/large", store.site.large),
            ("range", "packs/old", 10, 10), ("list", "packs"), ("stat", "packs/old"), ("remove", "packs/old"),
        )))
    if action == "lost":
        for name in store.names():
            check(store.holds("packs/" + name, other) or store.holds("packs/" + name, store.site.small), name)
    else:
        check(store.names() == ["old"] and store.holds("packs/old", store.site.small), store.names())


def make_transient(name):
    def test():
        transient(name)

    test.__name__ = "test_passes_" + name.replace(" ", "_")
    return test


def make_persistent(name):
    def test():
        persistent(name)

    test.__name__ = "test_stays_" + name.replace(" ", "_")
    return test


def test_wrong_bytes():
    """Truncated, too short, too long, changed, of another range: got again; if it stays, it is told."""
    store = Store()
    store.direct("put", "packs/p", store.site.small)
    copy = store.site.file("through")
    with open(store.site.small, "rb") as file:
        want = file.read()
    for action in ("truncate", "shorter", "longer", "flip", "etag", "range"):
        rule, = store.rules(Rule("GET", "packs/p", action))
        store.ok("get", "packs/p", copy)
        with open(copy, "rb") as file:
            check(file.read() == want and rule.hits == 1, "%s: what was got is right" % action)
    for action in ("truncate", "shorter", "longer", "range"):
        rule, = store.rules(Rule("GET", "packs/p", action))
        have = store.ok("range", "packs/p", 1000, 3000)
        check(have == want[1000:4000] and rule.hits == 1, "%s: the range is right" % action)
    store.env["STASIS_S3_DEADLINE_S"] = "1"
    for action in ("truncate", "shorter", "longer", "flip", "etag", "range"):
        store.rules(Rule("GET", "packs/p", action, -1))
        told = store.fails("EBADMSG", ["packs/p", "tried"], "get", "packs/p", copy)
        check("damaged: it ends" not in told, told)


def test_wrong_etag():
    """The service received something else than was sent: sent again."""
    store = Store()
    for name, path, pattern in (("packs/small", store.site.small, "packs/small"),
                                ("packs/large", store.site.large, "partNumber=2")):
        rule, = store.rules(Rule("PUT", pattern, "etag"))
        store.ok("put", name, path)
        check(rule.hits == 1 and store.proxy.seen("PUT", pattern) == 2, "it is sent twice")
        check(store.holds(name, path), "what was put is there")
    store.env["STASIS_S3_DEADLINE_S"] = "1"
    store.rules(Rule("PUT", "partNumber=2", "etag", -1))
    store.fails("EBADMSG", ["packs/other", "ETag"], "put", "packs/other", store.site.large)
    check(store.names() == ["large", "small"], store.names())
    check(store.aborted() == 1, "the upload is given up")


def test_wrong_list():
    store = Store()
    store.direct("put", "packs/p", store.site.small)
    for action in ("truncate", "shorter"):
        rule, = store.rules(Rule("GET", "list-type=2&prefix", action))
        check(store.ok("list", "packs") == b"p 5000\n" and rule.hits == 1, "%s: the list is whole" % action)
    store.env["STASIS_S3_DEADLINE_S"] = "1"
    for body in (b"", b"<ListBucketResult>", b"<html/>", b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
                 b"<!DOCTYPE a><ListBucketResult/>",
                 b"<ListBucketResult><Contents><Key>test</Key></Contents></ListBucketResult>"):
        store.rules(Rule("GET", "list-type=2&prefix", "answer", -1, status=200, body=body))
        store.fails("EBADMSG", ["list"], "list", "packs")


def test_complete_with_error():
    """Status 200, and in the body an error."""
    store = Store()

    def answer(code, times):
        body = b"<Error><Code>%s</Code><Message>Once more.</Message></Error>" % code
        return store.rules(Rule("POST", "uploadId=", "answer", times, status=200, body=body))[0]

    for body in (None, b"", b"<CompleteMulti"):
        if body is None:
            rule = answer(b"InternalError", 2)
        else:
            rule, = store.rules(Rule("POST", "uploadId=", "answer", 2, status=200, body=body))
        store.ok("put", "packs/p", store.site.large)
        check(rule.hits == 2 and store.holds("packs/p", store.site.large), "it is completed in the end")
        store.direct("remove", "packs/p")
    answer(b"AccessDenied", -1)
    store.fails("EACCES", ["packs/p", "AccessDenied"], "put", "packs/p", store.site.large)
    check(store.proxy.seen("POST", "uploadId=") == 1 and store.aborted() == 1, store.proxy.requests)
    store.env["STASIS_S3_DEADLINE_S"] = "1"
    answer(b"InternalError", -1)
    store.fails("EIO", ["packs/p", "InternalError", "tried"], "put", "packs/p", store.site.large)
    check(store.names() == [] and store.aborted() == 1, "nothing is seen, the upload is given up")


def test_complete_lost():
    """The upload was completed, the answer was lost, and then there is no such upload."""
    store = Store()
    store.rules(Rule("POST", "uploadId=", "lost"), Rule("POST", "uploadId=", "status", -1, status=404, code="NoSuchUpload"))
    store.ok("put", "packs/p", store.site.large)
    check(store.holds("packs/p", store.site.large), "what was put is there")
    store.rules(Rule("POST", "uploadId=", "status", -1, status=404, code="NoSuchUpload"))
    store.fails("EIO", ["packs/q", "NoSuchUpload"], "put", "packs/q", store.site.large)
    check(store.names() == ["p"], store.names())


def test_credentials_refused():
    """Told at once, with the remedy; an upload under way is given up."""
    store = Store()
    store.direct("put", "packs/p", store.site.small)
    cases = [
        ("ExpiredToken", 400, "renew"), ("ExpiredToken", 403, "renew"), ("InvalidAccessKeyId", 403, "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", 403, "AWS_SECRET_ACCESS_KEY"), ("AccessDenied", 403, "s3:GetObject"),
        ("RequestTimeTooSkewed", 403, "clock"), ("Whatever", 403, "refused"),
    ]
    for code, status, remedy in cases:
        for args in (("put", "packs/q", store.site.small), ("range", "packs/p", 1, 2), ("stat", "packs/p"),
                     ("list", "packs"), ("remove", "packs/p")):
            store.rules(Rule("PUT|GET|HEAD|DELETE", "store/packs|list-type=2&prefix", "status", -1, status=status, code=code))
            told = store.fails("EACCES", [code, "HTTP %d" % status, remedy, "credentials"], *args)
            check("tried" not in told, told)
    store.rules(Rule("PUT", "partNumber=2", "status", -1, **EXPIRED))
    store.fails("EACCES", ["packs/large", "ExpiredToken", "expired"], "put", "packs/large", store.site.large)
    check(store.proxy.seen("PUT", "partNumber=2") == 1 and store.aborted() == 1, store.proxy.requests)
    check(store.names() == ["p"], store.names())
    told = store.fails("EACCES", ["AWS_SECRET_ACCESS_KEY"], "list", "packs",
                       env=settings(store.proxy.port, 6, AWS_SECRET_ACCESS_KEY="wrong"))
    check("SignatureDoesNotMatch" in told, told)
    store.proxy.faults.clear()


def test_missing():
    """404 is told at once; a missing bucket is not a missing object."""
    store = Store()
    for args in (("range", "packs/none", 0, 5), ("stat", "packs/none"), ("get", "packs/none", store.site.file("through"))):
        store.rules()
        store.fails("ENOENT", ["packs/none"], *args)
        check(len(store.proxy.requests) == 2, store.proxy.requests)
    for args in (("range", "packs/p", 1, 2), ("list", "packs"), ("put", "packs/p", store.site.small)):
        store.rules(Rule("GET|PUT", "packs", "status", -1, status=404, code="NoSuchBucket"))
        store.fails("EIO", ["NoSuchBucket", "create the bucket"], *args)
    store.location = "s3://no-such-bucket-of-%s/x" % BUCKET
    store.fails("EIO", ["NoSuchBucket", "create the bucket"], "list", "packs")


def test_other_statuses():
    store = Store()
    for status, code, errno, text in ((507, "InsufficientStorage", "ENOSPC", "room"), (403, "QuotaExceeded", "EDQUOT", "quota"),
                                      (301, "PermanentRedirect", "EINVAL", "AWS_REGION"),
                                      (400, "AuthorizationHeaderMalformed", "EINVAL", "AWS_REGION"),
                                      (400, "InvalidArgument", "EIO", "InvalidArgument"), (418, "Teapot", "EIO", "HTTP 418")):
        store.rules(Rule("PUT", "packs/p", "status", -1, status=status, code=code))
        told = store.fails(errno, ["packs/p", text], "put", "packs/p", store.site.small)
        check("tried" not in told and store.proxy.seen("PUT", "") == 1, told)
    check(store.names() == [], store.names())


def test_drop():
    """A writer that gives up ends its upload."""
    store = Store()
    store.ok("drop", "packs/p", store.site.large)
    check(store.aborted() == 1 and store.names() == [], store.proxy.requests)


def test_tidy():
    """Old uploads below the prefix are ended, over several pages; others are left alone."""
    store = Store()
    old, new = "2020-01-02T03:04:05.000Z", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    prefix = store.location.partition(BUCKET + "/")[2]

    def upload(key, name, when):
        return "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>" % (key, name, when)

    def page(uploads, more=""):
        return ("<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>%s</IsTruncated>%s%s"
                "</ListMultipartUploadsResult>" % ("true" if more else "false", more, "".join(uploads))).encode()

    first = page([upload(prefix + "/packs/a", "id/1+=", old), upload(prefix + "/packs/b", "id2", new)],
                 "<NextKeyMarker>%s/packs/b</NextKeyMarker><NextUploadIdMarker>id2</NextUploadIdMarker>" % prefix)
    second = page([upload(prefix + "/packs/c", "id3", old), upload(prefix + "/foreign", "id4", old),
                   upload("elsewhere/packs/d", "id5", old)])
    store.rules(Rule("GET", "key-marker=.*packs%2Fb.*upload-id-marker=id2", "answer", -1, status=200, body=second),
                Rule("GET", "uploads=", "answer", -1, status=200, body=first),
                Rule("DELETE", "packs/a", "answer", -1, status=204, body=b""),
                Rule("DELETE", "packs/c", "status", -1, status=404, code="NoSuchUpload"))
    store.ok("tidy", 3600)
    gone = [path for method, path in store.proxy.requests if method == "DELETE"]
    check([path.rpartition("/packs/")[2] for path in gone] == ["a?uploadId=id%2F1%2B%3D", "c?uploadId=id3"], gone)
    check(not store.proxy.faults, store.proxy.faults)


def test_settings_from_files():
    """Keys, region and endpoint of a profile; the environment goes first; nothing at all is told."""
    store = Store()
    token = "tok+en/=" * 200
    keys = store.site.file("credentials", (
        "[default]\naws_access_key_id = no\naws_secret_access_key = no\n# a comment = no\n\n"
        "[other]\naws_access_key_id=%s\naws_secret_access_key =  %s \r\naws_session_token=%s\n"
        % (s3_server.KEY, s3_server.SECRET, token)).encode())
    config = store.site.file("config", b"[profile other]\nregion = eu-west-7\ns3 =\n  max_queue_size = 1\n"
                             b"endpoint_url = http://127.0.0.1:%d/\n" % store.proxy.port)
    nothing = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL_S3"))
    store.env = settings(0, 6, AWS_SHARED_CREDENTIALS_FILE=keys, AWS_CONFIG_FILE=config, AWS_PROFILE="other", **nothing)
    store.ok("put", "packs/p", store.site.small)
    check(store.holds("packs/p", store.site.small) and not store.proxy.faults, store.proxy.faults)
    check(token in store.proxy.tokens, "the token arrives whole")
    del store.env["AWS_SHARED_CREDENTIALS_FILE"]
    result = store.tool("list", "packs")
    check(result.returncode == 1 and b"EACCES" in result.stderr and b"~/.aws/credentials" in result.stderr, result.stderr)
    store.env.update(AWS_ACCESS_KEY_ID=s3_server.KEY, AWS_SECRET_ACCESS_KEY=s3_server.SECRET, STASIS_S3_DEADLINE_S="no")
    result = store.tool("list", "packs")
    check(result.returncode == 1 and b"EINVAL: STASIS_S3_DEADLINE_S" in result.stderr, result.stderr)


def test_credentials_renewed():
    """Keys that expire while the store is open are read again from their file."""
    store = Store()
    text = "[default]\naws_access_key_id=%s\naws_secret_access_key=%s\naws_session_token=%s\n"
    keys = store.site.file("renewed", (text % (s3_server.KEY, s3_server.SECRET, "old")).encode())

    def renew():
        store.site.file("renewed", (text % (s3_server.KEY, s3_server.SECRET, "new")).encode())

    store.env = settings(store.proxy.port, 6, AWS_SHARED_CREDENTIALS_FILE=keys, AWS_ACCESS_KEY_ID=None,
                         AWS_SECRET_ACCESS_KEY=None)
    store.rules(Rule("PUT", "partNumber=2", "status", call=renew, **EXPIRED))
    store.ok("put", "packs/p", store.site.large)
    check(store.holds("packs/p", store.site.large), "what was put is there")
    store.rules(Rule("PUT", "partNumber=2", "status", -1, call=renew, **EXPIRED))
    store.fails("EACCES", ["ExpiredToken"], "put", "packs/q", store.site.large)


def test_nobody_there():
    store = Store(deadline_s=1)
    begin = time.monotonic()
    store.fails("EIO", ["endpoint", "tried"], "list", "packs", env=settings(1, 1))
    check(time.monotonic() - begin < 5, "it is told soon")


TESTS = [
    test_suite,
    test_suite_signed,
    test_suite_disturbed,
    *map(make_transient, TRANSIENT),
    *map(make_persistent, TRANSIENT),
    test_wrong_bytes,
    test_wrong_etag,
    test_wrong_list,
    test_complete_with_error,
    test_complete_lost,
    test_credentials_refused,
    test_missing,
    test_other_statuses,
    test_drop,
    test_tidy,
    test_settings_from_files,
    test_credentials_renewed,
    test_nobody_there,
]

if __name__ == "__main__":
    try:
        main(TESTS)
    finally:
        if Site.site:
            Site.site.close()
