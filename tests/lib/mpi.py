# SPDX-License-Identifier: BSD-3-Clause
"""Programs under mpirun: command line, environment, the layouts of nodes that libarmci is tested in, deadlines, and nothing left behind."""

import os
import signal
import subprocess
import time

# Shared memory between ranks, no fabric for MPI itself, and the windows that ARMCI-MPI is fastest with.
MPIRUN = {
    "openmpi": ["mpirun.openmpi", "--oversubscribe", "--mca", "pml", "ob1", "--mca", "btl", "self,vader",
                "--mca", "osc", "^rdma,ucx"],
    "mpich": ["mpirun.mpich"],
}
# shm: all ranks are one node. ofi: each rank is a node. mixed: nodes of two.
MODES = {
    "shm": {},
    "ofi": {"STASIS_ARMCI_NODE_RANKS": "1", "STASIS_ARMCI_TRANSPORT": "ofi"},
    "mixed": {"STASIS_ARMCI_NODE_RANKS": "2", "STASIS_ARMCI_TRANSPORT": "ofi"},
    "cyclic": {"STASIS_ARMCI_NODES": "2", "STASIS_ARMCI_TRANSPORT": "ofi"},
}
KEPT = ("STASIS_ARMCI_STATS", "STASIS_ARMCI_ARENA")


class Failed(Exception):
    """A run did not end well; the text says how."""


def command(ranks, program, *words, mpi="openmpi", options=()):
    return [*MPIRUN[mpi], *options, "-n", str(ranks), program, *words]


def environment(library_directory=None, mode="shm", more=None):
    """Nothing of the caller's MPI or libarmci settings but those that KEPT names."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("OMPI_", "PMIX_", "STASIS_ARMCI_")) or name in KEPT}
    env.update(MODES[mode])
    env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1",
               OPENBLAS_NUM_THREADS="1")
    if library_directory:
        env["LD_LIBRARY_PATH"] = library_directory
    env.update(more or {})
    return env


def session_members(session):
    """The processes of a session: Open MPI gives each rank a process group of its own, but not a session."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != b"Z":
            found.append(int(entry))
    return found


def shared_files(pids):
    """The files in /dev/shm that processes map; killed ones leave them behind."""
    found = set()
    for pid in pids:
        try:
            with open("/proc/%d/maps" % pid) as file:
                found.update(line.split()[5] for line in file if " /dev/shm/" in line)
        except OSError:
            continue
    return found


def end_all(process):
    """Ask mpirun to end its ranks, then end whatever is left of the session, and its shared memory."""
    shared = shared_files(session_members(process.pid))
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = session_members(process.pid)
        if not left:
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.poll()
        time.sleep(0.02)
    process.wait(10)
    for path in shared:
        if os.path.exists(path):
            os.unlink(path)


def execute(argv, output, env, deadline, cwd=None):
    """Run to the end, output (both streams) to a file. Returns the exit status, negative for a signal, and the wall seconds. Raises Failed at the deadline."""
    begin = time.monotonic()
    with open(output, "wb") as sink:
        process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sink,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(deadline)
            return status, time.monotonic() - begin
        except subprocess.TimeoutExpired:
            raise Failed("not done after %g s" % deadline) from None
        finally:
            end_all(process)


def run(argv, output, env, deadline, cwd=None):
    """As execute(), for a program that must succeed. Returns its wall seconds."""
    status, seconds = execute(argv, output, env, deadline, cwd)
    if status:
        raise Failed("exit status %d" % status if status > 0 else "killed by %s" % signal.Signals(-status).name)
    return seconds


def tail(path, lines=40):
    """The end of an output, for a failure's report."""
    with open(path, errors="replace") as file:
        return "\n".join("    " + line.rstrip() for line in file.readlines()[-lines:])
