# SPDX-License-Identifier: Apache-2.0
"""The commands that both rigs try: what is there before, what is run. A later part adds its own to the table."""

import os
import signal
import subprocess

from common import pki, tree

OLD_CONF = "# kept by hand\nDOMAIN=old.example.org\nPCCS_PORT=8082\n"
KEY = "0123456789abcdef0123456789abcdef"
COMPOSE = "services:\n  app:\n    image: example.org/app@sha256:" + "0" * 64 + "\n"
# Made once per machine when missing; the content is random.
GENERATED = ("/etc/dstack/secrets/vmm-token", "/etc/dstack/secrets/vmm-internal-token")
ANSWERS = b"domain=new.example.org\0pccs-api-key=" + KEY.encode() + b"\0settings=VMM_CID_START=3000\0"


class Case:
    """argv after `--root DIR` ("{root}" is DIR); before(root) makes the old state; writes: does it change anything?"""

    def __init__(self, name, argv, before=(), stdin=b"", writes=True, verb=None):
        self.name, self.argv, self.before, self.stdin, self.writes = name, argv, before, stdin, writes
        self.verb = verb or argv[0]

    def prepare(self, host, root):
        """The old state below root, which is an empty directory."""
        for step in self.before:
            step(host, root)

    def command(self, host, root):
        return [host, "--root", root, *[word.replace("{root}", root) for word in self.argv]]

    def run(self, host, root, wrapper=(), env=None, timeout=10):
        argv = [*wrapper, *self.command(host, root)]
        process = subprocess.Popen(argv, env=clean_env(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, start_new_session=True)
        try:
            out, err = process.communicate(self.stdin, timeout)
        except BaseException:
            # A tracer that is killed alone leaves its hanging child behind.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)


def clean_env(extra=None):
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", **(extra or {})}


def write(path, text, mode=0o600):
    def step(_, root):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w", encoding="utf-8") as handle:
            handle.write(text)
        os.chmod(root + path, mode)
    return step


def link(target, path):
    def step(_, root):
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    return step


def ran(*argv, stdin=b""):
    def step(host, root):
        done = subprocess.run([host, "--root", root, *argv], input=stdin, capture_output=True, env=clean_env(),
                              check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
    return step


def generated(_, root):
    """Fixed tokens, so that what is rendered from them can be compared between runs."""
    for path in GENERATED:
        write(path, path.encode().hex()[:64])(None, root)
    os.chmod(root + "/etc/dstack/secrets", 0o700)


PROC = (write("/proc/cpuinfo", "processor\t: 0\n" * 8, 0o444), write("/proc/meminfo", "MemTotal: 131072000 kB\n", 0o444))
# With numbers that nothing here has: a lookup that failed shows in the owner of the file.
GROUPS = write("/etc/group", "root:x:0:\ndstack-front:x:641:\npccs:x:642:\ndocker-registry:x:643:\n", 0o644)
HOST = (write("/etc/dstack/host.conf", OLD_CONF), generated, GROUPS, *PROC)
RENDERED = (*HOST, ran("secret", "set", "pccs-api-key", stdin=KEY.encode()), ran("render"))
CHANGED = (*RENDERED, ran("config", "set", "DOMAIN=new.example.org", "VMM_CID_START=3000", "PCCS_PORT=8083"))
MACHINE = (write("/etc/group", "root:x:0:\nsgx:x:980:\nsgx_prv:x:981:qgsd\n", 0o644),
           write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nqgsd:x:990:980:::/usr/sbin/nologin\n", 0o644),
           *(link("/dev/null", f"/dev/{name}") for name in ("sgx_enclave", "sgx_provision", "sgx_vepc", "kvm")))

CASES = [
    Case("config set, first", ["config", "set", "DOMAIN=new.example.org"]),
    Case("config set, changed", ["config", "set", "DOMAIN=new.example.org", "VMM_CID_START=3000"], HOST),
    Case("config unset", ["config", "unset", "PCCS_PORT"], HOST),
    Case("config import", ["config", "import"], HOST, ANSWERS),
    Case("secret set, first", ["secret", "set", "pccs-api-key"], HOST, KEY.encode()),
    Case("secret set, replaced", ["secret", "set", "pccs-api-key"], RENDERED, KEY[::-1].encode()),
    Case("render, first", ["render"], HOST),
    Case("render, changed", ["render"], CHANGED),
    Case("render, part switched off", ["render"],
         (*RENDERED, ran("config", "set", "PCCS_URL=https://pccs.example.org/sgx/certification/v4/"))),
    Case("render, nothing to do", ["render"], RENDERED),
    Case("render one part", ["render", "vmm"], CHANGED),
    Case("render --diff", ["render", "--diff"], CHANGED, writes=False),
    Case("render --check, same", ["render", "--check"], RENDERED, writes=False),
    Case("render --check, other", ["render", "--check"], CHANGED, writes=False),
    Case("config set, refused", ["config", "set", "DOMAIN=new.example.org", "PCCS_PORT=0"], HOST),
    Case("config list", ["config", "list"], HOST, writes=False),
    Case("secret list", ["secret", "list"], RENDERED, writes=False),
    Case("config validate", ["config", "validate"], HOST, writes=False),
    Case("compose", ["compose", "--name", "app", "--docker-compose", "{root}/compose.yaml", "--output", "{root}/app.json"],
         (write("/compose.yaml", COMPOSE), write("/app.json", "{}", 0o644))),
    Case("compose to stdout", ["compose", "--name", "app", "--docker-compose", "{root}/compose.yaml", "--output", "-"],
         (write("/compose.yaml", COMPOSE),), writes=False),
    Case("devices", ["devices", "--json"], MACHINE, writes=False),
]


def usable(host_verbs):
    """(case, None) or (case, why it cannot run with this build)."""
    for case in CASES:
        yield case, None if case.verb in host_verbs else f"this build has no command \"{case.verb}\""


def observe(host, case, root):
    """(old tree, what a plain run makes of it, its result, paths whose content is random); root ends as old."""
    case.prepare(host, root)
    old = tree.snapshot(root)
    made = []
    for _ in range(2):
        done = case.run(host, root)
        made.append(tree.snapshot(root))
        tree.restore(root, made[-1], old)
    random = {path for path in set(made[0]) & set(made[1])
              if made[0][path][4] != made[1][path][4] and not tree.RECORD.match(path)}
    return old, made[0], done, random


def mended(found, again, old, new, free, root):
    """What is wrong after the next plain run: all has to be there, nothing else, and what is random and was made
    before has to have stayed."""
    bad = complete(again, new, free)
    bad += [f"{path} was made again" for path in free
            if path in found and found[path] != old.get(path) and found[path] != again.get(path)]
    return bad + (pki.complaints(root) if free else [])


def complete(found, new, free):
    return tree.differences(found, new, free) + [f"{path}: left behind" for path in tree.temporaries(found)]
