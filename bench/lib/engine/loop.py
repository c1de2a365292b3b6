# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints and pruning in a loop: what grows."""

import os
import statistics
import time

from guest_job import Job
from harness import CommandFailed, Host

from . import common
from .common import MIB, Skipped, figure, say

NAME = "loop"
KEEP = 5
COUNT, COUNT_QUICK = 1000, 100
EVERY, FROM = 50, 50
MEMORY = "128M"
# A VM that is used a little, but stays as it is: what it wrote to its disk would grow there (its journal at least), and so in the store.
LOAD = "exec /root/page_load 8 2 >/dev/null"
# What counts as flat: a slope within this share of the mean for each 100 checkpoints, or within the slope's own spread.
FLAT = 0.02
SERIES = (("store_bytes", "store", MIB, "MiB"), ("index_bytes", "index memory", MIB, "MiB"),
          ("rss_bytes", "daemon's memory", MIB, "MiB"), ("fds", "open files", 1, ""), ("restart_s", "restart", 1, "s"), ("checkpoint_s", "checkpoint", 1, "s"))


def command_or_skip(host, *words):
    """A command of the new engine; where it does not exist, the section says so."""
    try:
        return host.run(*words)
    except CommandFailed as problem:
        if problem.result.returncode == 2:
            raise Skipped("this build has no working 'stasis %s': %s" % (words[0], (
                problem.result.stderr or problem.result.stdout).strip()[-160:])) from problem
        raise


def index_memory(host):
    """From stasis stats; whole store, or summed over what it lists."""
    stats = host.json("stats")
    for place in (stats, stats.get("store", {}), stats.get("stats", {})):
        if "index_memory_bytes" in place:
            return place["index_memory_bytes"]
    raise RuntimeError("stasis stats --json tells no index_memory_bytes: %s" % sorted(stats))


def resident(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))


def look(bench, host, number, taken):
    """One point of the series."""
    store = os.path.join(host.dir, "store")
    pid = host.daemon_pid()
    point = {"number": number, "store_bytes": common.disk_bytes(store), "index_bytes": index_memory(host),
             "rss_bytes": resident(pid), "fds": host.daemon_fds(), "checkpoint_s": statistics.median(taken)}
    host.kill_vms("loop")
    times = []
    for _ in range(3):
        common.warm(store)
        times.append(common.timed(host.run, "restart", "loop")[0])
        host.kill_vms("loop")
    host.run("restart", "loop")
    point["restart_s"] = statistics.median(times)
    say("  %4d: store %.1f MiB, index %.2f MiB, daemon %.1f MiB, %d files, restart %.3f s, checkpoint %.3f s" % (
        number, point["store_bytes"] / MIB, point["index_bytes"] / MIB, point["rss_bytes"] / MIB, point["fds"], point["restart_s"],
        point["checkpoint_s"]))
    bench.results.sample(NAME, "point", **point)
    return point


def trend(points, key):
    """(slope for each 100 checkpoints, its spread: twice the standard error), by least squares."""
    x = [point["number"] / 100 for point in points]
    y = [point[key] for point in points]
    mean_x, mean_y = statistics.mean(x), statistics.mean(y)
    width = sum((one - mean_x) ** 2 for one in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / width
    rest = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y))
    error = (rest / max(1, len(x) - 2) / width) ** 0.5
    return slope, 2 * error, mean_y


def judge(bench, points):
    points = [point for point in points if point["number"] >= FROM]
    if len(points) < 3:
        raise Skipped("%d points from the %dth checkpoint on are too few for a trend" % (len(points), FROM))
    print("  %-18s %12s %12s %14s   from the %dth on: change for each 100 checkpoints" % ("", "at %d" % points[0]["number"],
                                                                                        "at the end", "greatest", FROM))
    for key, words, unit, name in SERIES:
        slope, error, mean = trend(points, key)
        values = [point[key] / unit for point in points]
        flat = abs(slope) <= max(error, FLAT * abs(mean))
        print("  %-18s %12s %12s %14s   %+.3g ± %.2g %s (%+.2f %%)" % (
            words, figure(values[0]), figure(values[-1]), figure(max(values)), slope / unit, error / unit, name,
            100 * slope / mean if mean else 0))
        if key == "checkpoint_s":
            continue
        bench.results.lines.append({
            "section": NAME, "what": "%s, %d checkpoints, prune to %d" % (words, points[-1]["number"], KEEP),
            "asked": "flat from the 50th on (± 2 % for each 100)", "unit": "% for each 100", "varies": False,
            "measured": {"median": 100 * slope / mean if mean else 0, "min": 100 * (slope - error) / mean if mean else 0,
                         "max": 100 * (slope + error) / mean if mean else 0},
            "met": flat, "good": int(flat), "of": 1})


def run(bench):
    count = bench.options.count or (COUNT_QUICK if bench.quick else COUNT)
    every = EVERY if count >= 3 * EVERY + FROM else max(5, count // 10)
    if bench.quick:
        print("  %d checkpoints instead of %d, a look at every %dth" % (count, COUNT, every))
    points, taken = [], []
    with Host() as host:
        host.up("loop", vms=1, memory=MEMORY)
        command_or_skip(host, "stats")
        host.run("checkpoint", "loop")
        command_or_skip(host, "prune", "loop", "--keep", str(KEEP))
        host.run("cp", bench.program("page_load"), "loop:vm0:/root/page_load")
        load = Job(host, "loop", "vm0", "load").start("sh", "-c", LOAD)
        begin = time.monotonic()
        for number in range(1, count + 1):
            taken.append(common.timed(host.run, "checkpoint", "loop")[0])
            host.run("prune", "loop", "--keep", str(KEEP))
            if number % every == 0 or number == count:
                points.append(look(bench, host, number, taken[-every:]))
        load.check_running()
        left = len(host.checkpoints("loop"))
        if left != KEEP:
            raise RuntimeError("%d checkpoints are left instead of %d" % (left, KEEP))
        print("  %d checkpoints in %.0f s" % (count, time.monotonic() - begin))
    judge(bench, points)
