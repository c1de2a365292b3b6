# SPDX-License-Identifier: BSD-3-Clause
"""What the sections of bench/engine share: helpers in C, samples and their spread, what was asked and what was measured."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LIB = os.path.join(TOP, "bench", "lib")
MIB = 1 << 20
CFLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"]
PROGRAMS = {"membw": ["-lpthread"], "hashzip": ["-lpthread", "-lcrypto", "-lzstd"], "page_load": ["-static"]}


class Skipped(Exception):
    """A section or a part of it cannot run here; the text is the reason."""


def say(text):
    """Progress goes to standard error, results to standard output."""
    print(text, file=sys.stderr, flush=True)


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "samples": list(values)}


def figure(value):
    """A number with as many digits as it deserves."""
    if value != value:
        return "?"
    size = abs(value)
    for least, form in ((100, "%.0f"), (10, "%.1f"), (0.1, "%.2f")):
        if size >= least:
            return form % value
    return "%.2g" % value


def spread_text(one, unit=""):
    return "%s%s (%s–%s)" % (figure(one["median"]), unit and " " + unit, figure(one["min"]), figure(one["max"]))


def of(values, unit=""):
    return spread_text(spread(values), unit)


class Results:
    """Samples for --json, and each acceptance line: asked, measured, met or missed."""

    def __init__(self):
        self.samples, self.lines, self.skipped, self.failed = [], [], [], []

    def sample(self, section, kind, **values):
        self.samples.append({"section": section, "kind": kind, **values})
        return self.samples[-1]

    def accept(self, section, what, asked, limit, measured, unit="", at_most=True):
        """One line of the issue. limit: the number asked; or, where each sample has its own, a list beside measured."""
        limits = limit if isinstance(limit, list) else [limit] * len(measured)
        share = [one / bound for one, bound in zip(measured, limits)]
        met = (statistics.median(share) <= 1) if at_most else (statistics.median(share) >= 1)
        good = sum(one <= 1 if at_most else one >= 1 for one in share)
        self.lines.append({
            "section": section, "what": what, "asked": asked, "limit": spread(limits), "varies": isinstance(limit, list),
            "unit": unit, "measured": spread(measured), "met": met, "good": good, "of": len(measured), "share": spread(share)})
        return met

    def skip(self, section, what, reason):
        reason = " ".join(str(reason).split())
        say("  %s: %s skipped: %s" % (section, what, reason))
        self.skipped.append({"section": section, "what": what, "reason": reason})

    def untold(self, section, what, asked, reason):
        """A line of the issue that could not be measured."""
        self.lines.append({"section": section, "what": what, "asked": asked, "met": None, "reason": " ".join(str(reason).split())})


class Bench:
    """One run."""

    def __init__(self, options, directory):
        self.options, self.dir, self.results = options, directory, Results()
        self.programs, self.machine = {}, {}
        self.quick = options.quick
        self.cores = len(os.sched_getaffinity(0))

    def rounds(self, quick, full):
        return self.options.rounds or (quick if self.quick else full)

    def program(self, name):
        """The path of a helper of bench/lib, compiled when it is first needed."""
        if name not in self.programs:
            path = os.path.join(self.dir, name)
            line = ["cc"] + CFLAGS + ["-o", path, os.path.join(LIB, name + ".c")] + PROGRAMS[name]
            done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
            if done.returncode != 0:
                raise Skipped("cannot compile bench/lib/%s.c (scripts/install-deps.sh --bench installs what it needs): %s"
                              % (name, done.stderr.strip()[-400:]))
            self.programs[name] = path
        return self.programs[name]

    def helper(self, name, *words, seconds=600):
        """Run a helper; the JSON that it prints."""
        return json.loads(run([self.program(name)] + [str(word) for word in words], seconds))

    def bandwidth(self, threads=None, passes=9, mib=512):
        """Bytes per second that threads read together: the best of the passes, and all."""
        found = self.helper("membw", mib, threads or self.cores, passes)["bytes_per_s"]
        return max(found), found

    def scratch(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        return path

    def need(self, memory_bytes=0, disk_bytes=0):
        """Skip what does not fit."""
        with open("/proc/meminfo") as file:
            free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
        if memory_bytes + 512 * MIB > free:
            raise Skipped("needs %d MiB of memory, %d MiB are free" % ((memory_bytes >> 20) + 512, free >> 20))
        room = shutil.disk_usage(self.dir).free
        if disk_bytes + 1024 * MIB > room:
            raise Skipped("needs %d MiB of disk, %d MiB are free" % ((disk_bytes >> 20) + 1024, room >> 20))


def run(argv, seconds, env=None, cwd=None, check_exit=True):
    """Run to the end, or kill it with all it started; its standard output."""
    process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as problem:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(problem, subprocess.TimeoutExpired):
            raise RuntimeError("%s has not ended after %d s" % (" ".join(argv)[:200], seconds)) from None
        raise
    if check_exit and process.returncode != 0:
        raise RuntimeError("%s: exit %d: %s" % (" ".join(argv)[:200], process.returncode, (err or out).strip()[-1000:]))
    return out


def timed(function, *words, **more):
    begin = time.monotonic()
    value = function(*words, **more)
    return time.monotonic() - begin, value


def disk_bytes(path):
    """What a tree occupies on the disk; each file once, however many names it has."""
    total, seen = 0, set()
    for top, _, files in os.walk(path):
        for name in files:
            try:
                status = os.lstat(os.path.join(top, name))
            except FileNotFoundError:
                continue
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total


def warm(path):
    """Read a tree into the page cache; bytes read."""
    total = 0
    for top, _, files in os.walk(path):
        for name in files:
            with open(os.path.join(top, name), "rb", buffering=0) as file:
                while True:
                    data = file.read(4 << 20)
                    if not data:
                        break
                    total += len(data)
    return total


def stored_bytes(manifest):
    """What a checkpoint added to the store, by its manifest: what it says it stored, or its files (those of builds without
    "cost" are its own)."""
    if "cost" in manifest:
        return manifest["cost"]["stored_bytes"]
    return sum(vm[part].get("file_bytes", 0) for vm in manifest["vms"] for part in ("ram", "state", "disk"))


def phase(manifest, name):
    """(start, duration) of a phase in seconds, or None."""
    for item in manifest["phases"]:
        if item["name"] == name:
            return item["start_ns"] / 1e9, item["duration_ns"] / 1e9
    return None


def processor_seconds(pids):
    """Time of processors that processes have used."""
    ticks = 0
    for pid in pids:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
