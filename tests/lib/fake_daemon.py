# SPDX-License-Identifier: BSD-3-Clause
"""A stand-in for stasisd: one cluster whose VMs are directories and whose jobs are processes of this host."""
import errno
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import stasis_rpc
from stasis_rpc import Failure


class Job:
    """A process with its output in memory, as an agent keeps it."""

    def __init__(self, argv, cwd, env, with_input):
        self.streams = [bytearray(), bytearray()]
        self.changed = threading.Condition()
        self.taken = 0
        self.process = subprocess.Popen(argv, cwd=cwd, env={**os.environ, **env}, start_new_session=True,
                                        stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.readers = [threading.Thread(target=self._read, args=(i, pipe), daemon=True)
                        for i, pipe in enumerate((self.process.stdout, self.process.stderr))]
        for reader in self.readers:
            reader.start()

    def _read(self, index, pipe):
        while True:
            part = pipe.read1(65536)
            with self.changed:
                if part:
                    self.streams[index] += part
                self.changed.notify_all()
            if not part:
                return

    def ended(self):
        return self.process.poll() is not None and not any(r.is_alive() for r in self.readers)

    def poll(self, offsets, most, wait_s):
        deadline = time.monotonic() + wait_s
        with self.changed:
            while (all(o == len(s) for o, s in zip(offsets, self.streams)) and not self.ended()
                   and time.monotonic() < deadline):
                self.changed.wait(0.02)
            parts = []
            for offset, stream in zip(offsets, self.streams):
                parts.append(bytes(stream[offset:offset + most]) if offset < len(stream) else b"")
                most -= len(parts[-1])
            ended, code = self.ended(), self.process.returncode
            return {"out_bytes": len(parts[0]), "err_bytes": len(parts[1]),
                    "out_size": len(self.streams[0]), "err_size": len(self.streams[1]),
                    "state": "exited" if ended else "running",
                    "code": max(code, 0) if ended else 0,
                    "signal": max(-code, 0) if ended else 0}, b"".join(parts)


class FakeDaemon:
    """Serves a socket. Tests change `state`, `replies` and the jobs' streams under its feet."""

    def __init__(self, run_dir, vm_root, vms=2, name="demo"):
        self.path = os.path.join(run_dir, "stasisd.sock")
        self.root, self.name, self.vms = vm_root, name, vms
        self.state, self.message, self.run, self.up = "running", "", None, True
        self.jobs = {}
        self.requests = []   # every request seen, without blobs
        self.arrived = threading.Condition()
        self.replies = {}    # op → function(request) that answers instead, or raises Failure
        self.checkpoints = []
        self.exported = b"an exported checkpoint\n" * 50000
        self.imported = None
        self.dead = set()    # VMs that have died
        self.connections = []
        for i in range(vms):
            os.makedirs(os.path.join(vm_root, f"vm{i}", "root"), exist_ok=True)
        self.listen()

    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(64)
        threading.Thread(target=self._accept, args=(self.sock,), daemon=True).start()

    def hang_up(self):
        """Close the socket and all connections, as a killed daemon would."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for conn in self.connections:
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections = []

    def await_request(self, since, test, seconds=10):
        """Wait for a request that test() likes among those from number `since` on."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: any(test(request) for request in self.requests[since:]), seconds):
                raise AssertionError(f"no such request came in {seconds} s; since then: {self.requests[since:][-5:]}")

    def _accept(self, sock):
        while True:
            try:
                conn, _ = sock.accept()
            except OSError:
                return
            self.connections.append(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        lock = threading.Lock()
        try:
            while True:
                request, blob = stasis_rpc.read(conn)
                with self.arrived:
                    self.requests.append(request)
                    self.arrived.notify_all()
                threading.Thread(target=self._answer, args=(conn, lock, request, blob), daemon=True).start()
        except (EOFError, OSError):
            conn.close()

    def _answer(self, conn, lock, request, blob):
        op, reply_blob = request.get("op"), b""
        try:
            if op in self.replies:
                reply = self.replies[op](request)
            elif op == "agent":
                reply, reply_blob = self._agent(request, blob)
            else:
                reply = getattr(self, "op_" + op.replace(".", "_"))(request)
            frame = stasis_rpc.encode({"id": request["id"], "ok": True, **reply}, reply_blob)
        except Failure as failure:
            frame = stasis_rpc.encode({"id": request["id"], "ok": False, "errno": failure.errno,
                                       "message": str(failure)})
        except OSError as failure:
            frame = stasis_rpc.encode({"id": request["id"], "ok": False, "errno": failure.errno,
                                       "message": str(failure)})
        try:
            with lock:
                conn.sendall(frame)
        except OSError:
            pass

    # --- the daemon's operations ---

    def cluster(self):
        vms = [{"name": f"vm{i}", "state": "dead" if f"vm{i}" in self.dead else "running", "pid": 1000 + i,
                "address": f"10.77.0.{i + 1}", "memory_bytes": 512 << 20, "resident_bytes": 100 << 20,
                "agent": True, "console": os.path.join(self.root, f"vm{i}.console"), "debug_qmp": ""}
               for i in range(self.vms)]
        return {"name": self.name, "state": self.state, "vms": vms, "accel": "tcg", "spec": {}, "run": self.run,
                "last_checkpoint": None, "last_checkpoint_ns": 0, "phase": None, "message": self.message}

    def named(self, request):
        if request.get("cluster") not in (None, self.name) or not self.up:
            raise Failure(errno.ENOENT, f"there is no cluster '{request.get('cluster')}'")

    def op_hello(self, request):
        return {"version": 1, "stasis_version": "fake", "pid": os.getpid()}

    def op_cluster_up(self, request):
        self.name, self.up = request["spec"]["name"], True
        return {"cluster": self.cluster(), "why": "this is a fake", "seconds": 0.5}

    def op_cluster_down(self, request):
        self.named(request)
        self.up = False
        return {}

    def op_cluster_status(self, request):
        if request.get("cluster"):
            self.named(request)
        return {"clusters": [self.cluster()] if self.up else []}

    def op_run_start(self, request):
        self.named(request)
        self.run = {k: request[k] for k in ("job", "argv", "guest_dir", "work_dir", "ranks", "checkpoint_every_ms")}
        self.run["started_ns"] = time.time_ns()
        argv = request["argv"]
        command = argv[argv.index("-wdir") + 2:]
        self.jobs["vm0", request["job"]] = Job(command, self._path("vm0", request["guest_dir"]), request["env"], False)
        return {}

    def op_run_end(self, request):
        if self.run:
            self.jobs.pop(("vm0", self.run["job"]), None)
        self.run = None
        return {}

    def op_checkpoint(self, request):
        self.named(request)
        return {"checkpoint": {"manifest": self.manifest(), "bytes": 123456789, "logical_bytes": 1 << 30,
                               "damaged": False}}

    def manifest(self):
        return {"format": 2, "id": "demo-20260301-120000-abcd", "cluster": "demo", "tag": "", "host": "here",
                "created_ns": 1772366400 * 10**9, "pause_ns": 25_000_000, "total_ns": 1_500_000_000,
                "machine": {"accel": "tcg", "qemu_version": "7.2"},
                "pause_includes_write": True,
                "cost": {"data_bytes": 96 << 20, "new_bytes": 30 << 20, "stored_bytes": 10 << 20},
                "vms": [{"name": "vm0", "memory_bytes": 512 << 20, "cpus": 1, "ram": {"data_bytes": 64 << 20},
                         "state": {"data_bytes": 30 << 20}, "disk": {"data_bytes": 2 << 20}}],
                "phases": [{"name": name, "start_ns": 5, "duration_ns": 1000000 * (i + 1)}
                           for i, name in enumerate(("precopy", "pause", "ram", "resume", "store"))]}

    def op_restart(self, request):
        self.state = "running"
        return {"cluster": self.cluster(), "checkpoint": request.get("checkpoint", "newest"), "seconds": 1.5,
                "phases": [{"name": "verify", "duration_ns": 1_000_000}]}

    def op_ckpt_list(self, request):
        return {"checkpoints": self.checkpoints}

    def op_ckpt_show(self, request):
        if request["checkpoint"] not in [c["id"] for c in self.checkpoints]:
            raise Failure(errno.ENOENT, f"there is no checkpoint '{request['checkpoint']}'")
        return {"manifest": self.manifest(), "bytes": 123, "logical_bytes": 1 << 30, "damaged": False}

    def op_ckpt_verify(self, request):
        if request["checkpoint"].endswith("bad"):
            raise Failure(errno.EBADMSG, "pack 4f2a is damaged")
        return {"bytes": 42, **({"restored": {"vms": 2, "seconds": 3.25}} if request["restore"] else {})}

    def op_ckpt_rm(self, request):
        self.op_ckpt_show(request)
        return {}

    def op_ckpt_export(self, request):
        fd = os.open(request["path"], os.O_WRONLY)
        self.op_ckpt_show(request)
        with open(fd, "wb") as file:
            file.write(self.exported)
        return {}

    def op_ckpt_import(self, request):
        fd = os.open(request["path"], os.O_RDONLY)
        with open(fd, "rb") as file:
            data = file.read()
        if data != self.exported:
            raise Failure(errno.EBADMSG, "the exported checkpoint is cut short")
        self.imported = data
        return {"checkpoint": "demo-20260301-120000-abcd"}

    def op_store_prune(self, request):
        keep = request.get("keep", 0) or 1
        gone = [c["id"] for c in self.checkpoints[:-keep]]
        if not request["dry_run"]:
            self.checkpoints = self.checkpoints[-keep:]
        return {"removed": gone, "collected": None if request["dry_run"] else self.op_store_gc(request)}

    def op_store_gc(self, request):
        return {"packs": 12, "condemned": 4, "deleted": 3, "rewritten": 2, "live_bytes": 5 << 30,
                "freed_bytes": 3 << 20, "waiting": 1}

    def op_store_stats(self, request):
        return {"where": "s3://bucket/demo", "checkpoints": 7, "damaged": 1, "packs": 12, "pack_bytes": 2 << 30, "chunks": 1048576,
                "chunk_bytes": 4 << 30, "logical_bytes": 96 << 30, "data_bytes": 10 << 30,
                "index_memory_bytes": 50 << 20, "encrypted": True}

    # --- the agents' operations ---

    def _path(self, vm, path):
        return os.path.join(self.root, vm, path.lstrip("/"))

    def _agent(self, request, blob):
        self.named(request)
        vm, inner = request["vm"], request["request"]
        if vm in self.dead:
            raise Failure(errno.EHOSTDOWN, f"{vm} has died")
        answer = getattr(self, "agent_" + inner["op"].replace(".", "_"))(vm, inner, blob)
        return answer if isinstance(answer, tuple) else (answer, b"")

    def _job(self, vm, inner):
        if (vm, inner["job"]) not in self.jobs:
            raise Failure(errno.ENOENT, f"there is no job {inner['job']}")
        return self.jobs[vm, inner["job"]]

    def agent_job_start(self, vm, inner, blob):
        cwd = self._path(vm, inner["cwd"])
        self.jobs[vm, inner["job"]] = Job(inner["argv"], cwd, inner["env"], inner["stdin"])
        return {"state": "running"}

    def agent_job_poll(self, vm, inner, blob):
        if max(inner["out"], inner["err"]) > (1 << 62) - 1:
            raise Failure(errno.EPROTO, "an offset is out of range")
        return self._job(vm, inner).poll([inner["out"], inner["err"]], inner["max"], inner["wait_ms"] / 1000)

    def agent_job_stdin(self, vm, inner, blob):
        job = self._job(vm, inner)
        if job.process.poll() is not None:
            raise Failure(errno.EPIPE, "the job reads no more input")
        new = blob[job.taken - inner["offset"]:]
        job.process.stdin.write(new)
        job.process.stdin.flush()
        job.taken += len(new)
        if inner["eof"]:
            job.process.stdin.close()
        return {"accepted": job.taken}

    def agent_job_signal(self, vm, inner, blob):
        os.killpg(self._job(vm, inner).process.pid, inner["signal"])
        return {}

    def agent_job_remove(self, vm, inner, blob):
        job = self.jobs.pop((vm, inner["job"]), None)
        if job and job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
        return {}

    def _stat(self, path):
        st = os.lstat(path)
        kinds = ((os.path.islink, "link"), (os.path.isdir, "dir"), (os.path.isfile, "file"))
        kind = next((k for test, k in kinds if test(path)), "other")
        return {"kind": kind, "size": st.st_size, "mode": st.st_mode & 0o7777, "mtime_ns": st.st_mtime_ns,
                "target": os.readlink(path) if kind == "link" else ""}

    def agent_fs_stat(self, vm, inner, blob):
        return self._stat(self._path(vm, inner["path"]))

    def agent_fs_list(self, vm, inner, blob):
        path = self._path(vm, inner["path"])
        names = [n for n in sorted(os.listdir(path), key=os.fsencode) if n > inner["after"]]
        return {"entries": [{"name": n, **self._stat(os.path.join(path, n))} for n in names[:3]],
                "more": len(names) > 3}

    def agent_fs_read(self, vm, inner, blob):
        with open(self._path(vm, inner["path"]), "rb") as file:
            file.seek(inner["offset"])
            return {"size": os.fstat(file.fileno()).st_size}, file.read(inner["max"])

    def agent_fs_write(self, vm, inner, blob):
        path = self._path(vm, inner["path"])
        with open(path + ".part", "r+b" if inner["offset"] else "wb") as file:
            file.seek(inner["offset"])
            file.write(blob)
        if inner["last"]:
            os.chmod(path + ".part", inner["mode"])
            os.rename(path + ".part", path)
        return {}

    def agent_fs_mkdir(self, vm, inner, blob):
        os.makedirs(self._path(vm, inner["path"]), exist_ok=True)
        return {}

    def agent_fs_symlink(self, vm, inner, blob):
        os.symlink(inner["target"], self._path(vm, inner["path"]))
        return {}

    def agent_fs_remove(self, vm, inner, blob):
        path = self._path(vm, inner["path"])
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
        return {}
