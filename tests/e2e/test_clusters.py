#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Clusters side by side, many VMs in one, and what is refused: too much memory, two things at once, another description."""

import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stasis_rpc
from guest_job import Job
from harness import Host, Skip, check, main, process_cmdlines, wait_for
from own_cache import own_cache

CONNECT = "timeout 10 bash -c 'exec 3<>/dev/tcp/%s/%d' 2>&1"
EBUSY = 16


def can_connect(host, vm, address, port):
    """Whether a guest reaches a port; and what it says."""
    result = host.run("exec", vm, "--", "sh", "-c", CONNECT % (address, port), check_exit=False)
    return result.returncode == 0, "exit %d: %s" % (result.returncode, result.stdout.strip())


def neighbour(host, vm, address):
    return host.exec(vm, "ip", "neigh", "show", address).strip()


def serve(host, cluster, vm, port):
    """A listener that answers again and again, one job for each connection."""
    perl = (
        "use Socket; socket(S,PF_INET,SOCK_STREAM,0); setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1);"
        "bind(S,sockaddr_in(%d,INADDR_ANY)) or die; listen(S,5); $|=1; print \"listening\\n\";"
        "while(accept(C,S)){print \"connected\\n\"; close C}" % port
    )
    job = Job(host, cluster, vm, "serve-%d" % port).start("perl", "-e", perl)
    job.wait_lines(1)
    return job


def test_clusters_do_not_see_each_other():
    with Host() as host:
        a = host.up("alpha", 2)["cluster"]
        b = host.up("beta", 3)["cluster"]
        check([vm["address"] for vm in a["vms"]] == [vm["address"] for vm in b["vms"]][:2], "the subnets differ")
        only_b, both = b["vms"][2]["address"], b["vms"][1]["address"]
        third, second = serve(host, "beta", "vm2", 5000), serve(host, "beta", "vm1", 5001)
        # From inside beta both answer, so silence towards alpha means something.
        for address, port in ((only_b, 5000), (both, 5001)):
            reached, said = can_connect(host, "beta:vm0", address, port)
            check(reached, "beta's vm0 does not reach %s:%d: %s" % (address, port, said))
        for vm in ("alpha:vm0", "alpha:vm1"):
            reached, said = can_connect(host, vm, only_b, 5000)
            check(not reached, "%s reaches %s, which only beta has" % (vm, only_b))
            entry = neighbour(host, vm, only_b)
            check("lladdr" not in entry, "%s has learned who %s is: %s" % (vm, only_b, entry))
        check("lladdr" in neighbour(host, "beta:vm0", only_b), "beta's vm0 does not know its neighbour")
        # The address that both have leads to one's own: alpha's vm1 does not listen there.
        reached, said = can_connect(host, "alpha:vm0", both, 5001)
        check(not reached and "refused" in said, "alpha's vm0 on %s:5001: %s" % (both, said))
        # Both clusters use the same MACs, and nobody was confused.
        check(third.lines().count("connected") == 1 and second.lines().count("connected") == 1,
              "beta was connected to %d and %d times" % (len(third.lines()) - 1, len(second.lines()) - 1))
        # One is killed and comes back; the other does not notice.
        host.run("checkpoint", "alpha")
        pids = host.vm_pids("beta")
        host.kill_vms("alpha")
        wait_for("alpha to be seen dead", lambda: host.status("alpha")["state"] == "dead")
        host.run("restart", "alpha")
        check(host.vm_pids("beta") == pids and host.status("beta")["state"] == "running", "beta was disturbed")
        reached, said = can_connect(host, "alpha:vm1", only_b, 5000)
        check(not reached, "after its restart alpha reaches %s" % only_b)
        reached, said = can_connect(host, "beta:vm1", only_b, 5000)
        check(reached, "beta's network has gone: %s" % said)
        host.run("down", "alpha")
        check(host.exec("beta:vm2", "hostname").strip() == "vm2", "beta went down with alpha")


def mpi_hosts(host, cluster, ranks):
    text = host.exec(cluster + ":vm0", "mpirun", "--allow-run-as-root", "--hostfile", "/etc/stasis/hostfile",
                     "-n", str(ranks), "--map-by", "slot", "hostname", timeout=300)
    return sorted(text.split())


def test_eight_vms():
    with Host() as host:
        vms = ["vm%d" % at for at in range(8)]
        status = host.up("eight", 8, timeout=900)["cluster"]
        check([vm["name"] for vm in status["vms"]] == vms, "VMs are %s" % status["vms"])
        check(all(vm["memory_bytes"] == 256 << 20 for vm in status["vms"]), "memory is not 256 MiB")
        check(mpi_hosts(host, "eight", 8) == vms, "mpirun ran elsewhere")
        marks = [host.exec("eight:" + vm, "sh", "-c", "head -c 16 /dev/urandom | od -An -tx1 | tee /tmp/mark") for vm in vms]
        host.run("checkpoint", "eight", timeout=900)
        host.kill_vms("eight")
        wait_for("the cluster to be seen dead", lambda: host.status("eight")["state"] == "dead")
        host.run("restart", "eight", timeout=900)
        check(host.status("eight")["state"] == "running", "state is %s" % host.status("eight")["state"])
        check([host.exec("eight:" + vm, "cat", "/tmp/mark") for vm in vms] == marks, "memory has changed")
        check(mpi_hosts(host, "eight", 8) == vms, "mpirun ran elsewhere after the restart")


def test_too_much_memory_is_refused():
    with Host() as host:
        host.run("status")
        with open("/proc/meminfo") as file:
            total_mib = int(file.readline().split()[1]) >> 10
        result = host.run("up", "-c", host.cluster_file("huge", 4, "%dM" % (total_mib // 3)), check_exit=False)
        check(result.returncode == 1, "exit %d" % result.returncode)
        for word in ("4 VMs of %d MiB" % (total_mib // 3), "it can hold", "vms"):
            check(word in result.stderr, "'%s' is not in: %s" % (word, result.stderr))
        daemon = host.daemon_pid()
        left = [line for pid, line in process_cmdlines(host.dir).items() if pid != daemon]
        check(not left, "started nevertheless: %s" % left)
        check(not host.leaks(), "left behind: %s" % host.leaks())
        check(not os.path.exists(os.path.join(host.state_dir, "clusters", "huge")), "a directory is left")
        check(host.json("status")["clusters"] == [], "status shows %s" % host.json("status")["clusters"])
        check("clone" not in host.log() and "template" not in host.log(), "work was begun: %s" % host.log())


def test_one_thing_at_a_time():
    with Host() as host:
        go = os.path.join(host.dir, "go")
        here = os.path.join(host.dir, "here")
        fault = "ckpt.resume:1:run=touch %s; while [ ! -e %s ]; do sleep 0.05; done" % (here, go)
        host.start_daemon({"STASIS_FAULT": fault})
        host.up("one", 2)
        first = host.start("checkpoint", "one", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for("the checkpoint to be under way", lambda: os.path.exists(here), 120)
        check(host.status("one")["state"] == "checkpointing", "state is %s" % host.status("one")["state"])
        for command in (("checkpoint", "one"), ("down", "one"), ("up", "-c", os.path.join(host.dir, "one.ini"))):
            result = host.run(*command, check_exit=False)
            check(result.returncode == 1, "%s: exit %d" % (command, result.returncode))
            check("busy" in result.stderr and "checkpoint is under way" in result.stderr, "%s: %s" % (command, result.stderr))
        client = host.client()
        try:
            client.call("checkpoint", cluster="one")
            check(False, "a second checkpoint was taken")
        except stasis_rpc.Failure as failure:
            check(failure.errno == EBUSY, "errno %d" % failure.errno)
        client.close()
        open(go, "w").close()
        output, errors = first.communicate(timeout=300)
        check(first.returncode == 0, "the first checkpoint: exit %d, %s" % (first.returncode, errors))
        check(len(host.checkpoints("one")) == 1, "checkpoints: %s" % host.checkpoints("one"))
        host.run("checkpoint", "one")
        check(len(host.checkpoints("one")) == 2, "after the first has ended a second is taken")


def test_up_again():
    with Host() as host:
        host.up("again", 2)
        pids = host.vm_pids("again")
        host.up("again", 2)
        check(host.vm_pids("again") == pids, "the second up started other VMs")
        result = host.run("up", "-c", host.cluster_file("again", 3), check_exit=False)
        check(result.returncode == 1 and "another description" in result.stderr and "stasis down again" in result.stderr,
              "exit %d: %s" % (result.returncode, result.stderr))
        check(host.vm_pids("again") == pids, "VMs have changed")
        result = host.run("restart", "again", check_exit=False)
        check(result.returncode == 1, "a restart without a checkpoint: exit %d" % result.returncode)
        host.run("checkpoint", "again")
        result = host.run("restart", "again", check_exit=False)
        check(result.returncode == 1 and "--force" in result.stderr, "exit %d: %s" % (result.returncode, result.stderr))
        check(host.vm_pids("again") == pids, "VMs have changed")
        # One VM dies: the cluster is no longer what up could leave as it is.
        os.kill(pids[1], signal.SIGKILL)
        wait_for("the VM to be seen dead", lambda: host.status("again")["state"] == "degraded")
        result = host.run("up", "-c", host.cluster_file("again", 2), check_exit=False)
        check(result.returncode == 1 and "1 of its 2 VMs" in result.stderr, "exit %d: %s" % (result.returncode, result.stderr))
        host.run("restart", "again")
        check(host.status("again")["state"] == "running", "state is %s" % host.status("again")["state"])
        check(json.loads(host.run("up", "--json", "-c", host.cluster_file("again", 2)).stdout)["cluster"]["state"] == "running",
              "up does not know the restarted cluster")


def test_image_built_anew():
    """An image that was made again has another file system under the old name: no template of the old one may be cloned."""
    tune2fs = shutil.which("tune2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not tune2fs:
        raise Skip("tune2fs is not installed")
    with Host() as host:
        cache = os.path.join(host.dir, "cache")
        host.env["STASIS_CACHE_DIR"] = cache
        image = own_cache(host.programs, cache)
        host.up("old", 1)
        write = ("sh", "-c", "mkdir /root/d && seq 20000 > /root/d/file && sync && sha256sum < /root/d/file")
        said = host.exec("vm0", *write)
        host.run("down", "old")
        disk = os.path.realpath(os.path.join(image, "disk.raw"))
        subprocess.run(["cp", "--sparse=always", disk, disk + ".new"], check=True, timeout=600)
        os.chmod(disk + ".new", 0o600)
        # Another UUID is another seed of every checksum of its metadata.
        subprocess.run([tune2fs, "-f", "-U", "random", disk + ".new"], check=True, capture_output=True, timeout=600)
        os.rename(disk + ".new", disk)
        host.up("new", 1)
        check(host.exec("vm0", *write) == said, "the new image's guest writes something else")
        templates = [name for name in os.listdir(os.path.join(cache, "templates")) if len(name) == 64]
        check(len(templates) == 2, "templates are %s" % templates)


if __name__ == "__main__":
    main([test_clusters_do_not_see_each_other, test_eight_vms, test_too_much_memory_is_refused, test_one_thing_at_a_time,
          test_up_again, test_image_built_anew])
