# SPDX-License-Identifier: BSD-3-Clause
"""What tests with real VMs share: a host of their own, the stasis command, deadlines, leak counts, a runner."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import stasis_rpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("STASIS_BUILD_DIR", os.path.join(ROOT, "build", "release")))


class Skip(Exception):
    """Raised by a test that cannot run here; its text is the reason."""


class CommandFailed(Exception):
    def __init__(self, argv, result):
        self.result = result
        super().__init__(
            "%s: exit %d\nstdout: %s\nstderr: %s"
            % (" ".join(argv), result.returncode, result.stdout[-2000:], result.stderr[-2000:])
        )


def check(condition, text):
    """An assertion that python -O cannot remove."""
    if not condition:
        raise AssertionError(text)


def wait_for(what, condition, seconds=60.0, every=0.05):
    """Poll until condition() is true; its value is returned. Fails loudly at the deadline."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.0f s for %s" % (seconds, what))
        time.sleep(every)


def guest_program(name):
    """A static test program for guests, built with the project."""
    path = os.path.join(BUILD, "tests", "guest", name)
    if not os.path.exists(path):
        raise Skip("%s is not built" % path)
    return path


def process_cmdlines(text):
    """pid -> command line of the processes of stasis whose command line holds the text."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/cmdline" % entry, "rb") as file:
                line = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in line and ("qemu" in line or "stasis" in line):
            found[int(entry)] = line
    return found


# Everything, also what CI leaves out to be quick.
LONG = os.environ.get("STASIS_TEST_LONG") == "1"

# What the store keeps open of its objects (src/store/backend/directory_fds.c).
OBJECTS_OPEN_MAX = 64


class Host:
    """Directories and a daemon of their own; the cache is shared, since images are expensive."""

    def __init__(self, store=None, env=None, user=None, programs=None):
        """With a user (a number) that user owns the directories and runs all commands."""
        self.dir = tempfile.mkdtemp(prefix="stasis-test-")
        self.run_dir = os.path.join(self.dir, "r")
        self.state_dir = os.path.join(self.dir, "s")
        self.store_dir = store or os.path.join(self.dir, "store")
        self.user = user
        self.programs = programs or os.path.join(BUILD, "libexec")
        if user:
            os.chown(self.dir, int(user), int(user))
        self.env = dict(os.environ)
        self.env.update(
            STASIS_RUN_DIR=self.run_dir,
            STASIS_STATE_DIR=self.state_dir,
            STASIS_STORE_DIR=self.store_dir,
            STASIS_LIBEXEC_DIR=self.programs,
        )
        self.env.update(env or {})

    def argv(self, args):
        return self.as_user([os.path.join(self.programs, "stasis")] + [str(arg) for arg in args])

    def as_user(self, argv):
        if self.user:
            argv = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", "--"] + argv
        return argv

    def run(self, *args, timeout=300, check_exit=True, env=None, **more):
        """Run the stasis command to its end."""
        argv = self.argv(args)
        full = dict(self.env)
        full.update(env or {})
        result = subprocess.run(
            argv, env=full, timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True, text=True, **more
        )
        if check_exit and result.returncode != 0:
            raise CommandFailed(argv, result)
        return result

    def json(self, *args, **more):
        """Run with --json and decode what it prints."""
        return json.loads(self.run(args[0], "--json", *args[1:], **more).stdout)

    def start(self, *args, env=None, **more):
        """Run the stasis command in the background."""
        full = dict(self.env)
        full.update(env or {})
        return subprocess.Popen(self.argv(args), env=full, stdin=subprocess.DEVNULL, text=True, **more)

    def cluster_file(self, name, vms=2, memory="256M", extra=""):
        path = os.path.join(self.dir, name + ".ini")
        with open(path, "w") as file:
            file.write("[cluster]\nname = %s\nvms = %d\nmemory = %s\n%s\n" % (name, vms, memory, extra))
        return path

    def up(self, name, vms=2, memory="256M", extra="", timeout=600):
        return self.json("up", "-c", self.cluster_file(name, vms, memory, extra), timeout=timeout)

    def status(self, name):
        return self.json("status", name)["clusters"][0]

    def start_daemon(self, env=None):
        """Start stasisd in the background with more environment, STASIS_FAULT for instance."""
        full = dict(self.env)
        full.update(env or {})
        argv = self.as_user([os.path.join(self.programs, "stasisd"), "--background", "--log-level=debug"])
        subprocess.run(argv, env=full, check=True, timeout=120, capture_output=True, text=True)

    def daemon_pid(self):
        try:
            with open(os.path.join(self.run_dir, "stasisd.lock")) as file:
                pid = int(file.read())
            with open("/proc/%d/comm" % pid) as file:
                return pid if file.read().strip() == "stasisd" else None
        except (OSError, ValueError):
            return None

    def kill_daemon(self):
        pid = self.daemon_pid()
        if pid:
            kill_and_wait(pid)

    def stop_daemon(self):
        """End the daemon in an orderly way, so that the next one has other settings."""
        pid = self.daemon_pid()
        if pid:
            end_and_wait(pid, signal.SIGTERM, 120)

    def vm_pids(self, name):
        return [vm["pid"] for vm in self.status(name)["vms"] if vm["pid"]]

    def kill_vms(self, name, which=None):
        pids = self.vm_pids(name)
        for pid in pids if which is None else [pids[which]]:
            kill_and_wait(pid)

    def exec(self, vm, *command, timeout=120):
        return self.run("exec", vm, "--", *command, timeout=timeout).stdout

    def client(self, timeout=120):
        """A connection to the daemon, for what the command does not offer."""
        return stasis_rpc.Client(os.path.join(self.run_dir, "stasisd.sock"), timeout)

    def put_program(self, vm, name):
        """Copy a guest program to /root of a VM, or of "CLUSTER:all"."""
        self.run("cp", guest_program(name), "%s:/root/%s" % (vm, name))

    def checkpoints(self, cluster):
        return self.json("list", cluster)["checkpoints"]

    def down(self, name):
        """Take a cluster down, after what is under way in it: a checkpoint whose command was killed goes on."""

        def gone():
            result = self.run("down", name, check_exit=False)
            return result.returncode == 0 or "no cluster is named" in result.stderr

        wait_for("cluster %s to be taken down" % name, gone, 300, every=0.5)

    def log(self):
        try:
            with open(os.path.join(self.state_dir, "stasisd.log")) as file:
                return file.read()
        except OSError:
            return ""

    def leaks(self):
        """What is left of this host: processes, sockets, disk layers. Empty after everything was taken down."""
        left = ["process %d %s" % item for item in process_cmdlines(self.dir).items() if item[0] != self.daemon_pid()]
        for top in (self.run_dir, os.path.join(self.state_dir, "clusters")):
            for directory, _, files in os.walk(top):
                for file in files:
                    if not file.startswith("stasisd."):
                        left.append(os.path.join(directory, file))
        return left

    def daemon_fds(self):
        """Open descriptors of the daemon, but for the store's objects that it keeps open, at most OBJECTS_OPEN_MAX."""
        pid, count, objects = self.daemon_pid(), 0, 0
        for fd in os.listdir("/proc/%d/fd" % pid) if pid else []:
            try:
                kept = os.readlink("/proc/%d/fd/%s" % (pid, fd)).startswith((self.store_dir + "/packs/", self.store_dir + "/manifests/"))
            except OSError:
                continue
            objects += kept
            count += not kept
        check(objects <= OBJECTS_OPEN_MAX, "%d objects of the store are open" % objects)
        return count

    def catalogs(self):
        """The files of the catalog that the daemon has open: they lie in the cache, which outlives the store."""
        pid, found = self.daemon_pid(), set()
        for fd in os.listdir("/proc/%d/fd" % pid) if pid else []:
            try:
                target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
            except OSError:
                continue
            if "/catalog-" in target and ".db" in target:
                found.add(target.partition(".db")[0] + ".db")
        return [path + end for path in found for end in ("", "-wal", "-shm")]

    def close(self):
        """Take everything down and fail if anything is left."""
        result = self.run("status", "--json", check_exit=False)
        if result.returncode == 0:
            for cluster in json.loads(result.stdout)["clusters"]:
                self.down(cluster["name"])
        catalogs = self.catalogs()
        self.stop_daemon()
        for path in catalogs if not os.environ.get("STASIS_TEST_KEEP") else []:
            if os.path.exists(path):
                os.remove(path)
        left = self.leaks()
        if not os.environ.get("STASIS_TEST_KEEP"):
            for pid in process_cmdlines(self.dir):
                kill_and_wait(pid)
            shutil.rmtree(self.dir, ignore_errors=True)
        check(not left, "left behind: %s" % left)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
            return
        sys.stderr.write("--- end of %s/stasisd.log\n%s\n" % (self.state_dir, "\n".join(self.log().splitlines()[-40:])))
        try:
            self.close()
        except (AssertionError, subprocess.SubprocessError, OSError) as problem:
            sys.stderr.write("while cleaning up: %s\n" % problem)


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def kill_and_wait(pid):
    end_and_wait(pid, signal.SIGKILL, 30)


def end_and_wait(pid, number, seconds):
    """Send the signal, and wait until all threads of the process have ended, which is when its pidfd tells: until then files are open."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, number)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        check(ended.poll(seconds * 1000), "process %d does not end" % pid)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def main(tests):
    """Run the functions (those whose names hold an argument, if any are given) and print a summary line."""
    wanted = sys.argv[1:]
    passed, failed, skipped = 0, 0, 0
    for test in tests:
        if wanted and not any(word in test.__name__ for word in wanted):
            continue
        begin = time.monotonic()
        try:
            test()
            passed += 1
            verdict = "ok"
        except Skip as reason:
            skipped += 1
            verdict = "skipped: %s" % reason
        except Exception:
            failed += 1
            verdict = "FAILED"
            traceback.print_exc()
        print("%-50s %s (%.1f s)" % (test.__name__, verdict, time.monotonic() - begin), flush=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped), flush=True)
    sys.exit(1 if failed or not passed + skipped else 0)
