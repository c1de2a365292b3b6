# SPDX-License-Identifier: BSD-3-Clause
"""Frames of docs/formats/rpc.md in plain Python: for tests that talk with stasisd or stand in for it."""
import json
import socket
import struct

MAGIC = b"\x89STASIS\n"
VERSION = 1
FRAME_MAX = 8 << 20
_MASK = (1 << 64) - 1
_P1, _P2, _P3, _P4, _P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                           0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def _rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & _MASK


def _round(acc, lane):
    return _rotl((acc + lane * _P2) & _MASK, 31) * _P1 & _MASK


def xxh64(data, seed=0):
    """XXH64 of bytes."""
    at, size = 0, len(data)
    if size >= 32:
        accs = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
        while at + 32 <= size:
            accs = [_round(a, lane) for a, lane in zip(accs, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(_rotl(a, r) for a, r in zip(accs, (1, 7, 12, 18))) & _MASK
        for a in accs:
            h = ((h ^ _round(0, a)) * _P1 + _P4) & _MASK
    else:
        h = (seed + _P5) & _MASK
    h = (h + size) & _MASK
    while at + 8 <= size:
        h = (_rotl(h ^ _round(0, struct.unpack_from("<Q", data, at)[0]), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= size:
        h = (_rotl(h ^ (struct.unpack_from("<I", data, at)[0] * _P1 & _MASK), 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        h = _rotl(h ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    h = (h ^ (h >> 33)) * _P2 & _MASK
    h = (h ^ (h >> 29)) * _P3 & _MASK
    return h ^ (h >> 32)


def encode(message, blob=b""):
    """The bytes of a frame."""
    text = json.dumps(message).encode()
    head = MAGIC + struct.pack("<III", VERSION, len(text), len(blob))
    head += struct.pack("<I", xxh64(head) & 0xFFFFFFFF)
    return head + struct.pack("<Q", xxh64(head + text + blob)) + text + blob


def _read_exact(sock, count):
    parts = []
    while count:
        part = sock.recv(min(count, 1 << 20))
        if not part:
            raise EOFError("the peer has closed the connection")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read(sock):
    """The next (message, blob) of a socket; EOFError at its end, ValueError for a bad frame."""
    head = _read_exact(sock, 32)
    version, text_len, blob_len, head_check, check = struct.unpack("<IIIIQ", head[8:])
    if head[:8] != MAGIC or version != VERSION or head_check != xxh64(head[:20]) & 0xFFFFFFFF:
        raise ValueError("bad header of a frame")
    if 32 + text_len + blob_len > FRAME_MAX:
        raise ValueError("frame too long")
    payload = _read_exact(sock, text_len + blob_len)
    if check != xxh64(head[:24] + payload):
        raise ValueError("damaged frame")
    return json.loads(payload[:text_len]), payload[text_len:]


class Failure(Exception):
    """A reply that says no."""

    def __init__(self, errno, message):
        super().__init__(message)
        self.errno = errno


class Client:
    """A connection to a daemon."""

    def __init__(self, path, timeout=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.next_id = 0
        self.call("hello", version=VERSION)

    def call(self, op, blob=b"", on_event=None, **members):
        """Send a request; returns the reply and its blob."""
        self.next_id += 1
        self.sock.sendall(encode({"id": self.next_id, "op": op, **members}, blob))
        while True:
            reply, reply_blob = read(self.sock)
            if reply.get("id") != self.next_id:
                continue
            if "ok" not in reply:
                if on_event:
                    on_event(reply)
                continue
            if not reply["ok"]:
                raise Failure(reply.get("errno"), reply.get("message"))
            return reply, reply_blob

    def agent(self, cluster, vm, op, blob=b"", **members):
        """An operation of docs/formats/agent.md in a VM."""
        return self.call("agent", blob, cluster=cluster, vm=vm, request={"op": op, **members})

    def close(self):
        self.sock.close()
