# SPDX-License-Identifier: Apache-2.0
"""The 34 faults of the reference host, none of which may hold on ours (reference-host.json "faults").

Each is a function that raises when the fault can be seen, or a reason why it cannot be seen in a container.
"""

import json
import tomllib

import reference

VMM_TOML = "/run/dstack/vmm/vmm.toml"


def vmm(box):
    return tomllib.loads(box.read(VMM_TOML))


def app_compose(box):
    return json.loads(box.read("/var/lib/dstack/kms/app-compose.json"))


def hard_coded(box, words):
    out = box.run(f"grep -rlE '{words}' /usr/sbin/dstack-host /usr/lib/dstack-host /lib/systemd/system/dstack* "
                  "/usr/share/dstack-host /etc/dstack /run/dstack", check=False).stdout
    assert not out, out


def fault_1(box):
    hard_coded(box, "1028-intel|6\\.8\\.0")


def fault_2(box):
    shown = box.run(["systemctl", "show", "-P", "Environment", "qgsd.service"]).stdout
    assert "QCNL_CONF_PATH=/run/dstack/qcnl/sgx_default_qcnl.conf" in shown, shown


def fault_3(box):
    url = "https://registry.demo.example.org/v2/x/blobs/uploads/"
    code = box.run("curl -sk -o /dev/null -w '%{http_code}' --connect-to ::127.0.0.1:443 -X POST " + url).stdout
    assert code in ("403", "405"), f"a push from outside was answered {code}"


def fault_4(box):
    assert vmm(box)["cvm"]["networking"]["mode"] == "user"
    assert box.run(["pgrep", "-f", "passt"], check=False).code == 1


def fault_6(box):
    assert not {"workers", "max_blocking"} & vmm(box).keys()


def fault_7(box):
    assert vmm(box)["kms_url"] == "https://127.0.0.1:9103", vmm(box)["kms_url"]


def fault_8(box):
    assert vmm(box)["run_path"] == "/var/lib/dstack/vm"
    assert box.run(["test", "-e", "/root/.dstack-vmm"], check=False).code == 1
    assert "copytruncate" in box.read("/etc/logrotate.d/dstack-host")


def fault_9(box):
    supervisor = vmm(box)["supervisor"]
    assert all(supervisor[key].startswith("/") for key in ("exe", "sock", "pid_file", "log_file"))
    assert supervisor["auto_start"] is False


def fault_10(box):
    cvm = vmm(box)["cvm"]
    assert cvm["gateway_urls"] == [], cvm
    assert all(url.startswith("https://kms.") and "127." not in url for url in cvm["kms_urls"]), cvm
    assert vmm(box)["gateway"]["port"] == 443


def fault_11(box):
    cpus = int(box.run(["nproc", "--all"]).stdout)
    assert vmm(box)["cvm"]["max_allocable_vcpu"] == max(1, cpus - 4)


def fault_12(box):
    ranges = vmm(box)["cvm"]["port_mapping"]["range"]
    assert {r["protocol"] for r in ranges} == {"tcp", "udp"}
    for port in (443, 3443, 8081, 9080, 9100):
        assert not any(r["protocol"] == "tcp" and r["from"] <= port <= r["to"] for r in ranges), port


def fault_13(box):
    assert box.run(["stat", "-c", "%a", VMM_TOML]).stdout.strip() == "600"
    code = box.run("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9080/prpc/Status?json").stdout
    assert code == "401", code


def fault_14(box):
    overlay = json.loads(box.read("/run/dstack/pccs/local.json"))
    assert "sqlite" not in overlay and "DB_CONFIG" not in overlay, "an overlay repeats Intel's file"
    assert box.run(["test", "-e", "/opt/intel"], check=False).code == 1, "something was written to Intel's directory"


def fault_15(box):
    unit = box.run(["systemctl", "cat", "dstack-vmm.service"]).stdout
    assert "KillMode=process" in unit and "WorkingDirectory=" in unit and "LimitNOFILE=" in unit
    assert "StartLimitBurst=" in unit, "it would try for ever on a wrong configuration"


def fault_16(box):
    image = "/var/lib/dstack/images/dstack-0.5.5"
    digest = box.run(f"sha256sum < {image}/sha256sum.txt").stdout.split()[0]
    assert box.read(f"{image}/digest.txt").strip() == digest


def fault_17(box):
    metadata = json.loads(box.read("/var/lib/dstack/images/dstack-0.5.5/metadata.json"))
    assert metadata["cmdline"] and metadata["shared_ro"] is True


def fault_18(box):
    box.run(["test", "-x", vmm(box)["supervisor"]["exe"]])


def fault_19(box):
    assert not box.run("ls -A /home").stdout.strip()


def fault_20(box):
    reference.check_containers(box)
    volumes = box.run(["docker", "volume", "ls", "-q"]).stdout.split()
    assert "dstack-key-provider_aesmd" in volumes, volumes


def fault_21(box):
    qcnl = json.loads(box.read("/run/dstack/qcnl/sgx_default_qcnl.conf"))
    assert set(qcnl) == {"pccs_url", "use_secure_cert", "retry_times", "retry_delay", "pck_cache_expire_hours",
                         "verify_collateral_cache_expire_hours", "local_cache_only"}, sorted(qcnl)
    box.run(["docker", "exec", "aesmd", "/usr/bin/python3", "-c",
             "open('/etc/sgx_default_qcnl.conf').read()"])  # a file, not a directory that Docker made


def fault_22(box):
    box.run("openssl s_client -connect 127.0.0.1:443 -servername registry.demo.example.org </dev/null 2>/dev/null |"
            " openssl x509 -noout -checkend 2592000 -checkhost registry.demo.example.org")


def fault_23(box):
    assert "@sha256:" in app_compose(box)["docker_compose_file"]


def fault_24(box):
    for line in box.read("/var/lib/dstack/kms/auth-eth.env").splitlines():
        name, _, value = line.partition("=")
        assert name and value and not set(line) & set("#'\" \t"), line


def fault_26(box):
    before = box.run("ls /var/lib/dstack/vm").stdout
    box.run(["systemctl", "restart", "dstack-kms.service"])
    box.run(["dstack-host", "kms", "deploy"])
    assert box.run("ls /var/lib/dstack/vm").stdout == before, "a second KMS was deployed"


def fault_27(box):
    fault_10(box)


def fault_28(box):
    hard_coded(box, "tdx1\\.[0-9]|0ubuntu1\\.4")


def fault_30(box):
    assert app_compose(box)["secure_time"] is False


def fault_31(box):
    box.run(["docker", "stop", "gramine-sealing-key-provider"])
    try:
        rows = json.loads(box.run(["dstack-host", "status", "--json"], check=False).stdout)["parts"]
        state = {row["id"]: row["state"] for row in rows}
        assert state["key-provider"] not in ("ok", "off"), state
    finally:
        box.run(["docker", "start", "gramine-sealing-key-provider"])
        box.run(["dstack-host", "await", "key-provider"], timeout=60)


def fault_32(box):
    token = box.run(["cat", "/etc/dstack/secrets/vmm-token"]).stdout.strip()
    for command in ("status", "status --json", "config list", "secret list", "render --diff"):
        assert token not in box.run(f"dstack-host {command} 2>&1", check=False).stdout, command


def fault_33(box):
    reference.check_nothing_public(box)


def fault_34(box):
    rows = {row["id"] for row in json.loads(box.run(["dstack-host", "status", "--json"], check=False).stdout)["parts"]}
    assert {"supervisor", "vmm", "image", "key-provider", "pccs", "qgsd", "registry", "kms"} <= rows, sorted(rows)


NOT_SEEN = {
    5: "compared by name with the device and group tables (reference.check_devices, check_groups)",
    25: "both layouts are unit-tested byte for byte (tests/unit/test-render-kms.c)",
    29: "a confirmed finding, not a state of a host; ETH_RPC_URLS takes several endpoints",
}


def check_all(box):
    """Every fault of the document is either looked for or explained; raises with all that hold."""
    found = []
    for number in (row["id"] if isinstance(row, dict) else row for row in reference.REFERENCE["faults"]):
        if number in NOT_SEEN:
            continue
        try:
            globals()[f"fault_{number}"](box)
        except Exception as error:
            found.append(f"fault {number}: {error}")
    assert not found, "\n".join(found)
