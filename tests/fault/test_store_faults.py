#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A store that is full, failing, read-only, damaged, or of another version: no bad checkpoint passes for good, no good one is lost."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from faulty import FILL, SETTLE_SECONDS, Faulty, collect, pack_stats, store_files
from harness import Skip, check, main, wait_for

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
    """One cluster for the tests that damage files: two good checkpoints, of which the newer, with packs of its own, is the victim."""

    faulty = None

    @classmethod
    def get(cls):
        if not cls.faulty:
            cls.faulty = Faulty()
        faulty = cls.faulty
        for each in faulty.listed()[:-1]:
            faulty.host.run("rm", each)
        collect(faulty.host)
        older = pack_stats(faulty.host.store_dir)
        faulty.host.exec(faulty.name + ":vm0", "sh", "-c", FILL, "1")
        faulty.host.run("checkpoint", faulty.name)
        faulty.ids = faulty.listed()
        check(len(faulty.ids) == 2, "checkpoints: %s" % faulty.ids)
        faulty.pack = os.path.join(faulty.host.store_dir, "packs", max(pack_stats(faulty.host.store_dir) - older, key=lambda pack: pack[2])[0])
        check(os.path.getsize(faulty.pack) > 6000000, "%s is too small" % faulty.pack)
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
    with tmpfs(1000) as store, cluster(store=store) as faulty:
        ids = faulty.ids
        # Seen in advance: nothing is paused, nothing written.
        used = int(sh("du", "-sm", store).split()[0])
        sh("mount", "-o", "remount,size=%dM" % (used + 30), store)
        text = failed(faulty, "checkpoint", faulty.name, say=("the store " + store, "MiB free", "stasis rm"))
        check("%d MiB free" % free_mib(store) in text, "%d MiB are free, it says: %s" % (free_mib(store), text))
        check("pause" not in text.split("stasis checkpoint:")[0], "VMs were paused: %s" % text)
        still_whole(faulty, ids)
        sh("mount", "-o", "remount,size=1000M", store)
        # Gone while it writes.
        filler = os.path.join(store, "lost+found")
        for point in ("ckpt.resume", "ckpt.store", "store.publish"):
            faulty.host.exec(faulty.name + ":vm0", "sh", "-c", FILL, "1")
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
        room_for_nothing(faulty, store)


def room_for_nothing(faulty, store):
    """Room for the VMs but not for the guest image: what was written of it goes again."""
    faulty.host.run("rm", *faulty.listed())
    collect(faulty.host)
    check("packs" not in store_files(store), "packs are left after the last checkpoint's removal: %s" % store_files(store))
    sh("mount", "-o", "remount,size=60M", store)
    failed(faulty, "checkpoint", faulty.name, say=("the store " + store, "free"))
    check(faulty.listed() == [], "listed: %s" % faulty.listed())
    collect(faulty.host)
    check(int(sh("du", "-sm", store).split()[0]) < 2, "a store without checkpoints holds %s" % store_files(store))
    sh("mount", "-o", "remount,size=1000M", store)
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
def test_each_fsync_and_rename_fails(faulty):
    faulty.keep_newest()
    for point in ("store.fsync", "store.rename"):
        last = loop_passages(faulty, point, range(1, 20))
        # Lease, packs, manifest.
        check(last and last >= 4, "only %s of %s" % (last, point))


@shared
def test_writes_fail(faulty):
    faulty.keep_newest()
    last = loop_passages(faulty, "store.write", [2**n + n for n in range(12)])
    check(last and last > 5, "only %s writes" % last)


@shared
def test_file_size_limit(faulty):
    """Writes are cut short: the process may write no larger files. What it wrote goes, and VMs run on."""
    ids = faulty.ids
    faulty.host.exec(faulty.name + ":vm0", "sh", "-c", FILL, "1")
    pid = faulty.host.daemon_pid()
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000001, resource.RLIM_INFINITY))
    text = failed(faulty, "checkpoint", faulty.name, say=("cannot write " + faulty.host.store_dir, "File too large"))
    check(faulty.host.daemon_pid() == pid, "the daemon has ended: %s" % text)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    still_whole(faulty, ids)
    faulty.host.run("checkpoint", faulty.name)
    still_whole(faulty, faulty.listed())


@shared
def test_vanished_store(faulty):
    """The store's directory is moved away while the daemon runs, then another one is in its place, then it is back."""
    store, ids = faulty.host.store_dir, faulty.ids
    away = store + ".away"
    os.rename(store, away)
    try:
        for args in (["checkpoint", faulty.name], ["verify", ids[-1]], ["gc"], ["restart", "--force", faulty.name], ["rm", ids[0]],
                     ["list", faulty.name]):
            failed(faulty, *args, say=(store, "is its file system mounted?"))
        check(not os.path.exists(store), "somebody has made %s anew: %s" % (store, store_files(store)))
        faulty.check_vms()
        os.mkdir(store)
        failed(faulty, "checkpoint", faulty.name, say=(store, "no longer the directory that was opened"))
        failed(faulty, "list", faulty.name, say=(store, "no longer the directory that was opened"))
        check(os.listdir(store) == [], "in the place of the store: %s" % store_files(store))
        os.rmdir(store)
    finally:
        os.rename(away, store)
    faulty.wait_running()
    still_whole(faulty, ids)
    # While a checkpoint is being written.
    for point in ("ckpt.resume", "store.publish"):
        faulty.set_deed("hold")
        faulty.restart_daemon("%s:1:run=%s" % (point, faulty.hook))
        faulty.wait_running()
        process = faulty.host.start("checkpoint", faulty.name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for("the checkpoint to reach %s" % point, faulty.deed_done, SETTLE_SECONDS)
        os.rename(store, away)
        try:
            faulty.tell("release")
            said = process.communicate(timeout=SETTLE_SECONDS)
        finally:
            os.rename(away, store)
        check(process.returncode == 1 and store in said[1], "it says: %s" % (said,))
        still_whole(faulty, ids)


def test_failing_disk():
    """A file system whose disk fails: ext4 on a sparse file that cannot grow any more, until it turns read-only by itself."""
    with tmpfs(1000) as below:
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
                read_only(faulty, store)
                sh("sync", "-f", store)
                subprocess.run(["dd", "if=/dev/zero", "of=" + filler, "bs=64k"], check=False, capture_output=True)
                faulty.host.exec(faulty.name + ":vm0", "sh", "-c", FILL, "1")
                text = failed(faulty, "checkpoint", faulty.name)
                # Which error the kernel chooses is its own affair; the sentence must name the file.
                check(any("cannot %s %s" % (verb, store) in text for verb in ("write", "create", "fsync")), "it says: %s" % text)
                check(faulty.listed() == ids, "listed on a failing disk: %s" % faulty.listed())
                faulty.check_vms()
                faulty.host.stop_daemon()
                sh("umount", store)
                os.remove(filler)
                subprocess.run(["fsck.ext4", "-fy", disk], check=False, capture_output=True)
                # Read-only from the start: it can be read.
                sh("mount", "-o", "loop,ro", disk, store)
                faulty.start_daemon()
                check(faulty.listed() == ids, "listed read-only: %s" % faulty.listed())
                failed(faulty, "checkpoint", faulty.name, say=(store, "Read-only"))
                faulty.check_vms()
                faulty.host.stop_daemon()
                sh("umount", store)
                sh("mount", "-o", "loop", disk, store)
                faulty.start_daemon()
                still_whole(faulty, ids)
                die(faulty)
                faulty.host.run("restart", faulty.name)
                still_whole(faulty, ids)
        finally:
            subprocess.run(["umount", "-l", store], check=False, capture_output=True)


def read_only(faulty, store):
    """The store turns read-only while the daemon runs, and back."""
    ids = faulty.ids
    sh("mount", "-o", "remount,ro", store)
    for args in (["checkpoint", faulty.name], ["rm", ids[0]], ["gc"]):
        failed(faulty, *args, say=(store, "Read-only file system"))
    check(faulty.listed() == ids, "listed read-only: %s" % faulty.listed())
    faulty.check_vms()
    sh("mount", "-o", "remount,rw", store)
    still_whole(faulty, ids)


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


def quarantined(faulty, newer, older, names, *args):
    """A command fails for the newer checkpoint, naming what is damaged and the older one; it is quarantined."""
    text = failed(faulty, *args, say=names + (newer, "newest good checkpoint before it is " + older))
    check(damaged(faulty) == [newer], "%s are quarantined after %s: %s" % (damaged(faulty), args, text))


def damage_newer(faulty, path, how, names, reopen):
    """A file of the newer checkpoint is damaged: it is refused and quarantined, the older one works, mending ends it."""
    older, newer = faulty.ids
    # Found by a restart of a dead cluster.
    die(faulty)
    undo = how(path)
    if reopen:
        faulty.restart_daemon()
    quarantined(faulty, newer, older, names, "restart", newer)
    # The cluster's name now stands for the older one.
    reply = faulty.host.json("restart", faulty.name)
    check(reply["checkpoint"] == older, "restarted from %s" % reply["checkpoint"])
    faulty.wait_running()
    faulty.check_vms()
    # A living cluster is not thrown away for a damaged checkpoint.
    pids = faulty.host.vm_pids(faulty.name)
    quarantined(faulty, newer, older, names, "restart", "--force", newer)
    check(faulty.host.vm_pids(faulty.name) == pids, "VMs were ended for a damaged checkpoint")
    # The quarantine outlives the daemon; a collection beside it takes nothing from the older one.
    faulty.restart_daemon()
    check(damaged(faulty) == [newer], "after a daemon's restart %s are quarantined" % damaged(faulty))
    undo()
    if reopen:
        faulty.restart_daemon()
    faulty.host.run("verify", newer)
    check(damaged(faulty) == [], "%s are still quarantined" % damaged(faulty))
    # Found by a verification, whatever the daemon remembers.
    undo = how(path)
    quarantined(faulty, newer, older, names, "verify", newer)
    faulty.wait_running()
    faulty.host.run("rm", newer)
    collect(faulty.host)
    faulty.host.run("verify", older)
    forget(faulty, path)
    # What was found damaged is stored anew.
    faulty.host.run("checkpoint", faulty.name)
    still_whole(faulty, [older, faulty.listed()[-1]])


def forget(faulty, path):
    """A pack that cannot be read is never deleted by the program, so that a person may mend it."""
    for file in (path, path + ".away"):
        if os.path.exists(file):
            os.remove(file)
    faulty.restart_daemon()
    faulty.wait_running()


# What is damaged, how, whether a daemon has to open the store anew to see it, and what must be named.
PACK_DAMAGE = (("segment", flip, False), ("index", lambda path: flip(path, -150), True), ("header", lambda path: flip(path, 3), True),
               ("truncated", truncate, False), ("missing", lose, False))


def pack_test(name, how, reopen):
    def test(faulty):
        pack = os.path.basename(faulty.pack)
        names = (pack,) if name != "missing" else ("is in no readable pack of the store " + faulty.host.store_dir,)
        damage_newer(faulty, faulty.pack, how, names, reopen)

    test.__name__ = "test_pack_%s" % name
    return shared(test)


def manifest_test(name, how):
    def test(faulty):
        damage_newer(faulty, os.path.join(faulty.host.store_dir, "manifests", faulty.ids[-1]), how, (), False)

    test.__name__ = "test_manifest_%s" % name
    return shared(test)


DAMAGE_TESTS = [pack_test(*each) for each in PACK_DAMAGE]
DAMAGE_TESTS += [manifest_test("flipped", flip), manifest_test("flipped_head", lambda path: flip(path, 30)), manifest_test("truncated", truncate)]


@shared
def test_manifest_missing(faulty):
    """Without its manifest a checkpoint does not exist: the cluster's name stands for the one before."""
    older, newer = faulty.ids
    os.remove(os.path.join(faulty.host.store_dir, "manifests", newer))
    failed(faulty, "verify", newer, say=(newer,))
    failed(faulty, "restart", "--force", newer, say=("no good checkpoint", newer))
    check(faulty.listed() == [older], "listed: %s" % faulty.listed())
    check(faulty.host.json("restart", "--force", faulty.name)["checkpoint"] == older, "not restarted from the older one")
    still_whole(faulty, [older])


@shared
def test_shared_data_damaged(faulty):
    """What all checkpoints have of the guest image is damaged: all are refused, the next checkpoint stores it anew and heals them."""
    older, newer = faulty.ids
    # The first checkpoint began with the image; a collection keeps the order.
    first = max(pack_stats(faulty.host.store_dir), key=lambda pack: pack[2])[0]
    flip(os.path.join(faulty.host.store_dir, "packs", first), 1 << 20)
    pids = faulty.host.vm_pids(faulty.name)
    failed(faulty, "restart", "--force", newer, say=(first, newer))
    failed(faulty, "verify", older, say=(first, "no good checkpoint before"))
    check(damaged(faulty) == [older, newer], "quarantined: %s" % damaged(faulty))
    check(faulty.host.vm_pids(faulty.name) == pids, "VMs were ended for a damaged checkpoint")
    faulty.host.run("checkpoint", faulty.name)
    for each in (older, newer):
        faulty.host.run("verify", each)
    check(damaged(faulty) == [], "quarantined: %s" % damaged(faulty))
    faulty.restart_daemon()
    die(faulty)
    faulty.host.run("restart", newer)
    faulty.wait_running()
    faulty.check_vms()
    # The damaged pack goes with the last checkpoint that was healed: nothing is at home in it that another has.
    faulty.host.run("verify", "--all")
    Shared.faulty = None
    faulty.close()


def catalog_broken(faulty, how):
    before = faulty.host.checkpoints(faulty.name)
    path = faulty.host.catalogs()[0]
    faulty.host.stop_daemon()
    how(path)
    faulty.start_daemon()
    faulty.wait_running()
    check(faulty.host.checkpoints(faulty.name) == before, "the list has changed")


@shared
def test_catalog_broken(faulty):
    ids = faulty.ids
    for how in (os.remove, truncate, lambda path: flip(path, 5), lambda path: flip(path, 60), lambda path: flip(path, 1030), flip):
        catalog_broken(faulty, how)
    # While it is open.
    for path in faulty.host.catalogs():
        if os.path.exists(path):
            os.remove(path)
    check(faulty.listed() == ids, "listed: %s" % faulty.listed())
    faulty.host.run("checkpoint", faulty.name)
    faulty.restart_daemon()
    faulty.wait_running()
    faulty.check_whole()
    check(faulty.ids[:-1] == ids, "listed: %s, before: %s" % (faulty.ids, ids))


@shared
def test_format_broken(faulty):
    def rewrite(line):
        def how(path):
            with open(path) as file:
                text = file.read()
            with open(path, "w") as file:
                file.write(line + text[text.index("\n"):])

        return how

    path, ids = os.path.join(faulty.host.store_dir, "store", "format"), faulty.listed()
    with open(path, "rb") as file:
        whole = file.read()
    for how, say in ((lambda path: flip(path, 3), ("format",)), (os.remove, (faulty.host.store_dir,)),
                     (rewrite("stasis-store 3"), ("version 3",)), (rewrite("stasis-store 1"), ("version 1",)), (truncate, ("format",))):
        faulty.host.stop_daemon()
        how(path)
        failed(faulty, "status", code=3, say=say)
        with open(path, "wb") as file:
            file.write(whole)
        faulty.start_daemon()
    still_whole(faulty, ids)


@shared
def test_manifest_newer(faulty):
    older, newer = faulty.ids
    path = os.path.join(faulty.host.store_dir, "manifests", newer)
    with open(path, "rb") as file:
        whole = file.read()
    later = whole.replace(b"stasis-manifest 2 ", b"stasis-manifest 3 ", 1)
    check(later != whole, "the manifest begins with %r" % whole[:40])
    with open(path, "wb") as file:
        file.write(later)
    pids = faulty.host.vm_pids(faulty.name)
    failed(faulty, "verify", newer, say=(newer, "3"))
    failed(faulty, "restart", "--force", newer, say=(newer, "3"))
    failed(faulty, "show", newer, say=(newer, "3"))
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


if __name__ == "__main__":
    main([test_no_space, test_failing_disk, test_each_fsync_and_rename_fails, test_writes_fail, test_file_size_limit, test_vanished_store]
         + DAMAGE_TESTS
         + [test_manifest_missing, test_catalog_broken, test_format_broken, test_manifest_newer, test_second_operation_while_one_runs,
            test_shared_data_damaged])
