#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The store's documents against the program: what store_tool writes is read by unpack.py, which knows only the documents.

    run_formats.py [store_tool]

The last line is "N passed, N failed, N skipped".
"""
import filecmp
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback

import unpack

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STASIS_BUILD_DIR", os.path.join(ROOT, "build/release"))
MIB = 1 << 20


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def text(size):
    return (b"all work and no play makes a dull guest\n" * (size // 40 + 1))[:size]


def sparse(size, *parts):
    """A file's contents as (size, [(offset, bytes)])."""
    return size, parts


# Sizes around the ends of pages, blocks and levels; holes, pages of zeros, the same page often.
FILES = {
    "empty": sparse(0),
    "one-byte": sparse(1, (0, b"x")),
    "zeros": sparse(3 * MIB + 5),
    "page": sparse(4096, (0, noise(1, 4096))),
    "page-and-a-byte": sparse(4097, (0, noise(2, 4097))),
    "block": sparse(MIB, (0, noise(3, MIB))),
    "block-and-a-byte": sparse(MIB + 1, (0, text(MIB)), (MIB, b"y")),
    "short-page": sparse(5 * MIB + 1000, (0, text(2 * MIB)), (4 * MIB, noise(4, MIB + 1000))),
    "short-page-of-zeros": sparse(2 * MIB + 77, (4096, noise(3, 70000))),
    "holes": sparse(40 * MIB, (7 * MIB + 4096, noise(5, 9 * 4096)), (39 * MIB + 8192, text(300000))),
    "same-page": sparse(2 * MIB, *((i * 8192, noise(6, 4096)) for i in range(256))),
    "three-levels": sparse(258 * MIB + 12, (0, noise(7, 5000)), (255 * MIB, text(2 * MIB)), (258 * MIB, b"end of stream")),
}


class Formats:
    def __init__(self, tool):
        self.tool, self.dir = tool, tempfile.mkdtemp(prefix="stasis-formats-")
        self.paths = []
        for name, (size, parts) in FILES.items():
            self.paths.append(self.path(name))
            with open(self.paths[-1], "wb") as file:
                file.truncate(size)
                for offset, data in parts:
                    file.seek(offset)
                    file.write(data)
        self.store = self.path("store")

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, *words, stdout=subprocess.PIPE, store=None, options=()):
        done = subprocess.run([self.tool, *options, store or self.store, *words], stdout=stdout,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise RuntimeError("%s: %s" % (words, done.stderr.decode()))
        return done.stdout.decode().strip() if stdout == subprocess.PIPE else ""

    def put(self, level="auto", **more):
        return self.run("put", "demo", *self.paths, options=("-l", level, *more.pop("options", ())), **more)

    def compare(self, store, manifest, paths=None):
        streams = unpack.streams(manifest)
        for i, path in enumerate(paths or self.paths):
            unpack.extract(store, streams["vm%d.ram" % i], self.path("out"))
            assert filecmp.cmp(path, self.path("out"), shallow=False), path

    def check_all(self, check_sums=False):
        store = unpack.Store(self.store, check_sums)
        names = store.checkpoints()
        assert names and names == sorted(self.run("list").split()), names
        for name in names:
            self.compare(store, store.manifest(name))

    def test_documents(self):
        """A checkpoint, read by the documents."""
        self.put()
        self.check_all(check_sums=True)

    def test_raw(self):
        """Segments that are not compressed."""
        self.run("gc")
        self.put("raw", store=self.path("raw"))
        store = unpack.Store(self.path("raw"), check_sums=True)
        assert all(s[3] == 0 for pack in store.packs for s in pack.segments)
        self.compare(store, store.manifest(store.checkpoints()[0]))

    def test_level(self):
        """Segments of a high level, and nodes that are not compressed."""
        self.put("19", store=self.path("level"))
        store = unpack.Store(self.path("level"))
        assert {s[3] for pack in store.packs for s in pack.segments} == {0, 1}
        self.compare(store, store.manifest(store.checkpoints()[0]))

    def test_again(self):
        """A second checkpoint of the same files adds nothing; with a base it has the same roots."""
        first = self.run("list").split()[0]
        second, third = self.put(), self.put(options=("-b", first))
        store = unpack.Store(self.store)
        manifests = [store.manifest(name) for name in (first, second, third)]
        assert manifests[1]["stored_bytes"] == manifests[2]["stored_bytes"] == 0
        assert unpack.streams(manifests[0]) == unpack.streams(manifests[1]) == unpack.streams(manifests[2])

    def test_base(self):
        """With a base of other sizes."""
        base = self.run("list").split()[0]
        paths = self.paths[1:] + self.paths[:1]
        name = self.run("put", "demo", *paths, options=("-b", base))
        store = unpack.Store(self.store)
        self.compare(store, store.manifest(name), paths)
        self.run("rm", name)

    def test_program(self):
        """What the library reads, at random and by segments, is what the documents give."""
        name = self.run("list").split()[0]
        for i, path in enumerate(self.paths):
            with open(self.path("cat"), "wb") as file:
                self.run("cat", name, "vm%d.ram" % i, stdout=file)
            self.run("fill", name, "vm%d.ram" % i, self.path("fill"))
            assert filecmp.cmp(path, self.path("cat"), shallow=False), path
            assert filecmp.cmp(path, self.path("fill"), shallow=False), path

    def test_collected(self):
        """After removals and a collection."""
        names = self.run("list").split()
        before = len(os.listdir(os.path.join(self.store, "packs")))
        other = self.run("put", "other", self.paths[9], options=("-l", "1"))
        for name in names[:-1]:
            self.run("rm", name)
        self.run("rm", other)
        self.run("gc")
        assert len(os.listdir(os.path.join(self.store, "packs"))) == before
        assert not os.listdir(os.path.join(self.store, "leases"))
        self.check_all()

    def test_export(self):
        """An export, by its document; and taken in by another store, and by an encrypted one."""
        name = self.run("list").split()[0]
        self.run("export", name, self.path("export"))
        store, manifest = unpack.export_open(self.path("export"), check_sums=True)
        assert manifest["id"] == name
        self.compare(store, manifest)
        assert self.run("import", self.path("export"), store=self.path("second")) == name
        store = unpack.Store(self.path("second"))
        self.compare(store, store.manifest(name))

    def test_encrypted(self):
        """An encrypted store: nothing of the contents is in it, and what it exports comes back."""
        key = self.path("key")
        with open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write("00112233445566778899aabbccddeeff\n")
        options, where = ("-k", key), self.path("encrypted")
        name = self.put("raw", store=where, options=options)
        for kind in ("packs", "manifests"):
            for entry in os.listdir(os.path.join(where, kind)):
                with open(os.path.join(where, kind, entry), "rb") as file:
                    data = file.read()
                assert b"dull guest" not in data and b"stasis-manifest" not in data, entry
        with open(os.path.join(where, "store/format"), encoding="ascii") as file:
            lines = file.read().split("\n")
        assert lines[2] == "cipher aes-256-gcm" and len(lines[3]) == 6 + 64 and lines[4:] == [""]
        self.run("export", name, self.path("sealed"), store=where, options=options)
        self.run("import", self.path("sealed"), store=self.path("encrypted2"), options=options)
        for i in (7, 11):
            self.run("fill", name, "vm%d.ram" % i, self.path("fill"), store=self.path("encrypted2"), options=options)
            assert filecmp.cmp(self.paths[i], self.path("fill"), shallow=False)

    def test_damage(self):
        """One changed byte anywhere in a pack: both readers refuse it."""
        where = self.path("damaged")
        name = self.run("put", "demo", self.paths[7], store=where)
        (entry,) = os.listdir(os.path.join(where, "packs"))
        pack = os.path.join(where, "packs", entry)
        with open(pack, "rb") as file:
            good = file.read()
        for at in [0, 9, 13, 20, 40, 64, 5000, len(good) - 96, len(good) - 60, len(good) - 20, len(good) - 12,
                   len(good) - 1, len(good) - 200]:
            with open(pack, "wb") as file:
                file.write(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
            for reader in (self.read_documents, self.read_program):
                try:
                    reader(where, name)
                except (unpack.Damaged, RuntimeError, subprocess.CalledProcessError):
                    continue
                raise AssertionError("%s takes a pack with byte %d changed" % (reader.__name__, at))

    def read_documents(self, where, name):
        store = unpack.Store(where, check_sums=True)
        self.compare(store, store.manifest(name), [self.paths[7]])

    def read_program(self, where, name):
        self.run("verify", name, store=where)


def main():
    tool = sys.argv[1] if len(sys.argv) > 1 else os.path.join(BUILD, "tests/store/store_tool")
    passed = failed = 0
    if not os.path.exists(tool):
        print("%s is not built\n0 passed, 0 failed, 1 skipped" % tool)
        return 0
    formats = Formats(tool)
    try:
        for name in [name for name in vars(Formats) if name.startswith("test_")]:
            test = getattr(formats, name)
            try:
                test()
                passed += 1
                print("ok      %s" % test.__doc__.strip())
            except Exception:  # whatever it is, the others run
                failed += 1
                print("FAILED  %s" % test.__doc__.strip())
                traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
    finally:
        shutil.rmtree(formats.dir)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
