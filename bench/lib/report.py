# SPDX-License-Identifier: BSD-3-Clause
"""Medians, spreads and ratios of a run, as tables, and the remarks that the numbers themselves make."""

import os
import platform
import statistics
import subprocess
import time

MIB = 1 << 20
METRICS = (("pause", "pause_ms"), ("capture", "capture_ms"), ("total", "total_ms"), ("stored", "bytes"))
PEERS = ("stop+migrate", "background", "virsh save", "virsh save, packed")
OURS = ("ours", "ours, full RAM", "ours, background")


def file_system(path):
    """Type of the file system that holds a path."""
    best = ("", "unknown")
    with open("/proc/self/mounts") as file:
        for line in file:
            _, where, kind = line.split()[:3]
            inside = os.path.realpath(path).startswith(where.rstrip("/") + "/")
            if inside and len(where) >= len(best[0]):
                best = (where, kind)
    return best[1]


def machine(directory):
    """What the numbers depend on."""
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    qemu = os.environ.get("STASIS_QEMU") or "qemu-system-x86_64"
    version = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": memory,
        "kernel": platform.release(),
        "qemu": version,
        "file_system": file_system(directory),
        "accelerator": "accelerator unknown",
        "load_average": os.getloadavg()[0],
    }


def summarize(samples):
    """method -> metric -> {median, min, max}; bytes are MiB."""
    found = {}
    for name in OURS + PEERS:
        own = [sample for sample in samples if sample["method"] == name]
        if not own:
            continue
        found[name] = {}
        for metric, key in METRICS:
            values = [sample[key] / (MIB if key == "bytes" else 1) for sample in own]
            found[name][metric] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return found


def ratios(summary):
    """(peer, ours) -> metric -> theirs/ours."""
    found = {}
    for peer in PEERS:
        for own in OURS:
            if peer in summary and own in summary:
                found["%s / %s" % (peer, own)] = {
                    metric: summary[peer][metric]["median"] / summary[own][metric]["median"] for metric, _ in METRICS
                }
    return found


def number(value):
    return "%.1f" % value if value < 99.5 else "%.0f" % value


def cell_text(one):
    return "%s (%s–%s)" % (number(one["median"]), number(one["min"]), number(one["max"]))


def ratio_text(value):
    return "×%.2f" % value if value < 9.95 else "×%.0f" % value


def median_of(samples, method, get):
    values = [get(sample) for sample in samples if sample["method"] == method]
    return statistics.median(values) if values else 0.0


def phases_line(samples, method):
    """Where our time goes: the phases in their order, those of the pause in brackets."""
    own = [sample for sample in samples if sample["method"] == method]
    parts = []
    for name in own[0]["phases_ms"] if own else ():
        text = "%s %s" % (name, number(statistics.median(sample["phases_ms"].get(name, 0) for sample in own)))
        parts.append(("[" if name == "pause" else "") + text + ("]" if name == "resume" else ""))
    return "%s, ms: %s" % (method, ", ".join(parts))


def print_cell(cell, out=print):
    """The table of one cell."""
    samples, summary = cell["samples"], cell["summary"]
    out("\n%d VM%s × %d MiB" % (cell["vms"], "s" if cell["vms"] > 1 else "", cell["memory_mib"]))
    out("  %-36s %-24s %-24s %-24s %s" % ("median (min–max)", "pause ms", "capture ms", "total ms", "stored MiB"))
    for name, metrics in summary.items():
        out("  %-36s " % name + " ".join("%-24s" % cell_text(metrics[metric]) for metric, _ in METRICS).rstrip())
    for name, reason in cell["refused"].items():
        out("  %-36s refused here: %s" % (name, reason))
    for name, values in cell["ratios"].items():
        out("  %-36s " % name + " ".join("%-24s" % ratio_text(values[metric]) for metric, _ in METRICS).rstrip())
    for name in [name for name in OURS if name in summary]:
        out("  %s; %s MiB of RAM populated" % (
            phases_line(samples, name), number(median_of(samples, name, lambda sample: sample["populated_bytes"] / MIB))))
    out("  all RAM captured, after the first VM was stopped: %s" % ", ".join(
        "%s %s ms" % (name, number(median_of(samples, name, lambda sample: sample["complete_ms"]))) for name in OURS if name in summary))
    out("  ours also stores %s MiB of disk, within its total; by QEMU's events its pause was %s ms" % (
        number(median_of(samples, "ours", lambda sample: sample["disk_bytes"] / MIB)),
        number(median_of(samples, "ours", lambda sample: sample["pause_events_ms"]))))
    if "background" in summary:
        out("  background: each VM stops at an instant of its own; first stop to last run was %s ms"
            % number(median_of(samples, "background", lambda sample: sample["pause_span_ms"])))


def print_overview(cells, out=print):
    """All cells in one table: our pause and total, and the ratios."""
    names = list(dict.fromkeys(name for cell in cells for name in cell["ratios"]))
    out("\nRatios theirs/ours of medians (above 1: ours is better), pause | total | stored")
    out(("  %-14s" % "" + "".join("%-34s" % name for name in names)).rstrip())
    for cell in cells:
        line = "  %-14s" % ("%d × %d MiB" % (cell["vms"], cell["memory_mib"]))
        for name in names:
            values = cell["ratios"].get(name)
            text = " | ".join(ratio_text(values[metric]) for metric in ("pause", "total", "stored")) if values else "refused"
            line += "%-34s" % text
        out(line.rstrip())


def remarks(cells):
    """Where ours is worse, said by the numbers."""
    found = []
    for metric, what in (("pause", "stops the VMs longer"), ("capture", "captures slower"), ("total", "takes longer in all"),
                         ("stored", "stores more")):
        for name in dict.fromkeys(name for cell in cells for name in cell["ratios"]):
            peer, own = name.split(" / ")
            seen = [cell for cell in cells if name in cell["ratios"]]
            worse = [(cell["ratios"][name][metric], cell) for cell in seen if cell["ratios"][name][metric] < 1]
            if not worse:
                continue
            ratio, cell = min(worse, key=lambda item: item[0])
            medians = [cell["summary"][who][metric]["median"] for who in (own, peer)]
            found.append("SLOWER: %s %s than %s in %d of %d combinations, at worst %s times (%d × %d MiB: %s against %s %s)." % (
                own, what, peer, len(worse), len(seen), number(1 / ratio), cell["vms"], cell["memory_mib"], number(medians[0]),
                number(medians[1]), "MiB" if metric == "stored" else "ms"))
    if not found:
        found.append("Ours is not slower than either in any median of this run.")
    for cell in cells:
        direct = sum(sample.get("pause_includes_write", False) for sample in cell["samples"])
        if direct:
            found.append("%d × %d MiB: %d samples of ours had no room for staging, their pause includes the write of RAM." % (
                cell["vms"], cell["memory_mib"], direct))
        wide = [name for name, one in cell["summary"].items() if one["pause"]["max"] > 3 * max(one["pause"]["median"], 0.1)]
        if wide:
            found.append("%d × %d MiB: the longest pause is more than 3 times the median for %s: a busy machine, or a real tail."
                         % (cell["vms"], cell["memory_mib"], ", ".join(wide)))
    return found
