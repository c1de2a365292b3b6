#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Bad arguments of every subcommand: the exit code, one sentence that names the bad thing, and nothing asked of the daemon."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cli_test import CliTest  # noqa: E402

t = CliTest()
OWN = {"exec", "run", "attach"}  # their own failures are 125
ALL = ("up", "down", "status", "exec", "run", "attach", "cp", "console", "checkpoint", "restart", "list", "show",
       "verify", "rm", "prune", "gc", "stats", "export", "import", "doctor", "help", "version")
LONG = "a" * 5000


def bad(args, *needles):
    """The command is refused as bad input, in plain words and as JSON."""
    code = 125 if args[0] in OWN else 2
    before = len(t.daemon.requests)
    result = t.run(*args)
    what = " ".join(str(a)[:40] for a in args)
    t.expect(what, result, code, *needles)
    lines = result.stderr.decode(errors="replace").splitlines()
    t.check(f"{what}: one line on stderr", len(lines) == 1 and lines[0].startswith("stasis") and not result.stdout,
            (lines, result.stdout))
    result = t.run(args[0], "--json", *args[1:])
    try:
        error = json.loads(result.stdout)["error"]
        good = error["errno"] > 0 and result.returncode == code and all(n in error["message"] for n in needles)
    except (ValueError, KeyError):
        good = False
    t.check(f"{what}: as JSON", good, (result.returncode, result.stdout, result.stderr))
    t.check(f"{what}: the daemon is not asked", len(t.daemon.requests) == before, t.daemon.requests[before:])


def write(name, text):
    with open(os.path.join(t.work, name), "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)


write("good.ini", "[cluster]\nvms = 2\n")
t.expect("no subcommand", t.run(), 2, "subcommand")
t.expect("an unknown one", t.run("nonsense"), 2, "nonsense")
t.expect("not UTF-8", t.run(b"\xff"), 2, "argument 1", "UTF-8")
t.expect("an empty one", t.run(""), 2, "unknown subcommand")

for name in ALL:
    t.expect(f"{name} --help", t.run(name, "--help"), 0, f"Usage: stasis {name}", "Exit codes:", "Example:", "--json")
    bad([name, "--nonsense"], "--nonsense")
    bad([name, "-Z"], "-Z")
    bad([name, "--json=1"], "--json=1")
    bad([name, b"\xff\xfe"], "argument", "UTF-8")
    bad([name, "x" * 70000], "argument", "too long")

# Operands: a cluster's name
for name in ("down", "status", "attach", "checkpoint", "list", "prune"):
    for text, needle in (("", "empty"), ("Upper", "Upper"), ("a/b", "a/b"), ("../x", "../x"), ("1st", "1st"),
                         (LONG, "too long"), ("a b", "a b"), ("ä", "ä")):
        bad([name, text], needle)
    bad([name, "one", "two"], "two")

# Operands: a checkpoint's id
for name in ("show", "verify", "rm", "restart", "export"):
    for text, needle in (("", "empty"), ("a/b", "a/b"), ("../x", "../x"), (LONG, "too long"), (".x", ".x")):
        bad([name, text], needle)
    if name != "restart":
        bad([name], "missing")
for name in ("show", "verify", "restart"):
    bad([name, "one", "two"], "two")
bad(["verify", "one", "--all"], "--all")
bad(["rm", "good", ".bad"], ".bad")

# up and down
bad(["up"], "-c FILE")
bad(["up", "stray"], "stray")
bad(["up", "-c"], "-c", "value")
bad(["up", "-c", ""], "empty")
bad(["up", "-c", LONG], "too long")
bad(["up", "-c", "nowhere.ini"], "nowhere.ini")
bad(["up", "-c", "."], ".")
for option, values in (("--vms", ("", "0", "251", "-1", "two")), ("--memory", ("", "1", "2T", "1Q", "-1")),
                       ("--cpus", ("", "0", "65", "x")), ("--slots", ("", "0", "x"))):
    bad(["up", "-c", "good.ini", option], option)
    for value in values:
        bad(["up", "-c", "good.ini", option, value], option[2:])
for text in ("", "vms", "=3", "nokey=3", "cluster.nokey=3", "vms=300", "name=A", "mtu=1",
             "subnet=10.0.0.0/30,", "files.relative=/x", "every=1ms", "rdma=maybe", "accel=xen", "capture=both", "packages=A"):
    bad(["up", "-c", "good.ini", "-o", text], text.split("=")[0].split(".")[-1] or "KEY=VALUE")
bad(["up", "-c", "good.ini", "-o", "nosection.vms=3"], "nosection")
bad(["up", "-c", "good.ini", "-o", "subnet=10.0.0.0/30", "--vms", "9"], "10.0.0.0/30", "9 VMs")
bad(["up", "-c", "good.ini"] + ["-o", "vms=2"] * 65, "64")
bad(["down", "-c", "nowhere.ini"], "nowhere.ini")
bad(["down", "demo", "-c", "good.ini"], "demo", "both")

# the cluster's file
KEYS = {"cluster": ("name", "vms", "memory", "cpus", "slots", "accel", "capture"), "image": ("disk", "packages"),
        "network": ("subnet", "mtu", "rdma"), "checkpoint": ("every", "keep"), "files": ("/guest",)}
for section, keys in KEYS.items():
    for key in keys:
        write("bad.ini", f"[{section}]\n\n{key}\n")
        bad(["up", "-c", "bad.ini"], "bad.ini", "line 3")
        write("bad.ini", f"[{section}]\n\n{key} = {'a' * 4200}\n")
        bad(["up", "-c", "bad.ini"], "bad.ini", "line 3", "longer")
        write("bad.ini", f"[{section}]\n\n{key} = ".encode() + b"\xc3\n")
        bad(["up", "-c", "bad.ini"], "bad.ini", "line 3", "UTF-8")
        write("bad.ini", f"[{section}]\n\n{key} = a\0b\n")
        bad(["up", "-c", "bad.ini"], "bad.ini", "line 3", "NUL")
        write("bad.ini", f"[{section}]\nx{key} = 1\n")
        bad(["up", "-c", "bad.ini"], "bad.ini", "line 2", f"x{key}")
        if (section, key) not in (("image", "disk"), ("files", "/guest")):
            write("bad.ini", f"[{section}]\n\n{key} = ~wrong~\n")
            bad(["up", "-c", "bad.ini"], "bad.ini", "line 3", key, "~wrong~")
        good = {"name": "x", "accel": "tcg", "capture": "compare", "disk": "d", "packages": "abc", "subnet": "10.0.0.0/24", "mtu": "1500",
                "rdma": "no", "memory": "1G", "every": "5s", "/guest": "x"}.get(key, "2")
        write("bad.ini", f"[{section}]\n{key} = {good}\n{key} = {good}\n")
        bad(["up", "-c", "bad.ini"], "bad.ini", "line 3", key, "twice")
write("bad.ini", "[nonsense]\nvms = 2\n")
bad(["up", "-c", "bad.ini"], "line 2", "nonsense")
write("bad.ini", "[network]\nsubnet = 10.0.0.0/30\n[cluster]\nvms = 200\n")
bad(["up", "-c", "bad.ini"], "bad.ini", "10.0.0.0/30")

# exec
bad(["exec"], "VM is missing")
bad(["exec", "vm0"], "command is missing")
bad(["exec", "vm0", "--"], "command is missing")
bad(["exec", "vm0", "--", ""], "command is missing")
for text in (":vm0", "a:", "A:vm0", "a:b:c", "vm/0"):
    bad(["exec", text, "--", "true"], "name")
bad(["exec", "", "--", "true"], "empty")
bad(["exec", LONG, "--", "true"], "too long")
bad(["exec", "-C", "relative", "vm0", "--", "true"], "relative")
bad(["exec", "-C", "", "vm0", "--", "true"], "--cwd")
bad(["exec", "-C", "/" + LONG, "vm0", "--", "true"], "too long")
bad(["exec", "vm0", "--", "echo", b"\xff"], "UTF-8")

# run and attach
bad(["run"], "command is missing")
bad(["run", "-c", "good.ini"], "command is missing")
bad(["run", "--", "true"], "-c FILE")
for value in ("", "0", "-1", "x", "65537", "99999999999999999999"):
    bad(["run", "-c", "good.ini", "-n", value, "--", "true"], "-n")
for value in ("", "x", "1ms", "-1", "400d", "99999999999999999999h"):
    bad(["run", "-c", "good.ini", "--checkpoint-every", value, "--", "true"], "--checkpoint-every")
for value in ("", "nowhere", "good.ini", LONG):
    bad(["run", "-c", "good.ini", "--dir", value, "--", "true"], "--dir")
for value in ("", "X", "=1"):
    bad(["run", "-c", "good.ini", "-x", value, "--", "true"], "-x", "NAME=VALUE")
bad(["run", "-c", "nowhere.ini", "--", "true"], "nowhere.ini")
bad(["run", "-c", "good.ini", "--vms", "0", "--", "true"], "vms")

# cp
bad(["cp"], "source and destination")
bad(["cp", "one"], "source and destination")
bad(["cp", "one", "two"], "both on this host")
bad(["cp", "vm0:/a", "vm1:/b"], "both in VMs")
bad(["cp", "vm0:/a", "vm1:/b", "x"], "another VM")
bad(["cp", "all:/a", "x"], "one VM at a time")
bad(["cp", "good.ini", "vm0:relative"], "vm0:relative", "absolute")
bad(["cp", "good.ini", "vm0:"], "vm0:", "absolute")
bad(["cp", "", "vm0:/x"], "empty")
bad(["cp", "good.ini", ""], "empty")
bad(["cp", "good.ini", "vm0:/" + LONG], "too long")
bad(["cp", "good.ini", "A:vm0:/x"], "'A'")

# the store
bad(["prune"], "--keep", "--keep-within", "--keep-tag")
bad(["prune", "demo", "--dry-run"], "no rule")
for value in ("", "0", "-1", "x", "1000001"):
    bad(["prune", "--keep", value], "--keep")
for value in ("", "0", "x", "-1", "40000d", "99999999999999999999999s"):
    bad(["prune", "--keep-within", value], "--keep-within")
for value in ("", "a b", "x/y", LONG):
    bad(["prune", "--keep-tag", value], "--keep-tag")
bad(["prune"] + ["--keep-tag", "x"] * 65, "64")
for name in ("gc", "stats"):
    bad([name, "x"], "'x' is too much")
bad(["export", "one", "x", "two"], "two")
bad(["export", "one", ""], "the file's name is empty")
bad(["export", "one", LONG], "too long")
bad(["import", ""], "the file's name is empty")
bad(["import", LONG], "too long")
bad(["import", "one", "two"], "two")
t.expect("export --json without a file", t.run("export", "--json", "one"), 2, "name a file")

# the others
bad(["console"], "VM is missing")
bad(["console", "a:b:c"], "name")
bad(["console", "vm0", "vm1"], "vm1")
for value in ("", "a b", "x/y", LONG):
    bad(["checkpoint", "--tag", value], "--tag")
bad(["checkpoint", "--tag"], "--tag", "value")
bad(["doctor", "x"], "x")
bad(["version", "x"], "x")
bad(["help", "nonsense"], "nonsense")
bad(["help", "up", "down"], "down")
t.finish()
