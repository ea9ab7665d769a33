#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each fuzz target for three seconds (DSTACK_SOAK=N: N times ten, FUZZ_SECONDS: that long), then parsers that are broken on purpose."""

import os
import subprocess
import sys
import tempfile
import time

import fuzzers

SOAK = int(os.environ.get("DSTACK_SOAK") or 0)
SECONDS = int(os.environ.get("FUZZ_SECONDS") or 10 * SOAK or 3)
# Each of these is found at once; the time is for a machine that is busy.
BROKEN_SECONDS = 60

# What is wrong with it, the target that must find it, the file, its right text, the wrong one.
BROKEN = [
    ("a host.conf parser that accepts a NUL", "fuzz-hostconf", "src/host/conf/hostconf.c",
     "if (strlen(ret->text) != len) {", "if (0) {"),
    ("an import that stores what is wrong together", "fuzz-import", "src/host/conf/import.c",
     "if (r < 0 || !together.n)", "if (1)"),
    ("a record decoder that trusts a length", "fuzz-record", "src/host/peer/peer-record.c",
     "if (len - sizeof(h) < h.len)", "if (0)"),
    ("a record decoder that lets control characters through", "fuzz-record", "src/host/peer/peer-record.c",
     "!is_clean(ret->value, ret->value_len)", "0"),
    ("a digest that takes a machine without an id", "fuzz-digest", "src/host/vmm/vmm-digest.c",
     "if (json_is_string(json_object_get(item, \"id\")))", "if (1)"),
    ("a QGS answer that is shorter than it says", "fuzz-frames", "src/host/peer/peer-frames.c",
     "len != sizeof(a) + le32toh(a.platform_id_size) + le32toh(a.cpusvn_size)", "0"),
    ("a certificate that is given out with another key", "fuzz-pem", "src/host/cert.c",
     "sym_X509_check_private_key(p->crt, p->key) == 1", "1"),
    ("a TOML writer that leaves DEL as it is", "fuzz-escape", "src/host/tomlwrite.c",
     "c < 0x20 || c == 0x7f", "c < 0x20"),
    ("a TOML reader that takes half a character", "fuzz-toml", "src/host/tomlread-value.c",
     "(c >= 0xd800 && c < 0xe000)", "0"),
    ("a JSON writer that takes an overlong form", "fuzz-escape", "src/base/utf8.c",
     "if (p[0] < 0xc2 || p[0] > 0xf4)", "if (p[0] < 0xc0 || p[0] > 0xf4)"),
    ("a check of values that lets quotes through", "fuzz-parse", "src/host/conf/keys.c",
     "if (strchr(\"\\\"'\\\\$`\", *p))", "if (0)"),
    ("a render that uses settings which are wrong", "fuzz-render", "src/host/render/render.c",
     "if (ctx->settings->bad & t->component) {", "if (0) {"),
    ("a DNS reader that trusts a record's length", "fuzz-dns", "src/host/peer/dns.c",
     "if (n > left(&r))", "if (0)"),
    ("an SMBIOS reader that trusts a structure's length", "fuzz-dmi", "src/host/check/dmi.c",
     "if (n < HEADER || n > (size_t)(end - s))", "if (n < HEADER)"),
    ("a report that shows a secret", "fuzz-report", "src/host/report/redact.c",
     "return &r->entries[i];", "return NULL;"),
    ("firmware whose sections lie outside of it", "fuzz-tdvf", "src/host/measure/measure-tdvf.c",
     "if (s->size && (s->offset > len || s->size > len - s->offset))", "if (0)"),
    ("firmware whose sections overlap", "fuzz-tdvf", "src/host/measure/measure-tdvf.c",
     "if (overlap(s->address, s->memory, o->address, o->memory) ||", "if ("),
    ("a kernel whose section table lies outside of it", "fuzz-kernel", "src/host/measure/measure-kernel.c",
     "(pe->headers - pe->sections) / PE_SECTION < pe->n_sections)", "0)"),
    ("base64 with bits that are none", "fuzz-qtest", "src/host/measure/measure-qtest.c",
     "if (missing && v & ((1u << (8 * missing)) - 1))", "if (0)"),
    ("a fw_cfg directory that is believed", "fuzz-qtest", "src/host/measure/measure-qtest.c",
     "if (*len == 0 || *len > ITEM_MAX)", "if (0)"),
    ("an event log whose digests are of any length", "fuzz-quote", "src/host/measure/measure-quote-digest.c",
     "if (!bytes || len != SHA384_LEN)", "if (!bytes)"),
    ("a package whose links lead out", "fuzz-deb", "src/host/measure/deb.c",
     "if (!soft || !link_inside(path, soft))", "if (!soft)"),
    ("an image archive that has a file twice", "fuzz-image-tar", "src/host/image/image-tar.c",
     "if (strcasecmp(t->names[i], name) == 0)", "if (0)"),
    ("an image manifest that takes any URL", "fuzz-manifest", "src/host/image/image-manifest.c",
     "strncmp(s, \"file:///\", 8) != 0 && check_url(s)", "0"),
    ("a status that passes on what files say", "fuzz-files", "src/host/part/status.c",
     "\tclean_all(ret);", "\t(void)clean_all;"),
]


class Report:
    number = failed = executions = 0

    def ok(self, good, name, details=()):
        self.number += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}", flush=True)
        for line in details:
            print(f"#   {line}")


def test_targets(report):
    for name in fuzzers.targets():
        seeds = list((fuzzers.CORPUS / name).glob("*"))
        result = fuzzers.run(fuzzers.BUILD / "fuzz" / name, name, SECONDS)
        report.executions += result.executions
        good = not result.found and result.executions > len(seeds) > 0
        report.ok(good, f"{name}: {result.executions} executions from {len(seeds)} seeds, "
                  f"{'a finding' if result.found else 'no finding'}", [] if good else result.output.splitlines()[-40:])


def test_broken(report):
    """What the targets claim can fail."""
    for what, target, source, old, new in BROKEN:
        with tempfile.TemporaryDirectory() as directory:
            binary = fuzzers.build_broken(directory, target, source, old, new)
            result = fuzzers.run(binary, target, BROKEN_SECONDS)
        # A finding, and not a program that did not even start.
        report.ok(result.found and result.kept, f"{target} finds {what}",
                  [result.why] if result.found else [f"not within {BROKEN_SECONDS} s"])


def main():
    started = time.monotonic()
    try:
        fuzzers.build(fuzzers.targets())
    except fuzzers.Missing as problem:
        print(f"1..1\nok 1 - fuzz targets # SKIP {problem}")
        return 0
    report = Report()
    test_targets(report)
    test_broken(report)
    print(f"1..{report.number}\n# counts: fuzz executions {report.executions}, findings {report.failed}\n"
          f"# {time.monotonic() - started:.0f} s")
    return 1 if report.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (fuzzers.BuildError, subprocess.SubprocessError, OSError) as problem:
        print(f"not ok - the fuzz targets: {problem}")
        sys.exit(1)
