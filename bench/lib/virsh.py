# SPDX-License-Identifier: BSD-3-Clause
"""libvirt as a peer: a libvirtd of our own in session mode, VMs like those of Stasis under it, `virsh save` and `virsh restore`.

Session mode is what an ordinary user gets. Root would get the system's one daemon instead, with files all over the machine: so
root runs daemon and virsh in a user namespace in which it is user 1000. All files are below one directory; nothing outlives stop().
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import stasis_rpc
from harness import check, kill_and_wait, process_cmdlines, wait_for

AGENT_FRAME_MAX = 192 << 10  # RPC_AGENT_FRAME_MAX
ANSWER_SECONDS = 120
# Formats of a compressed save, by what is asked of them; libvirt 9 does not know zstd.
FASTEST = ("zstd", "lzop", "gzip")
SMALLEST = ("zstd", "gzip", "lzop")
NONCE = "0123456789abcdef"
MONITOR_EVENT = re.compile(r"event (STOP|RESUME) at (\d+\.\d+) for domain '?([^':]+)'?")
DOMAIN = """<domain type='{type}'>
  <name>{name}</name>
  <memory unit='b'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/>{tcg}</features>
  <cpu mode='{cpu}'/>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{console}'/></serial>
    <channel type='unix'>
      <source mode='bind' path='{channel}'/><target type='virtio' name='stasis.agent.0'/>
    </channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio' freePageReporting='on'/>
  </devices>
</domain>
"""


class Missing(Exception):
    """libvirt cannot be had here; the text is the reason."""


class GuestAgent:
    """stasis-agent over a VM's channel, as the daemon talks with it: docs/formats/agent.md."""

    def __init__(self, path, seconds=ANSWER_SECONDS):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(seconds)
        self.sock.connect(path)
        self.buffer, self.next_id = b"", 1
        self.sock.sendall(bytes(AGENT_FRAME_MAX) + stasis_rpc.encode({"id": 1, "op": "hello", "nonce": NONCE, "version": 1}))
        while self._frame()[0].get("nonce") != NONCE:
            pass

    def _fill(self, count):
        while len(self.buffer) < count:
            part = self.sock.recv(1 << 20)
            if not part:
                raise EOFError("the guest's channel was closed")
            self.buffer += part

    def _frame(self):
        """The next whole frame; what is none is skipped."""
        while True:
            at = self.buffer.find(stasis_rpc.MAGIC)
            if at < 0:
                self.buffer = self.buffer[-(len(stasis_rpc.MAGIC) - 1):]
                self._fill(len(self.buffer) + 1)
                continue
            self.buffer = self.buffer[at:]
            self._fill(32)
            _, text, blob = (int.from_bytes(self.buffer[place:place + 4], "little") for place in (8, 12, 16))
            if 32 + text + blob > AGENT_FRAME_MAX:
                self.buffer = self.buffer[1:]
                continue
            self._fill(32 + text + blob)
            frame, self.buffer = self.buffer[32:32 + text + blob], self.buffer[32 + text + blob:]
            return json.loads(frame[:text]), frame[text:]

    def call(self, op, blob=b"", **members):
        self.next_id += 1
        self.sock.sendall(stasis_rpc.encode({"id": self.next_id, "op": op, **members}, blob))
        while True:
            reply, data = self._frame()
            if reply.get("id") == self.next_id and "ok" in reply:
                check(reply["ok"], "%s in a VM of libvirt: %s" % (op, reply.get("message")))
                return reply, data

    def put(self, path, target):
        with open(path, "rb") as file:
            data = file.read()
        step = 64 << 10
        for at in range(0, len(data), step):
            self.call("fs.write", data[at:at + step], path=target, offset=at, mode=0o755, last=at + step >= len(data))

    def start(self, job, *argv, cwd="/root"):
        self.call("job.start", job=job, argv=list(argv), env={}, cwd=cwd, stdin=False)

    def output(self, job, offset=0):
        reply, blob = self.call("job.poll", job=job, out=offset, err=0, max=65536, wait_ms=0)
        return reply, blob[:reply["out_bytes"]]

    def close(self):
        self.sock.close()


class Libvirt:
    """A libvirtd of our own, and VMs in it."""

    def __init__(self, directory, image_dir, accel):
        """image_dir: of the cache, with image.json; accel: "tcg" or "kvm"."""
        for program in ("libvirtd", "virsh"):
            if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin"):
                raise Missing("%s is not installed; scripts/install-deps.sh --bench installs it" % program)
        self.top, self.image_dir, self.accel = directory, image_dir, accel
        with open(os.path.join(image_dir, "image.json")) as file:
            self.image = json.load(file)
        self.env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin", LC_ALL="C",
                        HOME=os.path.join(directory, "home"), XDG_RUNTIME_DIR=os.path.join(directory, "run"),
                        XDG_CONFIG_HOME=os.path.join(directory, "conf"), XDG_CACHE_HOME=os.path.join(directory, "cache"),
                        XDG_DATA_HOME=os.path.join(directory, "data"), LIBVIRT_AUTOSTART="0")
        self.prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"] if os.geteuid() == 0 else []
        self.daemon = self.listener = None
        self.events, self.lock = [], threading.Lock()
        self.domains = {}

    def _configure(self, save_format):
        for name in ("home", "run", "conf/libvirt", "cache", "data", "vms"):
            os.makedirs(os.path.join(self.top, name), mode=0o700, exist_ok=True)
        # 'file': no virtlogd. Nothing is confined, as nothing of ours is.
        with open(os.path.join(self.top, "conf/libvirt/qemu.conf"), "w") as file:
            file.write('stdio_handler = "file"\nsecurity_driver = "none"\nsave_image_format = "%s"\n' % save_format)

    def start(self, save_format="raw"):
        """Start the daemon; the VMs of a daemon before go on. Another format of `save` needs another daemon."""
        self._configure(save_format)
        log = open(os.path.join(self.top, "libvirtd.log"), "ab")
        with log:
            self.daemon = subprocess.Popen(self.prefix + ["libvirtd"], env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, start_new_session=True, cwd=self.top)

        def answers():
            if self.daemon.poll() is not None:
                raise Missing("libvirtd ended at once: %s" % self._log_end())
            return self.virsh("version", check_exit=False, seconds=20).returncode == 0

        try:
            wait_for("libvirtd to answer", answers, 60, 0.2)
        except AssertionError:
            raise Missing("libvirtd does not answer: %s" % self._log_end()) from None
        self.listener = subprocess.Popen(self._argv("qemu-monitor-event", "--loop"), env=self.env, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        threading.Thread(target=self._listen, args=(self.listener,), daemon=True).start()
        return self

    def start_packed(self, name, formats):
        """Another daemon, whose saves are compressed, in the first format that libvirt and this machine know: tried with a VM."""
        refused = []
        for save_format in formats:
            self.stop_daemon()
            self.start(save_format)
            try:
                self.save([name])
                self.restore([name])
                return save_format
            except RuntimeError as problem:
                if "format" not in str(problem):
                    raise
                refused.append("%s: %s" % (save_format, str(problem).rpartition("error: ")[2]))
        raise Missing("libvirt saves in no compressed format here: %s" % "; ".join(refused))

    def _log_end(self):
        with open(os.path.join(self.top, "libvirtd.log"), errors="replace") as file:
            return file.read()[-600:]

    def _listen(self, listener):
        for line in listener.stdout:
            found = MONITOR_EVENT.search(line)
            if found:
                with self.lock:
                    self.events.append((found[3], found[1], float(found[2])))

    def _argv(self, *words):
        return self.prefix + ["virsh", "-q", "-c", "qemu:///session"] + [str(word) for word in words]

    def virsh(self, *words, check_exit=True, seconds=300):
        done = subprocess.run(self._argv(*words), env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=seconds)
        if check_exit and done.returncode != 0:
            raise RuntimeError("virsh %s: %s" % (words[0], done.stderr.strip()[-500:]))
        return done

    def at_once(self, lines, seconds=600):
        """Several virsh at the same time; the time of day at which each ended."""
        running = [subprocess.Popen(self._argv(*words), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True, start_new_session=True) for words in lines]
        ends, end = [0.0] * len(running), time.monotonic() + seconds
        try:
            while not all(ends):
                for at, process in enumerate(running):
                    if not ends[at] and process.poll() is not None:
                        ends[at] = time.time()
                        if process.returncode != 0:
                            raise RuntimeError("virsh %s: %s" % (lines[at][0], process.stderr.read().strip()[-500:]))
                if time.monotonic() > end:
                    raise RuntimeError("virsh %s has not ended after %d s" % (lines[0][0], seconds))
                time.sleep(0.001)
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                process.communicate()
        return ends

    def wait_event(self, name, kind, after):
        """QEMU's own time of a VM's next STOP or RESUME."""

        def seen():
            with self.lock:
                return next((stamp for who, what, stamp in self.events if (who, what) == (name, kind) and stamp >= after), None)

        return wait_for("%s of %s" % (kind, name), seen, 60, 0.01)

    def define(self, name, memory):
        """Boot a VM like those of Stasis: its kernel, disk, devices; not its network."""
        place = os.path.join(self.top, "vms", name)
        os.makedirs(place, exist_ok=True)
        path = {key: os.path.realpath(os.path.join(self.image_dir, self.image[key])) for key in ("kernel", "initrd", "disk")}
        disk, channel = os.path.join(place, "disk.qcow2"), os.path.join(self.top, name + ".sock")
        check(len(channel) < 100, "%s is too long for a socket's path" % channel)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path["disk"], "-F", self.image["disk_format"], disk],
                       check=True, timeout=60)
        tcg = self.accel == "tcg"
        text = DOMAIN.format(
            type="qemu" if tcg else "kvm", name=name, memory=memory, machine="q35", kernel=path["kernel"],
            initrd=path["initrd"], cmdline=self.image["cmdline"],
            tcg="<tcg><tb-cache unit='MiB'>64</tb-cache></tcg>" if tcg else "", cpu="maximum" if tcg else "host-passthrough",
            emulator=os.environ.get("STASIS_QEMU") or shutil.which("qemu-system-x86_64"),
            disk=disk, console=os.path.join(place, "console.log"), channel=channel)
        xml = os.path.join(place, "domain.xml")
        with open(xml, "w") as file:
            file.write(text)
        self.virsh("create", xml)
        self.domains[name] = channel

    def agent(self, name):
        return GuestAgent(self.domains[name])

    def pid(self, name):
        with open(os.path.join(self.top, "run/libvirt/qemu/run", name + ".pid")) as file:
            return int(file.read())

    def save(self, names):
        """Save all at once; seconds from the first VM's stop to the end of the last save, and bytes of the files."""
        begin = time.time()
        paths = [os.path.join(self.top, name + ".save") for name in names]
        ends = self.at_once([("save", name, path) for name, path in zip(names, paths)])
        stopped = min(self.wait_event(name, "STOP", begin) for name in names)
        return {"stopped": stopped, "save_ms": (max(ends) - stopped) * 1e3, "total_ms": (max(ends) - begin) * 1e3,
                "bytes": sum(os.stat(path).st_blocks * 512 for path in paths)}

    def restore(self, names):
        """All at once; the time of day at which the last one runs. The files go."""
        begin = time.time()
        paths = [os.path.join(self.top, name + ".save") for name in names]
        self.at_once([("restore", path) for path in paths])
        running = max(self.wait_event(name, "RESUME", begin) for name in names)
        for path in paths:
            os.unlink(path)
        return {"running": running, "restore_ms": (running - begin) * 1e3}

    def destroy(self, names):
        for name in names:
            self.virsh("destroy", name, check_exit=False)
            self.domains.pop(name, None)

    def stop_daemon(self):
        for process in (self.listener, self.daemon):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)
        self.listener = self.daemon = None

    def stop(self):
        """Everything goes, whatever state it is in."""
        try:
            if self.daemon and self.daemon.poll() is None:
                self.destroy(list(self.domains))
        except (RuntimeError, subprocess.SubprocessError):
            pass
        self.stop_daemon()
        for pid in process_cmdlines(self.top):
            kill_and_wait(pid)
        shutil.rmtree(self.top, ignore_errors=True)
