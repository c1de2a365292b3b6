# SPDX-License-Identifier: BSD-3-Clause
"""What a user may put into the guests: more Debian packages, files, a base disk of their own."""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
from harness import Host, check

CACHE = os.environ.get("STASIS_CACHE_DIR") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "stasis"
)


def test_packages_and_files():
    with Host() as host:
        with open(os.path.join(host.dir, "note"), "w") as file:
            file.write("put in at the start\n")
        os.makedirs(os.path.join(host.dir, "tree", "a", "b"))
        with open(os.path.join(host.dir, "tree", "a", "b", "run"), "w") as file:
            file.write("#!/bin/sh\necho ran\n")
        os.chmod(os.path.join(host.dir, "tree", "a", "b", "run"), 0o750)
        os.symlink("b/run", os.path.join(host.dir, "tree", "a", "link"))
        extra = "[image]\npackages = hello\n[files]\n/etc/stasis-note = note\n/opt/new/deep = tree/\n"
        host.up("img", vms=1, extra=extra, timeout=900)
        check(host.exec("vm0", "hello").startswith("Hello"), "the added package does not run")
        check(host.exec("vm0", "cat", "/etc/stasis-note") == "put in at the start\n", "the file is not there")
        check(host.exec("vm0", "/opt/new/deep/a/link") == "ran\n", "the directory did not come whole")
        check(host.exec("vm0", "stat", "-c", "%a", "/opt/new/deep/a/b/run") == "750\n", "a mode is lost")
        check(host.exec("vm0", "readlink", "/opt/new/deep/a/link") == "b/run\n", "a link became something else")
        bad = host.cluster_file("bad", vms=1, extra="[files]\n/root/x = missing\n")
        result = host.run("up", "-c", bad, check_exit=False)
        check(result.returncode != 0 and "missing: No such file" in result.stderr, "the refusal: %s" % result.stderr)


def test_own_base_disk():
    """A disk that the user names is used where it lies, is never written, and survives its loss through the store."""
    with Host() as host:
        images = os.path.join(CACHE, "images", "rootfs")
        built = [os.path.join(images, key, "disk.raw") for key in sorted(os.listdir(images))]
        built = [path for path in built if os.path.exists(path)]
        check(built, "no root disk in the cache; another test builds it")
        disk = os.path.join(host.dir, "own.raw")
        os.system("cp --sparse=always '%s' '%s'" % (built[0], disk))
        before = os.stat(disk).st_mtime_ns
        host.up("own", vms=1, extra="[image]\ndisk = %s\n" % disk, timeout=900)
        host.exec("vm0", "sh", "-c", "echo mine > /root/mark; sync")
        host.run("checkpoint", "own")
        check(os.stat(disk).st_mtime_ns == before, "the user's disk was written to")
        host.kill_vms("own")
        shutil.move(disk, disk + ".gone")
        host.run("restart", "own")
        check(host.exec("vm0", "cat", "/root/mark") == "mine\n", "the restored disk lost a file")
        check(host.exec("vm0", "md5sum", "/bin/ls"), "the base disk from the store is not readable")


harness.main([test_own_base_disk, test_packages_and_files])
