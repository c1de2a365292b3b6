# SPDX-License-Identifier: BSD-3-Clause
"""A real S3 server for tests: s3rver from the npm registry, installed once into the user's cache directory."""

import os
import re
import shutil
import subprocess
import tempfile

from harness import Skip, wait_for

VERSION = "3.7.1"
KEY = SECRET = "S3RVER"
BUCKET = "stasis-test"
# What it does not have, in the words of tests/unit/test_backend.c.
LACKS = "atomic,uploads"


def _cache():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("STASIS_CACHE_DIR") or os.path.join(home, "stasis")


def _installed():
    """The server's program, installed if it is not there yet."""
    target = os.path.join(_cache(), "npm", "s3rver-" + VERSION)
    program = os.path.join(target, "node_modules", "s3rver", "bin", "s3rver.js")
    if os.path.exists(program):
        return program
    if not shutil.which("npm"):
        raise Skip("there is no npm, from which the S3 server comes")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(target))
    try:
        result = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", fresh, "s3rver@" + VERSION],
            capture_output=True, text=True, timeout=300, check=False,
        )
        if result.returncode:
            raise Skip("npm cannot install the S3 server: %s" % result.stderr.strip()[-300:])
        try:
            os.rename(fresh, target)
        except OSError:
            if not os.path.exists(program):
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return program


class S3Server:
    """Runs as long as the object is open; the bucket is there, and empty."""

    def __init__(self):
        program = _installed()
        self.dir = tempfile.mkdtemp(prefix="stasis-s3-")
        # Its tokens for the next page of a list are made with a cipher that OpenSSL 3 keeps among the old ones.
        env = dict(os.environ, NODE_OPTIONS="--openssl-legacy-provider")
        self.log = os.path.join(self.dir, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                ["node", program, "-d", os.path.join(self.dir, "data"), "-a", "127.0.0.1", "-p", "0", "--silent",
                 "--no-vhost-buckets", "--configure-bucket", BUCKET],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
        try:
            self.port = wait_for("the S3 server to start", self._port, 60)
        except BaseException:
            self.close()
            raise

    def _port(self):
        with open(self.log, errors="replace") as log:
            text = log.read()
        found = re.search(r"listening on .*:(\d+)", text)
        if self.process.poll() is not None:
            raise AssertionError("the S3 server ended: %s" % text[-2000:])
        return int(found.group(1)) if found else None

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
