#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A store that is full, failing, read-only, damaged, or of another version: no bad checkpoint passes for good, no good one is lost."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faulty import SETTLE_SECONDS, Faulty
from harness import Skip, alive, check, main, wait_for

MIB = 1 << 20


def sh(*argv):
    return subprocess.run([str(arg) for arg in argv], check=True, capture_output=True, text=True, timeout=300).stdout


@contextlib.contextmanager
def tmpfs(size_mib):
    if os.getuid() != 0:
        raise Skip("mounting needs root")
    path = tempfile.mkdtemp(prefix="stasis-store-")
    try:
        sh("mount", "-t", "tmpfs", "-o", "size=%dM" % size_mib, "stasis-test", path)
    except subprocess.CalledProcessError as problem:
        os.rmdir(path)
        raise Skip("no tmpfs can be mounted: %s" % problem.stderr)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)
        os.rmdir(path)


@contextlib.contextmanager
def cluster(**more):
    faulty = Faulty(**more)
    try:
        yield faulty
    except BaseException:
        sys.stderr.write("--- end of stasisd.log\n%s\n" % "\n".join(faulty.host.log().splitlines()[-40:]))
        faulty.close(check_leaks=False)
        raise
    faulty.close()


class Shared:
    """One cluster for the tests that damage files: two good checkpoints, of which the newer is the victim."""

    faulty = None

    @classmethod
    def get(cls):
        if not cls.faulty:
            cls.faulty = Faulty()
        faulty = cls.faulty
        ids = faulty.listed()
        for each in ids[:-2]:
            faulty.host.run("rm", each)
        for _ in range(2 - len(ids)):
            faulty.host.run("checkpoint", faulty.name)
        faulty.ids = faulty.listed()
        return faulty

    @classmethod
    def drop(cls):
        faulty, cls.faulty = cls.faulty, None
        if faulty:
            sys.stderr.write("--- end of stasisd.log\n%s\n" % "\n".join(faulty.host.log().splitlines()[-40:]))
            faulty.close(check_leaks=False)


def shared(test):
    def guarded():
        try:
            test(Shared.get())
        except BaseException:
            Shared.drop()
            raise

    guarded.__name__ = test.__name__
    return guarded


def failed(faulty, *args, code=1, say=()):
    """A command must fail with a sentence that holds all these words."""
    result = faulty.host.run(*args, check_exit=False)
    check(result.returncode == code, "%s: exit %d, not %d: %s%s" % (args, result.returncode, code, result.stdout, result.stderr))
    text = result.stdout + result.stderr
    for word in say:
        check(word in text, "%s: no \"%s\" in: %s" % (args, word, text))
    return text


def free_mib(path):
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize // MIB


def still_whole(faulty, ids):
    """The cluster was not harmed and exactly these checkpoints exist, all good."""
    faulty.wait_idle()
    faulty.check_whole()
    check(faulty.ids == ids, "listed: %s, expected: %s" % (faulty.ids, ids))


# ----- full, failing, read-only


def test_no_space():
    with tmpfs(1400) as store, cluster(store=store) as faulty:
        ids = faulty.ids
        # Seen in advance: nothing is paused, nothing written.
        used = int(sh("du", "-sm", store).split()[0])
        sh("mount", "-o", "remount,size=%dM" % (used + 40), store)
        text = failed(faulty, "checkpoint", faulty.name, say=("the store " + store, "MiB free", "may need", "stasis rm"))
        check("%d MiB free" % free_mib(store) in text, "%d MiB are free, it says: %s" % (free_mib(store), text))
        check("pause" not in text.split("stasis checkpoint:")[0], "VMs were paused: %s" % text)
        still_whole(faulty, ids)
        sh("mount", "-o", "remount,size=1400M", store)
        # Gone while it writes.
        filler = os.path.join(store, "lost+found")
        for point in ("ckpt.resume", "ckpt.store", "ckpt.commit"):
            faulty.set_deed("fill", filler=filler)
            faulty.restart_daemon("%s:1:run=%s" % (point, faulty.hook))
            faulty.wait_running()
            text = failed(faulty, "checkpoint", faulty.name, say=("No space left on device",))
            check(faulty.deed_done() == "filled", "%s was not passed" % point)
            check("no space left on the store " + store in text and "are free" in text, "it says: %s" % text)
            check(faulty.listed() == ids, "listed while full: %s" % faulty.listed())
            os.remove(filler)
            still_whole(faulty, ids)
        # Full between the manifest and the catalog: the checkpoint exists.
        faulty.set_deed("fill", filler=filler)
        faulty.restart_daemon("store.catalog:1:run=%s" % faulty.hook)
        faulty.wait_running()
        faulty.host.run("checkpoint", faulty.name)
        check(faulty.deed_done() == "filled", "store.catalog was not passed")
        check(len(faulty.listed()) == 2, "listed while full: %s" % faulty.listed())
        # Another daemon opens the full store and removes what a person wants removed.
        faulty.restart_daemon()
        faulty.wait_running()
        ids = faulty.listed()
        check(len(ids) == 2, "listed by another daemon while full: %s" % ids)
        faulty.host.run("rm", ids[0])
        check(faulty.listed() == ids[1:], "listed after rm: %s" % faulty.listed())
        os.remove(filler)
        faulty.restart_daemon()
        still_whole(faulty, ids[1:])


def test_first_checkpoint_does_not_fit():
    """Room for the VMs but not for the guest image: what was written of it goes again."""
    with tmpfs(1400) as store:
        faulty = None
        with cluster(store=store) as faulty:
            ids = faulty.ids
            used = int(sh("du", "-sm", os.path.join(store, "images")).split()[0])
            faulty.host.run("rm", *ids)
            check(not os.listdir(os.path.join(store, "images")), "images are left after the last checkpoint's removal")
            sh("mount", "-o", "remount,size=%dM" % (used + 60), store)
            failed(faulty, "checkpoint", faulty.name, say=("the store " + store, "free"))
            check(faulty.listed() == [], "listed: %s" % faulty.listed())
            left = int(sh("du", "-sm", store).split()[0])
            check(left < 20, "%d MiB are left in a store without checkpoints" % left)
            sh("mount", "-o", "remount,size=1400M", store)
            faulty.host.run("checkpoint", faulty.name)
            still_whole(faulty, faulty.listed())


def loop_passages(faulty, point, passages):
    """The step fails at its n-th passage; returns the first n that a checkpoint does not reach any more."""
    for n in passages:
        ids = faulty.ids
        log_at = len(faulty.host.log())
        faulty.restart_daemon("%s:%d:fail=EIO" % (point, n))
        faulty.wait_running()
        result = faulty.host.run("checkpoint", faulty.name, check_exit=False)
        if "injected fault at %s" % point not in faulty.host.log()[log_at:]:
            check(result.returncode == 0, "nothing was injected: %s" % result)
            faulty.restart_daemon()
            faulty.check_whole()
            faulty.keep_newest()
            return n
        check(result.returncode == 1 and "injected fault at " + point in result.stderr, "it says: %s" % result)
        still_whole(faulty, ids)
    return None


@shared
def test_each_fsync_fails(faulty):
    faulty.keep_newest()
    last = loop_passages(faulty, "store.fsync", range(1, 50))
    check(last and last > 6, "only %s fsyncs for six parts" % last)


@shared
def test_writes_fail(faulty):
    faulty.keep_newest()
    last = loop_passages(faulty, "store.write", [2**n + n for n in range(16)])
    check(last and last > 16, "only %s writes" % last)


def test_failing_disk():
    """A file system whose disk fails: ext4 on a sparse file that cannot grow any more, until it turns read-only by itself."""
    with tmpfs(1400) as below:
        disk, store, filler = (os.path.join(below, name) for name in ("disk", "store", "filler"))
        os.mkdir(store)
        sh("truncate", "-s", "2G", disk)
        try:
            sh("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-J", "size=8", disk)
            sh("mount", "-o", "loop,errors=remount-ro", disk, store)
        except (OSError, subprocess.CalledProcessError) as problem:
            raise Skip("no file system can be made on a loop device: %s" % problem)
        try:
            with cluster(store=store) as faulty:
                ids = faulty.ids
                sh("sync", "-f", store)
                subprocess.run(["dd", "if=/dev/zero", "of=" + filler, "bs=64k"], check=False, capture_output=True)
                text = failed(faulty, "checkpoint", faulty.name)
                # Which error the kernel chooses is its own affair; the sentence must name the file.
                check("cannot write " + store in text or "cannot create " + store in text, "it says: %s" % text)
                check(faulty.listed() == ids, "listed on a failing disk: %s" % faulty.listed())
                faulty.check_vms()
                faulty.host.stop_daemon()
                sh("umount", store)
                os.remove(filler)
                subprocess.run(["fsck.ext4", "-fy", disk], check=False, capture_output=True)
                # Read-only from the start.
                sh("mount", "-o", "loop,ro", disk, store)
                result = faulty.host.run("status", check_exit=False)
                check(result.returncode == 3 and store in result.stderr and "Read-only" in result.stderr,
                      "with a read-only store: %s" % result)
                sh("umount", store)
                sh("mount", "-o", "loop", disk, store)
                faulty.start_daemon()
                still_whole(faulty, ids)
                faulty.host.kill_vms(faulty.name)
                wait_for("death", lambda: faulty.status()["state"] == "dead", SETTLE_SECONDS)
                faulty.host.run("restart", faulty.name)
                still_whole(faulty, ids)
        finally:
            subprocess.run(["umount", "-l", store], check=False, capture_output=True)


# ----- damage


def flip(path, at=None):
    """Invert one bit in the middle of a file, or somewhere else; returns how to undo it."""
    size = os.path.getsize(path)
    at = size // 2 if at is None else at % size

    def turn():
        stat = os.stat(path)
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    turn()
    return turn


def truncate(path):
    with open(path, "rb") as file:
        whole = file.read()
    os.truncate(path, len(whole) // 2)

    def undo():
        with open(path, "wb") as file:
            file.write(whole)

    return undo


def lose(path):
    os.rename(path, path + ".away")
    return lambda: os.rename(path + ".away", path)


def die(faulty):
    faulty.host.kill_vms(faulty.name)
    wait_for("the cluster to be dead", lambda: faulty.status()["state"] == "dead", SETTLE_SECONDS)


def damaged(faulty):
    return [entry["id"] for entry in faulty.host.checkpoints(faulty.name) if entry["damaged"]]


def damage_part(faulty, part, how):
    """A file of the newer checkpoint is damaged: it is refused and quarantined, the older one works, mending ends it."""
    older, newer = faulty.ids
    path = os.path.join(faulty.host.store_dir, "checkpoints", newer, part)
    names = (part if part != "manifest" else newer, older)
    # Found by a restart of a dead cluster.
    die(faulty)
    undo = how(path)
    failed(faulty, "restart", newer, say=names)
    check(damaged(faulty) == [newer], "after a restart %s are quarantined" % damaged(faulty))
    undo()
    faulty.host.run("verify", newer)
    check(damaged(faulty) == [], "%s are still quarantined" % damaged(faulty))
    # Found by a verification.
    undo = how(path)
    failed(faulty, "verify", newer, say=names)
    check(damaged(faulty) == [newer], "after a verification %s are quarantined" % damaged(faulty))
    # The cluster's name now stands for the older one.
    reply = faulty.host.json("restart", faulty.name)
    check(reply["checkpoint"] == older, "restarted from %s" % reply["checkpoint"])
    faulty.wait_running()
    faulty.check_vms()
    # A living cluster is not thrown away for a damaged checkpoint.
    pids = faulty.host.vm_pids(faulty.name)
    failed(faulty, "restart", "--force", newer, say=names)
    check(faulty.host.vm_pids(faulty.name) == pids, "VMs were ended for a damaged checkpoint")
    # The quarantine outlives the daemon.
    faulty.restart_daemon()
    check(damaged(faulty) == [newer], "after a daemon's restart %s are quarantined" % damaged(faulty))
    undo()
    faulty.host.run("verify", newer)
    check(damaged(faulty) == [], "%s are still quarantined" % damaged(faulty))
    faulty.wait_running()
    still_whole(faulty, [older, newer])


def part_test(part, name, how):
    def test(faulty):
        damage_part(faulty, part, how)

    test.__name__ = "test_%s_%s" % (part.replace(".simg", "").replace(".", "_"), name)
    return shared(test)


PARTS = ("vm0.ram.simg", "vm1.state.simg", "vm1.disk.simg")
PART_TESTS = [part_test(part, name, how) for part in PARTS
              for name, how in (("flipped", flip), ("flipped_index", lambda path: flip(path, -100)), ("truncated", truncate), ("missing", lose))]
PART_TESTS += [part_test("manifest", "flipped", flip), part_test("manifest", "flipped_head", lambda path: flip(path, 30)),
               part_test("manifest", "truncated", truncate)]


@shared
def test_manifest_missing(faulty):
    """Without its manifest a checkpoint does not exist: the cluster's name stands for the one before, its files go at the next start."""
    older, newer = faulty.ids
    lose(os.path.join(faulty.host.store_dir, "checkpoints", newer, "manifest"))
    failed(faulty, "verify", newer, say=(newer,))
    failed(faulty, "restart", "--force", newer, say=("no checkpoint", newer))
    # Even a daemon that still lists it passes it over.
    check(faulty.host.json("restart", "--force", faulty.name)["checkpoint"] == older, "not restarted from the older one")
    faulty.restart_daemon()
    faulty.wait_running()
    check(faulty.listed() == [older], "listed: %s" % faulty.listed())
    die(faulty)
    check(faulty.host.json("restart", faulty.name)["checkpoint"] == older, "not restarted from the older one")
    still_whole(faulty, [older])


def image_paths(faulty):
    manifest = faulty.host.json("show", faulty.ids[-1])["manifest"]
    return {kind: os.path.join(faulty.host.store_dir, "images", manifest["images"][kind]["root"] + ".simg")
            for kind in ("kernel", "initrd", "disk")}


def damage_image(faulty, kind, how):
    """A shared image is damaged: verification names it, and the next checkpoint writes it anew and heals the others."""
    older, newer = faulty.ids
    path = image_paths(faulty)[kind]
    how(path)
    name = os.path.basename(path)
    failed(faulty, "verify", newer, say=(name,))
    failed(faulty, "verify", older, say=(name, "no good checkpoint before"))
    check(damaged(faulty) == [older, newer], "quarantined: %s" % damaged(faulty))
    pids = faulty.host.vm_pids(faulty.name)
    failed(faulty, "restart", "--force", newer, say=(name,))
    check(faulty.host.vm_pids(faulty.name) == pids, "VMs were ended for a damaged checkpoint")
    faulty.host.run("checkpoint", faulty.name)
    for each in (older, newer):
        faulty.host.run("verify", each)
    check(damaged(faulty) == [], "quarantined: %s" % damaged(faulty))
    faulty.restart_daemon()
    faulty.wait_running()
    faulty.check_whole()
    check(len(faulty.ids) == 3, "listed: %s" % faulty.ids)


def image_test(kind, name, how):
    def test(faulty):
        damage_image(faulty, kind, how)

    test.__name__ = "test_image_%s_%s" % (kind, name)
    return shared(test)


IMAGE_TESTS = [image_test(kind, "flipped", flip) for kind in ("kernel", "initrd", "disk")]
IMAGE_TESTS += [image_test("kernel", "missing", os.remove), image_test("disk", "truncated", truncate)]


def catalog_broken(faulty, how):
    before = faulty.host.checkpoints(faulty.name)
    faulty.host.stop_daemon()
    how(os.path.join(faulty.host.store_dir, "catalog.db"))
    faulty.start_daemon()
    faulty.wait_running()
    check(faulty.host.checkpoints(faulty.name) == before, "the list has changed")
    still_whole(faulty, [entry["id"] for entry in before])


@shared
def test_catalog_deleted(faulty):
    catalog_broken(faulty, os.remove)


@shared
def test_catalog_flipped(faulty):
    for at in (5, 60, 1030, None):
        catalog_broken(faulty, lambda path, at=at: flip(path, at))


@shared
def test_catalog_truncated(faulty):
    catalog_broken(faulty, truncate)


@shared
def test_catalog_deleted_while_open(faulty):
    store = faulty.host.store_dir
    for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
        if os.path.exists(os.path.join(store, name)):
            os.remove(os.path.join(store, name))
    ids = faulty.listed()
    faulty.host.run("checkpoint", faulty.name)
    check(len(faulty.listed()) == len(ids) + 1, "listed: %s" % faulty.listed())
    faulty.restart_daemon()
    faulty.wait_running()
    faulty.check_whole()
    check(faulty.ids[:-1] == ids, "listed: %s, before: %s" % (faulty.ids, ids))


def format_broken(faulty, how, say):
    path = os.path.join(faulty.host.store_dir, "format")
    ids = faulty.listed()
    with open(path, "rb") as file:
        whole = file.read()
    faulty.host.stop_daemon()
    how(path)
    failed(faulty, "status", code=3, say=say)
    with open(path, "wb") as file:
        file.write(whole)
    faulty.start_daemon()
    still_whole(faulty, ids)


@shared
def test_format_flipped(faulty):
    format_broken(faulty, flip, ("format",))


@shared
def test_format_missing(faulty):
    format_broken(faulty, os.remove, ("neither a store nor empty",))


@shared
def test_format_newer(faulty):
    def newer(path):
        with open(path, "w") as file:
            file.write("stasis-store 2\n")

    format_broken(faulty, newer, ("format version 2", "versions up to 1"))


@shared
def test_manifest_newer(faulty):
    older, newer = faulty.ids
    path = os.path.join(faulty.host.store_dir, "checkpoints", newer, "manifest")
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "wb") as file:
        file.write(whole.replace(b"stasis-manifest 1 ", b"stasis-manifest 2 ", 1))
    pids = faulty.host.vm_pids(faulty.name)
    failed(faulty, "verify", newer, say=(newer, "2"))
    failed(faulty, "restart", "--force", newer, say=(newer, "2"))
    failed(faulty, "show", newer, say=(newer, "2"))
    check(faulty.host.vm_pids(faulty.name) == pids, "VMs were ended for a checkpoint that cannot be read")
    # It is not broken, so nothing of it is removed; but it is not the newest good one either.
    faulty.restart_daemon()
    faulty.wait_running()
    check(os.path.exists(path), "the checkpoint was removed")
    die(faulty)
    check(faulty.host.json("restart", faulty.name)["checkpoint"] == older, "not restarted from the older one")
    with open(path, "wb") as file:
        file.write(whole)
    faulty.restart_daemon()
    faulty.host.run("verify", newer)
    still_whole(faulty, [older, newer])


# ----- two at once


@shared
def test_second_operation_while_one_runs(faulty):
    ids = faulty.ids
    for point in ("ckpt.pause", "ckpt.store"):
        faulty.set_deed("hold")
        faulty.restart_daemon("%s:1:run=%s" % (point, faulty.hook))
        faulty.wait_running()
        first = faulty.host.start("checkpoint", faulty.name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for("the first to reach %s" % point, faulty.deed_done, SETTLE_SECONDS)
            check(faulty.status()["state"] == "checkpointing", "the cluster is %s" % faulty.status()["state"])
            check(faulty.listed() == ids, "an unfinished checkpoint is listed: %s" % faulty.listed())
            for args in (["checkpoint", faulty.name], ["restart", "--force", faulty.name], ["down", faulty.name]):
                failed(faulty, *args, say=("busy", "checkpoint is under way"))
        finally:
            faulty.tell("release")
            said = first.communicate(timeout=SETTLE_SECONDS)
        check(first.returncode == 0, "the first checkpoint failed: %s" % (said,))
        faulty.check_whole()
        check(faulty.ids[:-1] == ids, "listed: %s, before: %s" % (faulty.ids, ids))
        ids = faulty.ids


def nothing_is_left():
    faulty = Shared.get()
    faulty.host.run("verify", "--all")
    Shared.faulty = None
    faulty.close()


if __name__ == "__main__":
    main([test_no_space, test_first_checkpoint_does_not_fit, test_failing_disk, test_each_fsync_fails, test_writes_fail] + PART_TESTS
         + [test_manifest_missing] + IMAGE_TESTS
         + [test_catalog_deleted, test_catalog_flipped, test_catalog_truncated, test_catalog_deleted_while_open, test_format_flipped,
            test_format_missing, test_format_newer, test_manifest_newer, test_second_operation_while_one_runs, nothing_is_left])
