# SPDX-License-Identifier: BSD-3-Clause
"""The ways to write down a running cluster that are compared: ours, and two that QEMU has of its own. One call, one sample."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from harness import check
from qmp import QmpError, call_all, event_seconds

MIGRATION_SECONDS = 600
CLOCKS_AGREE_MS = 1.0
# 0 is no limit; QEMU's default of 128 MiB/s would be an unfair opponent.
UNLIMITED = 0


class Refused(Exception):
    """QEMU or the kernel cannot do it here; the text is its reason."""


def stops(monitors):
    """Per VM [(stopped, running)] in seconds, from QEMU's own events since the last look."""
    found = []
    for monitor in monitors:
        spans, begin = [], None
        for event in monitor.take_events():
            if event["event"] == "STOP":
                begin = event_seconds(event)
            elif event["event"] == "RESUME" and begin is not None:
                spans.append((begin, event_seconds(event)))
                begin = None
        found.append(spans)
    return found


def pause_of(spans):
    """(first VM stopped to last VM running, longest stop of one VM), in ms."""
    if not all(spans):
        raise RuntimeError("QEMU reported no STOP and RESUME of a VM: %s" % spans)
    flat = [span for one in spans for span in one]
    whole = max(span[1] for span in flat) - min(span[0] for span in flat)
    longest = max(sum(end - begin for begin, end in one) for one in spans)
    return whole * 1e3, longest * 1e3


def committed(host, name):
    """A checkpoint over the daemon's socket: (manifest, phases in ms, their starts in ms, ms from the request to the commit, ms
    to the reply)."""
    client = host.client(MIGRATION_SECONDS)
    seen = []

    def on_event(event):
        if event.get("phase") == "merge" and not seen:
            seen.append(time.monotonic())

    try:
        begin = time.monotonic()
        reply, _ = client.call("checkpoint", cluster=name, on_event=on_event)
        end = time.monotonic()
    finally:
        client.close()
    manifest = reply["checkpoint"]["manifest"]
    phases = {phase["name"]: phase["duration_ns"] / 1e6 for phase in manifest["phases"]}
    starts = {phase["name"]: phase["start_ns"] / 1e6 for phase in manifest["phases"]}
    total = ((seen or [end])[0] - begin) * 1e3
    if "commit" in starts:
        phases["commit"] = total - starts["commit"]  # the manifest cannot hold the time of its own commit
    return manifest, phases, starts, total, (end - begin) * 1e3


def ours(cell):
    """stasis checkpoint: measured by the daemon (manifest) and, to check it, by QEMU's events."""
    stops(cell.monitors)
    manifest, phases, starts, total, settled = committed(cell.host, cell.name)
    size = {kind: sum(vm[kind].get("file_bytes", 0) for vm in manifest["vms"]) for kind in ("ram", "state", "disk")}
    cost = manifest.get("cost")
    whole, longest = pause_of(stops(cell.monitors))
    check(manifest["pause_ns"] / 1e6 > whole - CLOCKS_AGREE_MS, "the manifest says that VMs were stopped for %.1f ms, QEMU's "
          "events say %.1f ms" % (manifest["pause_ns"] / 1e6, whole))
    return {
        "checkpoint": manifest["id"],
        "pause_ms": manifest["pause_ns"] / 1e6,
        "pause_events_ms": whole,
        "pause_longest_ms": longest,
        "capture_ms": starts["resume"] - (starts["pause"] + phases["pause"]),
        # From the first VM stopped until all RAM is in staging.
        "complete_ms": starts["ram"] + phases["ram"] - starts["pause"],
        "total_ms": total,
        "settled_ms": settled,
        "bytes": cost["stored_bytes"] if cost else size["ram"] + size["state"],
        "disk_bytes": size["disk"],
        "cost": cost,
        "phases_ms": phases,
        "pause_includes_write": manifest.get("pause_includes_write", False),
    }


class Migration:
    """QEMU's migration of all VMs into a file each, without x-ignore-shared; afterwards all settings are as before."""

    def __init__(self, cell, **capabilities):
        self.cell, self.monitors = cell, cell.monitors
        self.capabilities = {"x-ignore-shared": False, "events": True, **capabilities}
        self.files, self.before = [], []

    def __enter__(self):
        try:
            for at, monitor in enumerate(self.monitors):
                have = {item["capability"]: item["state"] for item in monitor.call("query-migrate-capabilities")}
                bandwidth = monitor.call("query-migrate-parameters")["max-bandwidth"]
                self.before.append((monitor, {name: have[name] for name in self.capabilities if name in have}, bandwidth))
                self._set(monitor, self.capabilities, UNLIMITED)
                self._open(at, monitor)
        except QmpError as problem:
            self.__exit__(None, None, None)
            raise Refused(str(problem)) from problem
        stops(self.monitors)
        return self

    @staticmethod
    def _set(monitor, capabilities, bandwidth):
        # What is switched off goes first: some cannot be on together.
        pairs = [{"capability": name, "state": state} for name, state in sorted(capabilities.items(), key=lambda item: item[1])]
        monitor.call("migrate-set-capabilities", capabilities=pairs)
        monitor.call("migrate-set-parameters", **{"max-bandwidth": bandwidth})

    def _open(self, at, monitor):
        path = os.path.join(self.cell.scratch, "vm%d.migration" % at)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.files.append(fd)
        monitor.call("getfd", fd=fd, fdname="bench")

    def start(self):
        call_all(self.monitors, "migrate", uri="fd:bench")

    def wait(self):
        """Until the last VM is in its file; an event says so the moment it is."""
        for monitor in self.monitors:
            event = monitor.wait_event(
                lambda item: item["event"] == "MIGRATION" and item["data"]["status"] in ("completed", "failed", "cancelled"),
                MIGRATION_SECONDS,
            )
            if event["data"]["status"] != "completed":
                why = monitor.call("query-migrate").get("error-desc", "no reason given")
                raise Refused("the migration %s: %s" % (event["data"]["status"], why))

    def sync(self):
        """Durable, as ours is."""
        with ThreadPoolExecutor(len(self.files)) as pool:
            list(pool.map(os.fsync, self.files))
        directory = os.open(self.cell.scratch, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def size(self):
        return sum(os.fstat(fd).st_size for fd in self.files)

    def __exit__(self, kind, value, trace):
        for fd in self.files:
            os.close(fd)
        for name in os.listdir(self.cell.scratch):
            os.unlink(os.path.join(self.cell.scratch, name))
        for monitor, capabilities, bandwidth in self.before:
            try:
                if kind is not None:
                    monitor.call("migrate_cancel")
                self._set(monitor, capabilities, bandwidth)
                if not monitor.call("query-status")["running"]:
                    monitor.call("cont")
            except (QmpError, OSError):
                if kind is None:
                    raise


def settle(monitor):
    """The event of the end comes a moment before the state in which "cont" is allowed."""
    end = time.monotonic() + 60
    while monitor.state() != "postmigrate":
        if time.monotonic() > end:
            raise RuntimeError("QEMU stays in state %s" % monitor.state())
        time.sleep(0.0002)


def migrate(cell, inspect=None):
    """Stop all VMs, migrate all into files, let all go on. inspect(directory) sees the files before they are removed."""
    with Migration(cell) as migration:
        begin = time.monotonic()
        call_all(cell.monitors, "stop")
        stopped = time.monotonic()
        migration.start()
        migration.wait()
        captured = time.monotonic()
        for monitor in cell.monitors:
            settle(monitor)
        call_all(cell.monitors, "cont")
        migration.sync()
        end = time.monotonic()
        whole, longest = pause_of(stops(cell.monitors))
        if inspect:
            inspect(cell.scratch)
        return {
            "pause_ms": whole,
            "pause_longest_ms": longest,
            "capture_ms": (captured - stopped) * 1e3,
            "total_ms": (end - begin) * 1e3,
            "bytes": migration.size(),
        }


def background(cell):
    """Background snapshots of all VMs, begun at once. Each VM has an instant of its own."""
    with Migration(cell, **{"background-snapshot": True}) as migration:
        begin = time.monotonic()
        migration.start()
        migration.wait()
        captured = time.monotonic()
        migration.sync()
        end = time.monotonic()
        whole, longest = pause_of(stops(cell.monitors))
        return {
            "pause_ms": longest,
            "pause_span_ms": whole,
            "capture_ms": (captured - begin) * 1e3,
            "total_ms": (end - begin) * 1e3,
            "bytes": migration.size(),
        }
