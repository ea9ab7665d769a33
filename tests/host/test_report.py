#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""report, diff and metrics of a host at work: no secret anywhere, no difference from itself, read by node exporter."""

import base64
import io
import json
import os
import tarfile

from life import DATA, Story, built, main, settled

PORT = 10041
SETTLED = settled("dstack-host.target", "dstack-kms.service")
API_KEY = "canaryApiKey0123456789abcdefABCD"
SECRETS = {"pccs-api-key": API_KEY, "pccs-user-token": "canary-user-token-1", "pccs-admin-token": "canary-admin-token-2"}
# The first is the simulated one, and what the KMS is sealed to; nobody answers at the second.
RPC = "http://127.0.0.1:8545 http://joe:canaryPassword@127.0.0.1:9/canaryKey0123456789"
PROM = "/var/lib/prometheus/node-exporter/dstack-host.prom"
STATE = "/run/dstack/probes.state"
# Each is seen by diff: what breaks it, and what undoes that.
BREAKS = [
    ("a daemon stands still", "systemctl stop pccs.service", "systemctl start pccs.service"),
    ("a setting is another", "dstack-host config set KMS_DISK_GB=21", "dstack-host config unset KMS_DISK_GB"),
    ("a rendered file was changed", "sed -i s/1000/1001/ /run/dstack/vmm/vmm.toml", "dstack-host render vmm"),
    ("a guest image lost a file", "mv /var/lib/dstack/images/dstack-0.5.5/bzImage /root/",
     "mv /root/bzImage /var/lib/dstack/images/dstack-0.5.5/"),
    ("a secret can be read by all", "chmod 644 /etc/dstack/secrets/vmm-token", "chmod 600 /etc/dstack/secrets/vmm-token"),
    ("a package is held", "apt-mark hold haproxy", "apt-mark unhold haproxy"),
    ("somebody listens publicly", "systemd-run --quiet --unit=stranger python3 -m http.server 7777 && "
     "timeout 20 sh -c 'until ss -Hltn | grep -q :7777; do :; done'", "systemctl stop stranger.service"),
]


def secrets_of(box):
    """All that must not be seen: what was given, and what was made."""
    names = box.run(["ls", "/etc/dstack/secrets"]).stdout.split()
    values = [box.read(f"/etc/dstack/secrets/{name}").strip() for name in names]
    digests = [box.run(f"printf %s '{value}' | {tool} | cut -d ' ' -f 1").stdout.strip()
               for value in values for tool in ("sha256sum", "sha512sum")]
    assert len(values) >= 5, names
    return values + digests + ["canaryPassword", "canaryKey0123456789"]


def without_secrets(box, where, data):
    for secret in secrets_of(box):
        assert secret not in data, f"{where} shows {secret}"
    assert "PRIVATE KEY" not in data, where


def differences(box, reference, code):
    result = box.run(["dstack-host", "diff", reference, "--json"], check=False, timeout=60)
    assert result.code == code, (result.code, result.stdout[-3000:], result.stderr)
    return json.loads(result.stdout)


def tell():
    release = "bookworm"
    story = Story("report", release)

    @story.step("it is installed with secrets of every kind")
    def _(box):
        box.add_repo(built(release))
        box.write("/etc/dstack/host.conf", "DOMAIN=demo.example.org\n"
                  f"VMM_HOST_API_PORT={PORT}\nETH_RPC_URLS={RPC}\n", mode=0o600)
        box.preseed({f"dstack-host/{name}": ("password", value) for name, value in SECRETS.items()})
        box.apt_install("dstack-host", "dstack-host-sim", timeout=600)
        box.run(SETTLED, timeout=180)
        assert API_KEY in secrets_of(box)
        assert API_KEY in box.read("/run/dstack/pccs/local.json")
        box.run(["systemctl", "is-active", "dstack-kms.service"])

    @story.step("no print shows a secret")
    def _(box):
        for how in ("md", "json", "html"):
            data = box.run(["dstack-host", "report", "--format", how], timeout=60).stdout
            without_secrets(box, how, data)
            assert "/etc/dstack/secrets/vmm-token" in data and "Simulated" in data or how == "json"

    @story.step("the bundle shows none either, and has the journals", independent=True)
    def _(box):
        # What a daemon might say.
        box.write("/run/systemd/system/dstack-sim-pccs.service.d/talk.conf", "[Service]\nExecStartPost=/bin/echo said "
                  f"{API_KEY} Authorization: Bearer other-{'x' * 20}\n")
        box.run("systemctl daemon-reload && systemctl restart pccs.service && journalctl --sync")
        said = box.run(["dstack-host", "report", "--bundle", "/root/bundle.tar.gz"], timeout=60).stdout
        assert "Not in it:" in said
        assert box.run(["stat", "-c", "%a %U", "/root/bundle.tar.gz"]).stdout.split() == ["600", "root"]
        raw = box.run("base64 -w0 /root/bundle.tar.gz").stdout
        archive = tarfile.open(fileobj=io.BytesIO(base64.b64decode(raw)), mode="r:gz")
        names = [member.name for member in archive.getmembers()]
        for member in archive.getmembers():
            data = archive.extractfile(member).read().decode()
            without_secrets(box, member.name, data)
            assert "x" * 20 not in data, member.name
            assert data.count("\n") <= 500 or not member.name.startswith("dstack-report/journal/")
        for name in ("report.html", "check.json", "packages.txt", "rendered/front/haproxy.cfg",
                     "journal/dstack-vmm.service.txt", "journal/pccs.service.txt"):
            assert f"dstack-report/{name}" in names, names
        pccs = archive.extractfile("dstack-report/journal/pccs.service.txt").read().decode()
        assert "said (secret pccs-api-key) Authorization: Bearer (not shown)" in pccs, pccs[-2000:]
        box.run("rm -r /run/systemd/system/dstack-sim-pccs.service.d && systemctl daemon-reload")

    @story.step("an ordinary user gets a report that says what is missing", independent=True)
    def _(box):
        data = box.run("runuser -u nobody -- dstack-host report", timeout=60).stdout
        assert "Not made as root" in data
        without_secrets(box, "as nobody", data)

    @story.step("it does not differ from its own report")
    def _(box):
        box.run("dstack-host report --format json > /root/own.json", timeout=60)
        said = differences(box, "/root/own.json", 0)
        assert not said["differences"], said

    for name, wreck, mend in BREAKS:
        @story.step(f"{name}: it differs, and when that is undone it does not", independent=True)
        def _(box, wreck=wreck, mend=mend):
            box.run(wreck, timeout=60)
            said = differences(box, "/root/own.json", 1)
            assert said["summary"]["matters"], said
            box.run(mend, timeout=60)
            box.run(SETTLED, timeout=60)
            box.run("timeout 60 sh -c 'until dstack-host diff /root/own.json >/root/diff.txt; do :; done' || "
                    "{ cat /root/diff.txt; exit 1; }", timeout=90)

    @story.step("the differences from the reference host are named", independent=True)
    def _(box):
        box.write("/root/reference.json", (DATA / "reference-host.json").read_text())
        said = differences(box, "/root/reference.json", 1)
        classes = {item["path"]: item["class"] for item in said["differences"]}
        for path, wanted in {"network.domain": "identity", "system.cpus": "size", "registry.listen": "fault",
                             "configuration./etc/dstack/vmm.toml.values.workers": "fault"}.items():
            assert classes.get(path) == wanted, (path, classes.get(path))
        # What runs here as it does there is no difference.
        for path in ("services.dstack-vmm.service.active", "containers.aesmd.status", "ports.tcp/3443.address"):
            assert path not in classes, path

    @story.step("once node exporter is there its textfile directory gets the metrics, and it serves them")
    def _(box):
        assert box.run(["systemctl", "is-active", "dstack-host-metrics.timer"], check=False).code != 0
        box.apt_install("prometheus-node-exporter")
        box.run(SETTLED, timeout=120)
        box.run(["systemctl", "is-active", "dstack-host-metrics.timer"])
        box.run(["systemctl", "start", "dstack-host-metrics.service"], timeout=60)
        assert box.run(["stat", "-c", "%a", PROM]).stdout.strip() == "644"
        without_secrets(box, "metrics", box.read(PROM))
        served = box.run("curl -sf http://127.0.0.1:9100/metrics").stdout
        assert "node_textfile_scrape_error 0" in served
        assert 'dstack_host_check_status{group="vmm",id="vmm"} 0' in served, served[-3000:]
        assert "dstack_host_kms_latency_seconds" in served

    @story.step("what must not be asked often is asked once in several runs, and its age is told")
    def _(box):
        first = box.run(["grep", "tried", STATE]).stdout
        for _ in range(3):
            box.run(["systemctl", "start", "dstack-host-metrics.service"], timeout=60)
        assert box.run(["grep", "tried", STATE]).stdout == first
        assert box.run(["stat", "-c", "%a %U", STATE]).stdout.split() == ["600", "root"]
        assert "dstack_host_slow_probes_age_seconds" in box.read(PROM)

    @story.step("a failing check is in the metrics, those of the KMS keep their last answers")
    def _(box):
        box.run(["systemctl", "stop", "dstack-front.service"])
        box.run(["systemctl", "start", "dstack-host-metrics.service"], timeout=60)
        text = box.read(PROM)
        box.run(["systemctl", "start", "dstack-front.service"])
        assert 'id="front"} 2' in text and "dstack_host_kms_latency_seconds " in text

    @story.step("removed, it leaves no metrics that node exporter would go on telling")
    def _(box):
        box.apt("remove", "dstack-host-services")
        assert box.run(["test", "-e", PROM], check=False).code == 1
        assert box.run(["systemctl", "is-active", "dstack-host-metrics.timer"], check=False).code != 0

    story.run("report")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main(tell)
