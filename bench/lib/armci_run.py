# SPDX-License-Identifier: BSD-3-Clause
"""The ARMCI benchmarks' programs: built with our libarmci and with Debian's ARMCI-MPI, run, and what they print."""

import os
import signal
import statistics
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIB = os.path.join(TOP, "bench", "lib")
BUILD = os.path.abspath(os.environ.get("STASIS_BUILD_DIR", os.path.join(TOP, "build", "release")))
LIBRARY = os.path.join(BUILD, "lib", "libarmci.so.0")
PEER_LIBRARY = "/usr/lib/x86_64-linux-gnu/libarmci-openmpi.a"
PEER = "ARMCI-MPI"
MPICC = "mpicc.openmpi"
MPIRUN = ["mpirun.openmpi", "--oversubscribe", "--mca", "pml", "ob1", "--mca", "btl", "self,vader",
          "--mca", "osc", "^rdma,ucx"]


class Failed(Exception):
    """A program could not be built, or did not end well; the text says how."""


def build(source, directory, library, peer=True):
    """Compile a program of bench/lib against both; a dictionary of whose it is -> its path."""
    made = {}
    name = os.path.splitext(source)[0]
    for whose in ("ours", "peer") if peer else ("ours",):
        made[whose] = os.path.join(directory, "%s.%s" % (name, whose))
        with_ours = ["-I" + os.path.join(TOP, "include")]
        line = [MPICC, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", made[whose]] + (with_ours if whose == "ours" else [])
        line += [os.path.join(LIB, source), os.path.abspath(library) if whose == "ours" else PEER_LIBRARY, "-lm"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise Failed("cannot build %s: %s" % (made[whose], done.stderr.strip()))
    return made


def environment(library, more=None):
    """The caller's, with what Open MPI wants from root, and where our library is."""
    full = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", LC_ALL="C")
    full["LD_LIBRARY_PATH"] = os.path.dirname(os.path.abspath(library))
    full.update(more or {})
    return full


def output_of(line, env, seconds):
    """Run to the end, or kill it and all it started; its standard output."""
    process = subprocess.Popen(line, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as problem:
        # mpirun takes its ranks down on SIGTERM; what is deaf to that is killed.
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(problem, subprocess.TimeoutExpired):
            raise Failed("%s has not ended after %d s" % (" ".join(line), seconds)) from None
        raise
    if process.returncode != 0:
        raise Failed("%s: exit %d: %s" % (" ".join(line), process.returncode, (err or out).strip()[-1500:]))
    return out


def mpirun(program, ranks, words, library, more=None, seconds=300):
    """Run a program natively; its output."""
    return output_of(MPIRUN + ["-n", str(ranks), program] + [str(word) for word in words], environment(library, more), seconds)


def results(text):
    """What armci_ops printed: name -> nanoseconds (median, min, max, mean). The program must have checked its own work."""
    found = {}
    for line in text.splitlines():
        # Ranks of other nodes and mpirun itself may print, too.
        if line.startswith("result\t"):
            _, name, median, least, most, mean, batch, count = line.split("\t")
            found[name] = {"median": float(median), "min": float(least), "max": float(most), "mean": float(mean),
                           "batch": int(batch), "count": int(count)}
    if "verified" not in text.splitlines():
        raise Failed("the program did not say that its results are right: %s" % text[-500:])
    return found


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def time_text(ns):
    """Nanoseconds in the unit that suits them."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return "%.3g %s" % (ns / size, unit) if ns < 100 * size else "%.0f %s" % (ns / size, unit)
    return "%.1f ns" % ns


def spread_text(one, text=time_text):
    return "%s (%s–%s)" % (text(one["median"]), text(one["min"]), text(one["max"]))


def ratio_text(value):
    return "×%.2f" % value if value < 9.95 else "×%.0f" % value


def compared(rounds, ours, theirs):
    """Spreads of both and of each round's theirs/ours; ours(round) and theirs(round) are numbers."""
    return {
        "ours": spread([ours(one) for one in rounds]),
        "theirs": spread([theirs(one) for one in rounds]),
        "ratio": spread([theirs(one) / ours(one) for one in rounds]),
    }


def verdict(met):
    return "met" if met else "NOT MET"


COLUMNS = (38, 34, 34, 26)


def row_text(name, cell, goal=None, text=time_text):
    """A line of a table: ours, theirs, ratio theirs/ours, and whether the ratio's median is the goal or better."""
    words = [name, spread_text(cell["ours"], text), spread_text(cell["theirs"], text), spread_text(cell["ratio"], ratio_text)]
    line = "".join(word.ljust(width) for word, width in zip(words, COLUMNS))
    if goal is not None:
        line += "≥ %g: %s" % (goal, verdict(cell["ratio"]["median"] >= goal))
    return "  " + line.rstrip()


def head_text(name, theirs):
    words = [name, "ours", theirs, "ratio theirs/ours", "goal"]
    return "  " + "".join(word.ljust(width) for word, width in zip(words, COLUMNS + (0,))).rstrip()


def machine_text(machine):
    return ("%(cores)d cores (%(processor)s), %(memory_mib)d MiB, Linux %(kernel)s, load average at the start "
            "%(load_average).1f" % machine)


def settings_text():
    """Settings of the caller's that reach our library."""
    found = ["%s=%s" % item for item in sorted(os.environ.items()) if item[0].startswith("STASIS_ARMCI_")]
    return "settings: %s" % (" ".join(found) or "none, all defaults")
