# SPDX-License-Identifier: BSD-3-Clause
"""The frame of the tests of the stasis command: a temporary place, the fake daemon, counted checks."""
import os
import signal
import subprocess
import sys
import tempfile
import time

from fake_daemon import FakeDaemon


class CliTest:
    """Runs the binary named by the first argument against a fake daemon."""

    def __init__(self):
        if len(sys.argv) != 2:
            sys.exit(f"usage: {sys.argv[0]} PATH-OF-STASIS")
        # Started in the background, a process ignores SIGINT, and so would the jobs of the tests.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.stasis = os.path.abspath(sys.argv[1])
        self.place = tempfile.TemporaryDirectory(prefix="stasis-cli-")
        self.dir = self.place.name
        self.work = os.path.join(self.dir, "work")
        os.mkdir(self.work)
        os.mkdir(os.path.join(self.dir, "run"))
        self.env = {**os.environ, "STASIS_RUN_DIR": os.path.join(self.dir, "run"),
                    "STASIS_STATE_DIR": os.path.join(self.dir, "state"),
                    "STASIS_CACHE_DIR": os.path.join(self.dir, "cache"),
                    "STASIS_LIBEXEC_DIR": os.path.join(self.dir, "libexec")}
        self.env.pop("STASIS_STORE_DIR", None)
        self.daemon = FakeDaemon(os.path.join(self.dir, "run"), os.path.join(self.dir, "vms"))
        self.passed = self.failed = 0

    def vm(self, *path):
        return os.path.join(self.dir, "vms", *path)

    def start(self, *args, **options):
        return subprocess.Popen([self.stasis, *args], cwd=self.work, env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *args, stdin=b"", timeout=30):
        return subprocess.run([self.stasis, *args], cwd=self.work, env=self.env, input=stdin,
                              capture_output=True, timeout=timeout, check=False)

    @staticmethod
    def await_that(test, seconds=10):
        """Wait until test() is true."""
        deadline = time.monotonic() + seconds
        while not test():
            if time.monotonic() > deadline:
                raise AssertionError(f"did not come about in {seconds} s")
            time.sleep(0.01)

    def check(self, what, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {what}: {detail}")

    def expect(self, what, result, code, *needles):
        """Exit code, and texts that must be in the output."""
        text = (result.stdout + result.stderr).decode(errors="replace")
        good = result.returncode == code and all(n in text for n in needles)
        self.check(what, good, f"exit {result.returncode}, wanted {code} and {needles}: {text[-1500:]}")

    def finish(self):
        self.place.cleanup()
        print(f"{self.passed} passed, {self.failed} failed, 0 skipped")
        sys.exit(1 if self.failed else 0)
