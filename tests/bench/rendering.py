# SPDX-License-Identifier: Apache-2.0
"""`dstack-host render` of every file against `envsubst`, one process for each file, over the same texts."""

import os
import pathlib
import re
import shutil
import tempfile

import measuring
from race import Contestant, Wrong, race

CONF = {
    "DOMAIN": "bench.example.org", "VMM_CID_START": "31000", "VMM_HOST_API_PORT": "10007", "PCCS_PORT": "18081",
    "VMM_MAX_VCPU": "61", "VMM_MAX_MEMORY_MB": "123457", "KEY_PROVIDER_IMAGE": "key-provider.example:5000/kp",
    "AESMD_IMAGE": "aesmd.example:5000/aesmd", "KMS_NAME": "bench-kms",
    "KMS_IMAGE": "registry.example/kms@sha256:" + "ab" * 32, "KMS_CONTRACT": "0x" + "c0ffee1234" * 4,
    "APP_AUTH_IMPLEMENTATION": "0x" + "decaf56789" * 4, "ETH_RPC_URLS": "https://rpc.example.org/v2/bench",
}
SECRETS = {"pccs-api-key": "0123456789abcdef" * 2, "vmm-token": "a1" * 32, "vmm-internal-token": "b2" * 32}
MOST_OF_ENVSUBST = 0.4
MOST_MIB = 2


class Bench:
    def __init__(self, program, directory):
        self.program, self.root = program, f"{directory}/root"
        self.templates, self.out = f"{directory}/templates", f"{directory}/out"
        for name, text in {"host.conf": "".join(f"{key}={value}\n" for key, value in CONF.items()),
                           **{f"secrets/{name}": text for name, text in SECRETS.items()}}.items():
            path = pathlib.Path(self.root, "etc/dstack", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.clear_ours()
        self.first = f"{directory}/first"
        shutil.copytree(self.root, self.first)
        self.render()
        self.wanted = self.files(f"{self.root}/run/dstack")
        self.make_templates()
        self.script = self.write_script()

    def files(self, top):
        found = {}
        for path in sorted(pathlib.Path(top).rglob("*")):
            if path.is_file() and path.name != ".lock":
                found[str(path.relative_to(top))] = path.read_bytes()
        return found

    def make_templates(self):
        """The rendered files, with each setting's value replaced by its variable; nothing else would be fair."""
        self.replaced = 0
        for name, text in self.wanted.items():
            text = text.decode()
            if "$" in text:
                text = text.replace("$", "${DOLLAR}")
            for key, value in CONF.items():
                text, count = re.subn(rf"(?<![\w.]){re.escape(value)}(?!\w)", "${" + key + "}", text)
                self.replaced += count
            path = pathlib.Path(self.templates, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if self.replaced < len(CONF):
            raise Wrong(f"only {self.replaced} values found in the rendered files")

    def write_script(self):
        path = f"{self.templates}.sh"
        pathlib.Path(path).write_text(
            "set -e\ncd \"$1\"\nfor f in " + " ".join(sorted(self.wanted)) +
            "; do\n\tmkdir -p \"$2/${f%/*}\"\n\tenvsubst < \"$f\" > \"$2/$f\"\n"
            "\t[ -z \"$3\" ] || sync \"$2/$f\" \"$2/${f%/*}\"\ndone\n")
        return path

    def clear_ours(self):
        shutil.rmtree(f"{self.root}/run", ignore_errors=True)

    def clear_theirs(self):
        shutil.rmtree(self.out, ignore_errors=True)
        os.mkdir(self.out)

    def clear_first(self):
        """As on a host that was never rendered: its certificates are made with the files."""
        for name in ("run", "var"):
            shutil.rmtree(f"{self.first}/{name}", ignore_errors=True)

    def render_first(self):
        return self.render(self.first)

    def check_first(self):
        if set(self.files(f"{self.first}/run/dstack")) != set(self.wanted):
            raise Wrong("the first render made other files")

    def render(self, root=None):
        done = measuring.measure([self.program, "--root", root or self.root, "render"])
        if done.code:
            raise Wrong(done.stderr.decode())
        return done

    def substitute(self, sync):
        return measuring.measure(["/bin/sh", self.script, self.templates, self.out, sync],
                                 env={"PATH": os.environ["PATH"], "DOLLAR": "$", **CONF})

    def check(self, top):
        have = self.files(top)
        if have != self.wanted:
            raise Wrong("not the files that were wanted: " +
                        " ".join(name for name in {*have, *self.wanted} if have.get(name) != self.wanted.get(name)))


def run(card, program):
    if not shutil.which("envsubst"):
        card.skip("render / envsubst", "no envsubst (apt-get install gettext-base)")
        return
    # Not /tmp, which may be in memory, where nobody's fsync costs anything.
    with tempfile.TemporaryDirectory(prefix="dstack-bench-", dir="/var/tmp") as directory:
        bench = Bench(program, directory)
        card.section(
            f"Rendering {len(bench.wanted)} files with {len(CONF)} settings, none of them there before, on the disk of "
            "/var/tmp",
            "ours: one process; validates, escapes by each file's grammar, compares, writes each file beside its place,",
            "  fsyncs file and directory, renames. envsubst: a shell script that starts it once a file, over our own",
            "  rendered files with the values replaced by variables; it neither validates nor escapes. \"durable\": the",
            "  script also calls sync(1) on each file and its directory, which promises as much of each file (though",
            "  not that a reader never sees half of one). Both outputs are compared byte for byte after every run.",
            "The bar is for the durable script, which promises the same; the other is shown because many scripts are so.",
            "\"render\" finds its certificates made, as after every boot: they are judged by the record of the last look.",
            "\"render, the first\" makes a CA and two certificates besides, for which it loads libcrypto.")
        times = race(
            Contestant("render", bench.render, bench.clear_ours, lambda _: bench.check(f"{bench.root}/run/dstack")),
            Contestant("render, the first", bench.render_first, bench.clear_first, lambda _: bench.check_first()),
            Contestant("envsubst, durable", lambda: bench.substitute("yes"), bench.clear_theirs,
                       lambda _: bench.check(bench.out)),
            Contestant("envsubst", lambda: bench.substitute(""), bench.clear_theirs, lambda _: bench.check(bench.out)),
            Contestant("render, nothing to do", bench.render, None,
                       lambda _: bench.check(f"{bench.root}/run/dstack")))
        for name, results in times.items():
            card.figure(name, [result.seconds for result in results])
        card.ratio("render everything durably", times, "render", "envsubst, durable", MOST_OF_ENVSUBST)
        card.ratio("the same, the first on a host", times, "render, the first", "envsubst, durable", MOST_OF_ENVSUBST)
        card.ratio("the same against a script that is not durable", times, "render", "envsubst", MOST_OF_ENVSUBST)
        memory(card, times)


def memory(card, times):
    """Ours beside a process that does nothing."""
    bare = measuring.measure(["/bin/true"]).rss_kib
    ours = [result.rss_kib for result in times["render"]]
    card.figure("peak memory of render", ours, "MiB", 1 / 1024)
    card.figure("peak memory of /bin/true", [bare] * 2, "MiB", 1 / 1024)
    card.bar("memory of render over a bare process", [size - bare for size in ours], MOST_MIB, " MiB", 1 / 1024)
    card.bar("the same, the first on a host", [result.rss_kib - bare for result in times["render, the first"]], MOST_MIB,
             " MiB", 1 / 1024)
