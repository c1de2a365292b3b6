# SPDX-License-Identifier: BSD-3-Clause
"""Ratios of NWChem's wall times, ours to Debian's stock binary, as tables, and the remarks that the numbers make."""

import math
import statistics

BINARIES = ("ours", "stock")
# What is asked of the geometric mean over all inputs, by number of ranks, when there are two cores.
GOALS = {2: 0.97, 4: 0.8}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(rounds):
    """Of rounds like {"ours": {"wall_s", "nwchem_s"}, "stock": …}: medians and spreads, and those of each round's ratio."""
    found = {"rounds": len(rounds)}
    for key in ("wall_s", "nwchem_s"):
        found[key] = {name: spread([one[name][key] for one in rounds]) for name in BINARIES}
        found[key]["ratio"] = spread([one["ours"][key] / one["stock"][key] for one in rounds])
    return found


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))


def times_text(one):
    return "%.2f (%.2f–%.2f)" % (one["median"], one["min"], one["max"])


def print_ranks(ranks, cells, out=print):
    """The table of one number of ranks."""
    out("\n%d rank%s" % (ranks, "s" if ranks > 1 else ""))
    out("  %-20s %-22s %-22s %-20s %s" % ("median (min–max)", "ours, wall s", "stock, wall s", "ours/stock", "by NWChem's clock"))
    for cell in cells:
        wall, own = cell["summary"]["wall_s"], cell["summary"]["nwchem_s"]
        out("  %-20s %-22s %-22s %-20s %s" % (cell["input"], times_text(wall["ours"]), times_text(wall["stock"]),
                                              times_text(wall["ratio"]), times_text(own["ratio"])))
    out("  geometric mean of ours/stock: %.3f by wall time, %.3f by NWChem's clock" % (mean_of(cells, "wall_s"),
                                                                                      mean_of(cells, "nwchem_s")))


def mean_of(cells, key):
    return geometric_mean([cell["summary"][key]["ratio"]["median"] for cell in cells])


def remarks(by_ranks, cores, load):
    """Where ours is slower or misses its goal, said by the numbers."""
    found = []
    if load > 0.25 * cores:
        found.append("BUSY: other work was running at the start (load average %.1f); these ratios decide nothing." % load)
    for ranks, cells in by_ranks.items():
        for cell in cells:
            ratio = cell["summary"]["wall_s"]["ratio"]
            if ratio["median"] > 1:
                sure = "in every round" if ratio["min"] > 1 else "not in every round"
                found.append("SLOWER: %s at %d ranks takes ours %.3f times as long, %s." % (cell["input"], ranks, ratio["median"],
                                                                                            sure))
            if ratio["max"] > 1.3 * ratio["min"]:
                found.append("%s at %d ranks: the ratio varies from %.2f to %.2f; the machine was busy, or more rounds are needed."
                             % (cell["input"], ranks, ratio["min"], ratio["max"]))
        if ranks in GOALS and cores == 2:
            mean = mean_of(cells, "wall_s")
            found.append("%s at %d ranks: geometric mean %.3f, at most %.2f wanted." % (
                "GOAL MET" if mean <= GOALS[ranks] else "GOAL MISSED", ranks, mean, GOALS[ranks]))
    if by_ranks and not any(line.startswith("SLOWER") for line in found):
        found.append("Ours is not slower in any median of this run.")
    return found
