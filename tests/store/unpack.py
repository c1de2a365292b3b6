#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads a store in a directory, or an export, not encrypted, by its documents alone (docs/formats/).

    unpack.py STORE                       ids of the checkpoints
    unpack.py STORE ID STREAM FILE        a stream ("vm0.ram", "kernel") into FILE
    unpack.py --export EXPORT STREAM FILE the same out of an exported checkpoint

Nothing here is shared with the program: standard library, and zstd(1) for segments.
"""
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

PAGE, FANOUT, BLOCK = 4096, 256, 1 << 20
ZEROS = bytes(32)


class Damaged(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Damaged(what)


def xxh3_64(data):
    """XXH3, 64 bits, seed 0, for more than 240 bytes; None for fewer, which are not looked at here."""
    if len(data) <= 240:
        return None
    mask = (1 << 64) - 1
    secret = SECRET
    p64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
    p32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
    acc = [p32[2], p64[0], p64[1], p64[2], p64[3], p32[1], p64[4], p32[0]]

    def stripe(at, secret_at):
        words = struct.unpack_from("<8Q", data, at)
        keys = struct.unpack_from("<8Q", secret, secret_at)
        for i in range(8):
            key = words[i] ^ keys[i]
            acc[i ^ 1] = (acc[i ^ 1] + words[i]) & mask
            acc[i] = (acc[i] + (key & 0xFFFFFFFF) * (key >> 32)) & mask

    per_block = (len(secret) - 64) // 8
    blocks = (len(data) - 1) // (64 * per_block)
    for b in range(blocks):
        for s in range(per_block):
            stripe((b * per_block + s) * 64, s * 8)
        keys = struct.unpack_from("<8Q", secret, len(secret) - 64)
        for i in range(8):
            acc[i] = ((acc[i] ^ (acc[i] >> 47) ^ keys[i]) * p32[0]) & mask
    rest = (len(data) - 1 - 64 * per_block * blocks) // 64
    for s in range(rest):
        stripe((blocks * per_block + s) * 64, s * 8)
    stripe(len(data) - 64, len(secret) - 64 - 7)
    keys = struct.unpack_from("<8Q", secret, 11)
    h = len(data) * p64[0] & mask
    for i in range(4):
        product = (acc[2 * i] ^ keys[2 * i]) * (acc[2 * i + 1] ^ keys[2 * i + 1])
        h = (h + ((product & mask) ^ (product >> 64))) & mask
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & mask
    return h ^ (h >> 32)


SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")


class Pack:
    """pack.md. `check_sums`: whether to compute each segment's XXH3, which takes long here."""

    def __init__(self, path, offset=0, name=None, check_sums=False):
        self.path, self.offset, self.check_sums = path, offset, check_sums
        self.bytes = os.path.getsize(path) - offset
        self.segments, self.chunks, self.raw = [], {}, {}
        expect(self.bytes >= 64 + 96, "a pack is too short")
        header, footer = self.read(0, 64), self.read(self.bytes - 96, 96)
        expect(header[:8] == b"STASPAK\n" and header[32:] == bytes(32), "header")
        version, flags = struct.unpack_from("<II", header, 8)
        expect(version == 1 and flags == 0, "version or flags")
        expect(name is None or name == header[16:32].hex() + ".pack", "name")
        at, size, segments, chunks = struct.unpack_from("<QQII", footer)
        expect(footer[56:84] == bytes(28) and footer[84:88] == header[8:12], "footer")
        expect(footer[88:] == b"PAKEND\n\0", "end of the footer")
        expect(size == 32 * segments + 36 * chunks and at + size == self.bytes - 96, "size of the index")
        expect(segments <= 1 << 20 and chunks <= 1 << 24, "counts")
        index = self.read(at, size)
        expect(hashlib.sha256(header + index + footer[:24]).digest() == footer[24:56], "index")
        self.decode(index, at, segments, chunks)

    def decode(self, index, end, segments, chunks):
        offset, first = 64, 0
        for number in range(segments):
            begin, stored, raw, count, codec, check = struct.unpack_from("<QIIIIQ", index, 32 * number)
            expect(begin == offset and 1 <= raw <= 262144 and 1 <= stored <= 266240, "bounds of a segment")
            expect(1 <= count <= 4096 and codec <= 1 and (codec == 1 or stored == raw), "a segment")
            offset += stored
            self.segments.append((begin, stored, raw, codec, check))
            place = 0
            for i in range(first, first + count):
                expect(i < chunks, "number of chunks")
                at = 32 * segments + 36 * i
                (size,) = struct.unpack_from("<I", index, at + 32)
                expect(1 <= size <= 8224, "size of a chunk")
                self.chunks[index[at:at + 32]] = (number, place, size)
                place += size
            expect(place == raw, "chunks do not fill their segment")
            first += count
        expect(first == chunks and offset == end, "the index does not fill the pack")

    def read(self, at, size):
        with open(self.path, "rb") as file:
            file.seek(self.offset + at)
            data = file.read(size)
        expect(len(data) == size, "end of the pack")
        return data

    def segment(self, number):
        if number not in self.raw:
            begin, stored, raw, codec, check = self.segments[number]
            data = self.read(begin, stored)
            if self.check_sums and len(data) > 240:
                expect(xxh3_64(data) == check, "check sum of a segment")
            if codec == 1:
                data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
            expect(len(data) == raw, "raw bytes of a segment")
            self.raw[number] = data
        return self.raw[number]

    def chunk(self, name):
        number, place, size = self.chunks[name]
        data = self.segment(number)[place:place + size]
        expect(hashlib.sha256(data).digest() == name, "a chunk does not match its id")
        return data


class Store:
    """store.md: the objects of a directory."""

    def __init__(self, path, check_sums=False):
        self.path, self.packs = path, []
        if path is None:
            return
        with open(os.path.join(path, "store", "format"), encoding="ascii") as file:
            text = file.read()
        expect(re.fullmatch(r"stasis-store 2\nid [0-9a-f]{32}\ncipher none\n", text), "store/format")
        for name in self.names("packs"):
            if re.fullmatch(r"[0-9a-f]{32}\.pack", name):
                self.packs.append(Pack(os.path.join(path, "packs", name), 0, name, check_sums))

    def names(self, kind):
        path = os.path.join(self.path, kind)
        return sorted(n for n in os.listdir(path) if not n.startswith(".")) if os.path.isdir(path) else []

    def checkpoints(self):
        removed = self.names("removed")
        return [name for name in self.names("manifests") if name not in removed]

    def manifest(self, name):
        with open(os.path.join(self.path, "manifests", name), "rb") as file:
            manifest = manifest_decode(file.read())
        expect(manifest["id"] == name, "id in the manifest")
        return manifest

    def chunk(self, name):
        for pack in self.packs:
            if name in pack.chunks:
                return pack.chunk(name)
        raise Damaged("chunk %s is in no pack" % name.hex())


def manifest_decode(data):
    """manifest.md: the envelope."""
    line, _, rest = data.partition(b"\n")
    match = re.fullmatch(rb"stasis-manifest 2 sha256=([0-9a-f]{64}) bytes=(0|[1-9][0-9]*)", line)
    expect(match, "first line of the manifest")
    expect(len(rest) == int(match[2]) and hashlib.sha256(rest).hexdigest().encode() == match[1], "manifest")
    manifest = json.loads(rest)
    expect(manifest["format"] == 2, "format of the manifest")
    return manifest


def streams(manifest):
    found = {name: manifest["images"][name] for name in ("kernel", "initrd", "disk")}
    for vm in manifest["vms"]:
        for part in ("ram", "state", "disk"):
            found["%s.%s" % (vm["name"], part)] = vm[part]
    return found


def node(store, name, children):
    """tree.md: the ids of a node's children."""
    if name == ZEROS:
        return [ZEROS] * children
    data = store.chunk(name)
    expect(len(data) >= 64, "a node is too short")
    ids, at = [], 32
    for i in range(FANOUT):
        listed = data[i // 8] >> i % 8 & 1
        expect(not listed or i < children, "a child behind the end")
        if i < children:
            ids.append(data[at:at + 32] if listed else ZEROS)
        at += 32 if listed else 0
    expect(at == len(data), "length of a node")
    return ids


def levels(size):
    """Numbers of nodes, from the blocks up."""
    counts = [(size + BLOCK - 1) // BLOCK]
    while counts[-1] > 1:
        counts.append((counts[-1] + FANOUT - 1) // FANOUT)
    return counts


def extract(store, reference, path):
    size, data_bytes = reference["logical_bytes"], 0
    with open(path, "wb") as file:
        file.truncate(size)
        ids = [bytes.fromhex(reference["root"])]
        if size == 0:
            expect(ids == [ZEROS] and reference["data_bytes"] == 0, "root of nothing")
            return
        counts = levels(size)
        for below in [(size + PAGE - 1) // PAGE if h == 0 else counts[h - 1] for h in range(len(counts) - 1, -1, -1)]:
            ids = [child for i, name in enumerate(ids) for child in node(store, name, min(FANOUT, below - FANOUT * i))]
        for page, name in enumerate(ids):
            if name == ZEROS:
                continue
            data = store.chunk(name)
            expect(len(data) == min(PAGE, size - page * PAGE), "size of a page")
            expect(data.strip(b"\0"), "a page of zeros is stored")
            file.seek(page * PAGE)
            file.write(data)
            data_bytes += len(data)
    expect(data_bytes == reference["data_bytes"], "data_bytes")


def export_open(path, check_sums=False):
    """export.md: (a store of one pack, the manifest)."""
    with open(path, "rb") as file:
        data = file.read(639)
        match = re.match(rb"stasis-export 1\nstasis-store 2\nid [0-9a-f]{32}\ncipher none\n"
                         rb"checkpoint ([A-Za-z0-9_-][A-Za-z0-9._-]{0,62})\nmanifest (0|[1-9][0-9]*)\n", data)
        expect(match, "head of the export")
        file.seek(match.end())
        manifest = manifest_decode(file.read(int(match[2])))
    expect(manifest["id"] == match[1].decode(), "id in the manifest")
    store = Store(None)
    store.packs = [Pack(path, match.end() + int(match[2]), None, check_sums)]
    return store, manifest


def main(args):
    if len(args) == 4 and args[0] == "--export":
        store, manifest = export_open(args[1])
        extract(store, streams(manifest)[args[2]], args[3])
    elif len(args) == 4:
        store = Store(args[0])
        extract(store, streams(store.manifest(args[1]))[args[2]], args[3])
    elif len(args) == 1:
        print("\n".join(Store(args[0]).checkpoints()))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
