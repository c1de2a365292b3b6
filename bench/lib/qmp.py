# SPDX-License-Identifier: BSD-3-Clause
"""A client of QEMU's machine protocol: commands that can be sent to many VMs before the first answers, events, descriptors."""

import json
import select
import socket
import time


class QmpError(Exception):
    """QEMU refused a command, or does not answer."""


class Monitor:
    """A connection to one monitor. Events are kept until they are asked for; QEMU's own timestamps are in them."""

    def __init__(self, path, seconds=10):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(seconds)
        self.sock.connect(path)
        self.buffer, self.objects, self.events, self.next_id = b"", [], [], 0
        self._receive(time.monotonic() + seconds, lambda item: "QMP" in item)
        self.call("qmp_capabilities")

    def _receive(self, end, wanted):
        """The first object that is wanted; events on the way are kept, the rest is dropped."""
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                item = json.loads(line) if line.strip() else {}
                if "event" in item:
                    self.events.append(item)
                if wanted(item):
                    return item
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise QmpError("QEMU's monitor does not answer")
            data = self.sock.recv(65536)
            if not data:
                raise QmpError("QEMU closed its monitor")
            self.buffer += data

    def send(self, command, fd=None, **arguments):
        """Send a command and return its number, for reply()."""
        self.next_id += 1
        text = json.dumps({"execute": command, "arguments": arguments, "id": self.next_id}).encode() + b"\n"
        if fd is None:
            self.sock.sendall(text)
        else:
            socket.send_fds(self.sock, [text], [fd])
        return self.next_id

    def reply(self, number, seconds=60):
        """The value that QEMU returns for a command that was sent."""
        item = self._receive(time.monotonic() + seconds, lambda item: item.get("id") == number)
        if "error" in item:
            raise QmpError(item["error"].get("desc", "no reason given"))
        return item["return"]

    def call(self, command, fd=None, seconds=60, **arguments):
        return self.reply(self.send(command, fd, **arguments), seconds)

    def wait_event(self, wanted, seconds):
        """The first event, kept or to come, that is wanted."""
        for item in self.events:
            if wanted(item):
                return item
        return self._receive(time.monotonic() + seconds, lambda item: "event" in item and wanted(item))

    def take_events(self):
        """Everything that has arrived so far; nothing is kept."""
        self.call("query-status")
        events, self.events = self.events, []
        return events

    def state(self):
        return self.call("query-status")["status"]

    def close(self):
        self.sock.close()


def call_all(monitors, command, **arguments):
    """One command to all VMs at once: sent to all before the first answer is waited for. Returns what each returned."""
    numbers = [monitor.send(command, **arguments) for monitor in monitors]
    return [monitor.reply(number) for monitor, number in zip(monitors, numbers)]


def event_seconds(event):
    """QEMU's time of an event; its clock is the host's."""
    stamp = event["timestamp"]
    return stamp["seconds"] + stamp["microseconds"] / 1e6
