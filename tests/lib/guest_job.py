# SPDX-License-Identifier: BSD-3-Clause
"""Jobs in guests over the agent's own protocol: started once, read from any offset, alive across restarts."""

from harness import check, wait_for

MAX = 65536


class Job:
    """A job of an agent; what it has printed is asked for anew each time, since a restart takes it back."""

    def __init__(self, host, cluster, vm, name):
        self.host, self.cluster, self.vm, self.name = host, cluster, vm, name
        self.state, self.code, self.signal = "unknown", 0, 0

    def _call(self, op, **members):
        client = self.host.client()
        try:
            return client.agent(self.cluster, self.vm, op, job=self.name, **members)
        finally:
            client.close()

    def start(self, *argv):
        self._call("job.start", argv=list(argv), env={}, cwd="/root", stdin=False)
        return self

    def _poll(self, out):
        reply, blob = self._call("job.poll", out=out, err=0, max=MAX, wait_ms=0)
        self.state, self.code, self.signal = reply["state"], reply.get("code", 0), reply.get("signal", 0)
        return reply, blob

    def read(self, offset=0):
        """Bytes of standard output from an offset to the end as it was at the first look."""
        reply, blob = self._poll(offset)
        parts, end = [blob[: reply["out_bytes"]]], reply["out_size"]
        offset += len(parts[-1])
        while offset < end:
            reply, blob = self._poll(offset)
            check(reply["out_bytes"] > 0, "%s of %s shows nothing at %d of %d" % (self.name, self.vm, offset, end))
            parts.append(blob[: reply["out_bytes"]])
            offset += len(parts[-1])
        return b"".join(parts)

    def lines(self):
        """Whole lines printed so far."""
        text = self.read().decode()
        return text[: text.rfind("\n") + 1].splitlines()

    def tail(self, size):
        """The last bytes printed so far."""
        end = self._poll(0)[0]["out_size"]
        return self.read(max(0, end - size))

    def check_running(self):
        self._poll(0)
        check(self.state == "running", "%s of %s is %s: code %d, signal %d, last words %s"
              % (self.name, self.vm, self.state, self.code, self.signal, self.read()[-200:]))

    def wait_lines(self, count, seconds=120):
        """Wait until it has printed so many lines; they are returned."""

        def enough():
            lines = self.lines()
            if self.state != "running" and len(lines) < count:
                self.check_running()
            return lines if len(lines) >= count else None

        return wait_for("%d lines of %s in %s" % (count, self.name, self.vm), enough, seconds, every=0.3)
