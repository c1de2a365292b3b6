# SPDX-License-Identifier: BSD-3-Clause
"""A cluster's monitors and RAM, held open: stop, dump, go on."""

import os
import shutil
import time

from qmp import Monitor, call_all
from ram import GuestRam, Populated

from .common import run


class Guests:
    """As methods.py wants a cell: host, name, monitors, rams, scratch."""

    def __init__(self, host, name):
        self.host, self.name = host, name
        self.scratch = os.path.join(host.dir, "qemu")
        os.makedirs(self.scratch, exist_ok=True)
        self.pids = [vm["pid"] for vm in host.status(name)["vms"]]
        self.monitors = [Monitor(vm["debug_qmp"]) for vm in host.status(name)["vms"]]
        self.rams = [GuestRam(vm["pid"], vm["memory_bytes"]) for vm in host.status(name)["vms"]]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for item in self.monitors + self.rams:
            item.close()

    def stop(self):
        call_all(self.monitors, "stop")

    def go_on(self):
        call_all(self.monitors, "cont")

    def dump(self, directory):
        """The RAM of all VMs, which must stand still, as files with holes where there is nothing; their paths."""
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        paths = []
        for at, pid in enumerate(self.pids):
            paths.append(os.path.join(directory, "vm%d.ram" % at))
            run(["cp", "--sparse=always", "/proc/%d/fd/3" % pid, paths[-1]], 300)
        return paths

    def dump_now(self, directory):
        """Stop, dump, go on."""
        self.stop()
        try:
            return self.dump(directory)
        finally:
            self.go_on()

    def populated(self):
        """For migrations: all RAM populated, and afterwards as before."""
        return Populated(self.rams, self.monitors)


def settle(seconds=2.0):
    """After a start, before something counts as idle."""
    os.sync()
    time.sleep(seconds)
