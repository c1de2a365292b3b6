# SPDX-License-Identifier: BSD-3-Clause
"""Guest RAM files seen from outside: which pages exist, make all exist, and take back those that only a reader made."""

import ctypes
import errno
import mmap
import os

from qmp import call_all

PAGE = 4096
CHUNK = 1 << 20
QEMU_FD_RAM = 3

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class GuestRam:
    """The RAM file of one VM, a memfd that its QEMU holds under a fixed number."""

    def __init__(self, pid, size):
        self.size = size
        self.fd = os.open("/proc/%d/fd/%d" % (pid, QEMU_FD_RAM), os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(self.fd).st_size != size:
            os.close(self.fd)
            raise RuntimeError("descriptor %d of QEMU %d is not the guest's RAM" % (QEMU_FD_RAM, pid))

    def populated(self):
        return os.fstat(self.fd).st_blocks * 512

    def _seek(self, at, what):
        try:
            return min(os.lseek(self.fd, at, what), self.size)
        except OSError as problem:
            if problem.errno != errno.ENXIO:
                raise
            return self.size

    def holes(self):
        """[(start, end)] of what is not populated."""
        found, at = [], 0
        while at < self.size:
            start = self._seek(at, os.SEEK_HOLE)
            at = self._seek(start, os.SEEK_DATA) if start < self.size else self.size
            if at > start:
                found.append((start, at))
        return found

    def populate(self):
        """Read every page through a mapping, which gives each hole a page of zeros."""
        with mmap.mmap(self.fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ) as mapping:
            for at in range(0, self.size, 64 << 20):
                mapping[at : min(at + (64 << 20), self.size) : PAGE]

    def give_back(self, holes):
        """Make pages of zeros holes again, where there were holes. The VM must be stopped: its memory must not change."""
        buffer, zeros = bytearray(CHUNK), bytes(CHUNK)
        for start, end in holes:
            for at in range(start, end, CHUNK):
                size = min(CHUNK, end - at)
                view = memoryview(buffer)[:size]
                os.preadv(self.fd, [view], at)
                if view == zeros[:size]:
                    punch(self.fd, at, size)
                    continue
                for page in range(0, size, PAGE):
                    if buffer[page : page + PAGE] == zeros[:PAGE]:
                        punch(self.fd, at + page, PAGE)

    def close(self):
        os.close(self.fd)


def punch(fd, offset, size):
    """fallocate(2) with KEEP_SIZE and PUNCH_HOLE, which Python's os module does not offer."""
    if _LIBC.fallocate(fd, 0x01 | 0x02, offset, size) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "cannot punch a hole into guest RAM: %s" % os.strerror(number))


class Populated:
    """With all RAM of the VMs populated, as it is for whoever reads it whole again and again; afterwards as before."""

    def __init__(self, rams, monitors):
        self.rams, self.monitors = rams, monitors

    def __enter__(self):
        self.holes = [ram.holes() for ram in self.rams]
        for ram in self.rams:
            ram.populate()

    def __exit__(self, kind, value, trace):
        if kind is not None:
            return
        call_all(self.monitors, "stop")
        for ram, holes in zip(self.rams, self.holes):
            ram.give_back(holes)
        call_all(self.monitors, "cont")
