# SPDX-License-Identifier: BSD-3-Clause
"""From the VMs' resumption to the commit: against raw writing, and against hashing and compressing alone."""

import os
import time

import methods
from harness import Host

from . import common, guests, pause
from .common import MIB, figure, of, say

NAME = "durable"
FACTOR = 1.2
RATE_MIB_S = 64
WRITE_LEAST = 256 * MIB  # fewer bytes tell no bandwidth
BETWEEN_SECONDS = 5
LEVEL = 1  # of zstd, for both
ASKED = "≤ 1.2 × max(written ÷ O_DIRECT bandwidth, hash+compress alone)"


def alone(bench, cost, now, old, where):
    """What the parts take alone, in seconds: hash and compress over these bytes on as many threads as the engine took, and raw
    writing."""
    written = cost["stored_bytes"]
    pairs = ["%s:%s" % pair for pair in zip(now, old)] if old else now
    done = bench.helper("hashzip", "process", cost["threads"], LEVEL, cost["taken_bytes"], cost["new_bytes"], *pairs)
    raw = bench.helper("hashzip", "write", bench.cores, max(written, WRITE_LEAST), 3, where)
    bandwidth = raw["bytes"] * 1e9 / min(raw["write_ns"])
    return {"process_s": done["total_ns"] / 1e9, "write_s": written / bandwidth, "write_bandwidth": bandwidth, "process": done}


def one(bench, host, cluster, kind, old, number):
    """A checkpoint, then its parts alone: beside the running VMs, and while they stand still."""
    store = os.path.join(host.dir, "store")
    manifest, phases, starts, total, _ = methods.committed(host, cluster.name)
    resumed = starts["resume"] + phases["resume"]
    cost = manifest["cost"]
    now = cluster.dump_now(os.path.join(bench.dir, "dump%d" % (number % 2)))
    os.sync()
    beside = alone(bench, cost, now, old, store)
    cluster.stop()
    try:
        quiet = alone(bench, cost, now, old, store)
    finally:
        cluster.go_on()
    sample = bench.results.sample(
        NAME, kind, durable_s=(total - resumed) / 1e3, total_s=total / 1e3, pause_ms=manifest["pause_ns"] / 1e6,
        written_bytes=cost["stored_bytes"], phases_ms=phases, cost=cost, beside=beside, quiet=quiet)
    say("  %-6s resume → commit %.2f s on %d threads; alone: %.2f s beside the VMs, %.2f s quiet; writing %.2f s" % (
        kind, sample["durable_s"], cost["threads"], beside["process_s"], quiet["process_s"], beside["write_s"]))
    return sample, now


def bound(sample, which):
    return FACTOR * max(sample[which]["process_s"], sample[which]["write_s"])


def report(bench, title, samples):
    print("\n%s: median (min–max) of rounds" % title)
    print("  %-8s %22s %16s %22s %22s %22s %18s" % (
        "", "resume → commit, s", "written, MiB", "hash+zip beside, s", "hash+zip quiet, s", "raw writing, s", "÷ bound beside"))
    for kind in ("first", "next"):
        own = [sample for sample in samples if sample["kind"] == kind]
        if not own:
            continue
        print("  %-8s %22s %16s %22s %22s %22s %18s" % (
            kind, of([s["durable_s"] for s in own]), figure(common.spread([s["written_bytes"] / MIB for s in own])["median"]),
            of([s["beside"]["process_s"] for s in own]), of([s["quiet"]["process_s"] for s in own]),
            of([s["beside"]["write_s"] for s in own]), of([s["durable_s"] / bound(s, "beside") for s in own])))
        for which, words in (("beside", "alone beside the running VMs"), ("quiet", "alone, VMs standing still")):
            bench.results.accept(NAME, "%s, %s, %s" % (title, kind, words), ASKED, [bound(s, which) for s in own],
                                 [s["durable_s"] for s in own], "s")
    for key in ("hash_ns", "compress_ns", "write_ns"):
        print("  by the manifest, %s: %s" % (key[:-3], of([sample["cost"][key] / 1e9 for sample in samples], "s")))


def combination(bench, vms, memory, rounds):
    title, samples = "%d × %d MiB" % (vms, memory // MIB), []
    # Guests, staging, dumps and the helper's copies.
    bench.need(memory_bytes=4 * vms * memory, disk_bytes=(6 + rounds) * vms * memory)
    say(title)
    for number in range(rounds):
        with Host(env={"STASIS_STORE_COMPRESSION": str(LEVEL)}) as host:
            name = "durable%d" % number
            host.up(name, vms=vms, memory="%dM" % (memory // MIB))
            pause.pages_load(bench, memory, RATE_MIB_S)(host, name, vms)
            seed_images(host)
            with guests.Guests(host, name) as cluster:
                guests.settle()
                first, old = one(bench, host, cluster, "first", None, 0)
                time.sleep(BETWEEN_SECONDS)
                second, _ = one(bench, host, cluster, "next", old, 1)
                samples += [first, second]
    report(bench, title, samples)


def seed_images(host):
    """The first checkpoint in a store writes kernel, initrd and disk of the image, too: here that is another cluster's."""
    host.up("seed", vms=1, memory="128M")
    host.run("checkpoint", "seed")
    host.down("seed")


def run(bench):
    for vms, memory in [(2, 256 * MIB)] if bench.quick else [(4, 256 * MIB), (2, 1024 * MIB)]:
        try:
            combination(bench, vms, memory, bench.rounds(2, 5))
        except common.Skipped as reason:
            bench.results.skip(NAME, "%d × %d MiB" % (vms, memory // MIB), reason)
