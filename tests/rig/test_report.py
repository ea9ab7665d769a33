#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""report, diff and metrics of trees full of hostile text, read back by readers that are not ours."""

import html.parser
import json
import os
import pathlib
import random
import re
import shutil
import string
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))

import tap  # noqa: E402
from common import build  # noqa: E402

HOST = build.program()
SECRETS = {"pccs-api-key": "c4nAryApiKey0123456789abcdefABCD", "pccs-user-token": "canary-user-token-77",
           "pccs-admin-token": "canary-admin-token-88", "vmm-token": "canary-vmm-token-99",
           "vmm-internal-token": "canary-internal-token-11"}
URLS = {"ETH_RPC_URLS": "https://joe:canaryRpcPassword@rpc.example.org/v2/canaryRpcKey0123456789",
        "PROXY": "http://me:canaryProxyPassword@proxy.example.org:3128"}
UNIT = ("[Service]\nEnvironment=\"A=canaryUnitA\" \\\n# x\n  B=canaryUnitB\nSetCredential=c:canaryUnitC\n#D=canaryUnitD\n"
        "ExecStart=/x --vmm-token canaryUnitE -u joe:canaryUnitF https://joe:p@canaryUnitG@h/?a=b&key=canaryUnitH\n")
CANARIES = [*SECRETS.values(), "canaryRpcPassword", "canaryRpcKey0123456789", "canaryProxyPassword", "canaryUnit"]
SETTINGS = ["DOMAIN=example.org", "AESMD_IMAGE=a", "KEY_PROVIDER_IMAGE=b",
            "KMS_IMAGE=r.example/k@sha256:" + "7e" * 32, "KMS_CONTRACT=0x" + "51" * 20,
            "APP_AUTH_IMPLEMENTATION=0x" + "52" * 20, *(f"{key}={value}" for key, value in URLS.items())]
NASTY = ["</td></pre><script>alert(1)</script>", "\"'><img src=x onerror=y>", "&lt;&amp;&#x41;", "a|b\\|c\\\\",
         "`` ``` ```` `", "**b** _i_ [l](javascript:x) <!-- -->", "]]>\x1b[31m\x07\x9b", "ä€🦀\u202e\ufeff", "\xff\xfe\x80",
         "%s%n%d", "{{ }} ${x} $(id)", "\t\r"]
COLUMNS = ["id", "status", "title", "found", "cause", "fix"]
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def run(*argv, code=0, stdin=None):
    done = subprocess.run([HOST, *map(str, argv)], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode == code, (argv, done.returncode, done.stderr)
    return done.stdout


def put(root, path, data):
    at = pathlib.Path(root + path)
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(data if isinstance(data, bytes) else data.encode())


def text(chance):
    parts = [chance.choice(NASTY) if chance.random() < .6 else "".join(chance.choices(string.printable, k=9))
             for _ in range(chance.randint(1, 6))]
    return "".join(parts).replace("\0", "")


def tree(root, chance):
    """A host below `root` whose files hold what nobody should put there."""
    os.makedirs(root + "/etc")
    run("--root", root, "config", "set", *SETTINGS)
    for name, value in SECRETS.items():
        run("--root", root, "secret", "set", name, stdin=value.encode())
    run("--root", root, "render")
    put(root, "/etc/os-release", f"PRETTY_NAME=\"{text(chance)}\"\nVERSION_CODENAME=x\n".encode("utf-8", "replace"))
    put(root, "/run/dstack/registry/config.yml", "\n".join(text(chance) for _ in range(9)).encode("latin-1", "replace") +
        "ä€🦀 ok\n".encode())
    put(root, "/run/dstack/front/haproxy.cfg", f"\ntoken {SECRETS['vmm-internal-token']}\n```\n````\n" + text(chance))
    put(root, "/etc/systemd/system/dstack-vmm.service", UNIT)
    put(root, "/var/lib/dpkg/status", "Package: qemu-system-x86\nStatus: hold ok installed\nVersion: 1:7.2|`<b>\n\n"
        "Package: haproxy\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: dstack-host-tools\n"
        "Status: install ok installed\nVersion: 1.0\n\n")
    put(root, "/var/lib/dstack/images/dstack-0.5.5/metadata.json", json.dumps({"bios": text(chance), "is_dev": True}))
    put(root, "/var/lib/dstack/images/dstack-0.5.5/digest.txt", "ab" * 32 + "\n")
    os.makedirs(root + "/var/lib/dstack/images/dstack-<script>alert(2)<|script>" + "long" * 45)
    return root


class Reader(html.parser.HTMLParser):
    """Cells by table, texts of <pre>, headings, attributes: what a browser would see."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tables, self.pres, self.headings, self.tags, self.links = [], [], [], set(), []
        self.into = None

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "style") or name.startswith("on")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.into = "cell"
        elif tag in ("pre", "h2"):
            (self.pres if tag == "pre" else self.headings).append("")
            self.into = tag

    def handle_endtag(self, tag):
        if tag in ("td", "th", "pre", "h2"):
            self.into = None

    def handle_data(self, data):
        if self.into == "cell":
            self.tables[-1][-1][-1] += data
        elif self.into:
            (self.pres if self.into == "pre" else self.headings)[-1] += data


def read_html(data):
    reader = Reader()
    reader.feed(data.decode())
    reader.close()
    return reader


def unescaped(cell):
    return html.unescape(re.sub(r"\\(.)", r"\1", cell))


def read_md(data):
    """Tables as lists of rows of cells, and the fenced texts."""
    tables, fences, fence, row = [], [], None, 0
    for line in data.decode().split("\n"):
        if fence:
            if line == fence:
                fence = None
            else:
                fences[-1] += line + "\n"
        elif re.fullmatch("`{3,}", line):
            fence = line
            fences.append("")
        elif line.startswith("|"):
            if not row:
                tables.append([])
            row += 1
            cells = re.findall(r"((?:\\.|[^\\|])*)\|", line[1:])
            tables[-1].append([unescaped(cell.strip()) for cell in cells])
        if not line.startswith("|"):
            row = 0
    return tables, fences


def texts_of(value):
    """Every text that stands in a place of its own, in the document's order of printing."""
    out = []
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and (key == "text" or "\n" in item):
                out.append(item)
            else:
                out += texts_of(item)
    elif isinstance(value, list):
        for item in value:
            out += texts_of(item)
    return out


def plain(value):
    return " ".join(str(value or "-").split())


class Trees(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.mkdtemp(prefix="dstack-report-")
        cls.root = tree(cls.work + "/host", random.Random(7))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work)

    def report(self, *how, root=None):
        return run("--root", root or self.root, "report", *how)

    def no_canary(self, data):
        for canary in CANARIES:
            self.assertNotIn(canary.encode(), data)

    def test_html_reads_back(self):
        for seed in range(20):
            root = tree(f"{self.work}/html{seed}", random.Random(seed))
            doc, page = json.loads(self.report("--format", "json", root=root)), self.report("--format", "html", root=root)
            reader = read_html(page)
            self.no_canary(page)
            self.assertFalse({"script", "img", "link", "iframe", "object", "base"} & reader.tags)
            self.assertTrue(all(link.startswith("#") for link in reader.links), reader.links)
            rows = [[plain(cell) for cell in row] for row in reader.tables[-1][1:]]
            self.assertEqual(rows, [[plain(check[column]) for column in COLUMNS] for check in doc["checks"]])
            self.assertIn(plain(doc["system"]["os"]), [plain(row[1]) for row in reader.tables[0]])
            texts = texts_of({key: doc[key] for key in ("configuration", "key_provider", "kms")})
            self.assertEqual([pre.removeprefix("\n") for pre in reader.pres], texts)
            shutil.rmtree(root)

    def test_markdown_reads_back(self):
        for seed in range(20):
            root = tree(f"{self.work}/md{seed}", random.Random(seed))
            doc, page = json.loads(self.report("--format", "json", root=root)), self.report(root=root)
            tables, fences = read_md(page)
            self.no_canary(page)
            rows = [[plain(cell) for cell in row] for row in tables[-1][2:]]
            self.assertEqual(rows, [[plain(check[column]) for column in COLUMNS] for check in doc["checks"]])
            self.assertIn(plain(doc["system"]["os"]), [plain(row[1]) for row in tables[0][2:]])
            texts = texts_of({key: doc[key] for key in ("configuration", "key_provider", "kms")})
            self.assertEqual(fences, [item if item.endswith("\n") else item + "\n" for item in texts])
            shutil.rmtree(root)

    def test_no_control_character_in_any_print(self):
        for how in ("md", "json", "html"):
            data = self.report("--format", how).decode()
            self.assertFalse([c for c in data if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160], how)

    def test_the_truth_is_in_it(self):
        doc = json.loads(self.report("--json"))
        self.assertEqual(doc["images"][0]["digest"], "ab" * 32)
        self.assertEqual([(p["name"], p["held"]) for p in doc["packages"]],
                         [("qemu-system-x86", True), ("dstack-host-tools", False)])
        vmm = next(item for item in doc["configuration"] if item["path"] == "/etc/dstack/vmm.toml")
        self.assertEqual(vmm["values"]["cvm"]["cid_start"], 1000)
        self.assertEqual(vmm["values"]["auth"]["tokens"], "(not shown)")
        self.assertIn("https://rpc.example.org:443/...", json.dumps(doc))

    def test_the_bundle(self):
        path = self.work + "/bundle.tar.gz"
        said = run("--root", self.root, "report", "--bundle", path).decode()
        self.assertIn("Not in it:", said)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        with tarfile.open(path, "r:gz") as archive:
            members = {m.name.removeprefix("dstack-report/"): archive.extractfile(m).read() for m in archive.getmembers()}
            self.assertTrue(all(m.isfile() and m.name.startswith("dstack-report/") and ".." not in m.name
                                for m in archive.getmembers()))
        for name in ("report.json", "report.md", "report.html", "check.json", "packages.txt", "rendered/vmm/vmm.toml"):
            self.assertIn(name, members)
        self.assertFalse([name for name in members if "pem" in name or "tokens" in name])
        for data in members.values():
            self.no_canary(data)
        json.loads(members["check.json"])
        first = os.stat(path).st_ino
        run("--root", self.root, "report", "--bundle", path)
        self.assertNotEqual(os.stat(path).st_ino, first)
        self.assertFalse([name for name in os.listdir(self.work) if name.startswith("bundle.tar.gz.")])

    def test_a_bundle_goes_over_nothing_of_others(self):
        target, link, hard = (f"{self.work}/{name}" for name in ("target", "link", "hard"))
        put("", target, "kept")
        os.symlink(target, link)
        os.link(target, hard)
        for path in (link, hard, self.work, "/dev/null", self.work + "/no/such"):
            run("--root", self.root, "report", "--bundle", path, code=1)
        self.assertEqual(pathlib.Path(target).read_text(), "kept")

    def test_diff_with_its_own_report_is_empty(self):
        own = self.work + "/own.json"
        put("", own, self.report("--json"))
        said = json.loads(run("--root", self.root, "diff", own, "--json"))
        self.assertEqual(said["differences"], [])
        run("--root", self.root, "config", "set", "VMM_CID_START=3000")
        said = json.loads(run("--root", self.root, "diff", own, "--json", code=1))
        self.assertIn("configuration./etc/dstack/host.conf.values.VMM_CID_START",
                      [item["path"] for item in said["differences"]])
        run("--root", self.root, "config", "unset", "VMM_CID_START")

    def test_diff_says_what_it_cannot_read(self):
        for data in (b"", b"\xff" * 9, b"[" * 100000, b'{"schema":"x"}', b"a" * (17 << 20)):
            put("", self.work + "/bad.json", data)
            run("--root", self.root, "diff", self.work + "/bad.json", code=2)
        run("--root", self.root, "diff", "/nonexistent", code=2)
        run("--root", self.root, "diff", "/dev/null", code=2)
        run("--root", self.root, "diff", self.work, code=2)
        run("--root", self.root, "diff", code=2)

    def test_diff_with_the_reference_names_what_is_expected(self):
        said = json.loads(run("--root", self.root, "diff", build.TOP / "tests/data/reference-host.json", "--json",
                              code=1))
        by_path = {item["path"]: item for item in said["differences"]}
        self.assertEqual(by_path["network.domain"]["class"], "identity")
        self.assertEqual(by_path["registry.listen"]["class"], "fault")
        toml = "configuration./etc/dstack/vmm.toml.values."
        for key in ("workers", "max_blocking", "kms_url", "cvm.networking.mode", "gateway.port"):
            self.assertEqual(by_path[toml + key]["class"], "fault", key)
        self.assertFalse([item for item in said["differences"] if item["class"] == "ignored"])

    def test_metrics_are_openmetrics(self):
        if not shutil.which("promtool"):
            self.skipTest("no promtool")
        data = run("--root", self.root, "metrics")
        self.assertTrue(data.endswith(b"# EOF\n"))
        done = subprocess.run(["promtool", "check", "metrics"], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.assertIn(b"\ndstack_host_held_packages 1\n", data)
        self.no_canary(data)

    def test_metrics_are_put_in_place_whole(self):
        os.makedirs(self.root + "/var/lib/prometheus/node-exporter")
        out = "/var/lib/prometheus/node-exporter/dstack-host.prom"
        run("--root", self.root, "metrics", "--output", out)
        self.assertEqual(os.stat(self.root + out).st_mode & 0o7777, 0o644)
        self.assertEqual(os.listdir(os.path.dirname(self.root + out)), ["dstack-host.prom"])
        run("--root", self.root, "metrics", "--output", "relative", code=2)
        run("--root", self.root, "metrics", "--output", "/no/such/place.prom", code=1)


PROBE = """<script>
addEventListener('load', () => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const wide = [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1);
  const seen = {scroll: document.scrollingElement.scrollWidth, inner: innerWidth, wide: wide.map(e => e.outerHTML.slice(0, 80)),
    headings: [...document.querySelectorAll('h2')].filter(h => h.getBoundingClientRect().height > 0).map(h => h.textContent)};
  document.title = JSON.stringify(seen);
});
</script>"""


@unittest.skipUnless(shutil.which("chromium"), "no chromium")
class Screens(Trees):
    def seen(self, page, width, height):
        """What Chromium makes of the page in a frame of that size (a window is never narrower than 500)."""
        inner = page.decode().replace("<meta http-equiv", "<meta data-off", 1).replace("</body>", PROBE + "</body>")
        frame = html.escape(inner, quote=True)
        put("", self.work + "/frame.html", "<!DOCTYPE html><meta charset=utf-8><style>*{margin:0;border:0}</style>"
            f"<iframe width={width} height={height} srcdoc=\"{frame}\" onload=\"setTimeout(() => document.title = "
            "this.contentDocument.title)\"></iframe>")
        done = subprocess.run([*CHROMIUM, f"--user-data-dir={self.work}/profile", f"--window-size={width + 40},{height + 40}",
                               "--virtual-time-budget=5000", "--dump-dom", f"file://{self.work}/frame.html"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
        title = re.search(r"<title>(\{.*?\})</title>", done.stdout.decode(errors="replace"), re.S)
        self.assertTrue(title, done.stderr[-2000:])
        return json.loads(html.unescape(title[1]))

    def test_phone_and_desktop(self):
        page = self.report("--format", "html")
        for width, height in ((360, 800), (1280, 900)):
            seen = self.seen(page, width, height)
            self.assertEqual(seen["inner"], width)
            self.assertLessEqual(seen["scroll"], width, seen["wide"])
            self.assertEqual(seen["wide"], [])
            self.assertEqual(seen["headings"], read_html(page).headings)
            self.assertEqual(len(seen["headings"]), 17)


def load_tests(loader, _tests, _pattern):
    suite = unittest.TestSuite()
    suite.addTests(loader.loadTestsFromTestCase(Trees))
    suite.addTest(Screens("test_phone_and_desktop"))
    return suite


if __name__ == "__main__":
    RESULT = tap.TapResult()
    load_tests(unittest.defaultTestLoader, None, None).run(RESULT)
    sys.exit(0 if RESULT.wasSuccessful() else 1)
