# SPDX-License-Identifier: Apache-2.0
"""One thing broken at a time: what the shell does to a host, which check must say so, and what mends it."""

from typing import NamedTuple

AS_PRINTED = object()  # the fix that `check` prints, typed as printed


class Case(NamedTuple):
    name: str
    wreck: str      # shell
    check: str
    outcome: str
    mend: object    # AS_PRINTED, or shell where the cause is not on this host or the fix is a place to look at
    status: str = "fail"


VMM_TOML = "/etc/dstack/vmm.toml"
LINK = f"rm -f {VMM_TOML}; ln -s /run/dstack/vmm/vmm.toml {VMM_TOML}"
IMAGE = "/var/lib/dstack/images/dstack-0.5.5"
CONF = "/etc/dstack/host.conf"
ADDRESS = "$(ip -4 -o addr show scope global | awk '{sub(\"/.*\", \"\", $4); print $4; exit}')"


def theirs(text):
    """The operator's own vmm.toml."""
    return f"rm -f {VMM_TOML}; printf '{text}' > {VMM_TOML}; chmod 600 {VMM_TOML}"


def drop_in(unit, text):
    return f"mkdir -p /etc/systemd/system/{unit}.d; printf '{text}' > /etc/systemd/system/{unit}.d/x.conf; " \
           "systemctl daemon-reload"


def no_drop_in(unit):
    return f"rm -r /etc/systemd/system/{unit}.d; systemctl daemon-reload"


def listener(where, port):
    """Returns once it listens: the unit tells systemd."""
    return ("systemd-run -q --collect --unit=stranger -p Type=notify -p NotifyAccess=all python3 -c '"
            "import socket,subprocess,time; s=socket.socket(); s.setsockopt(1,2,1); "
            f"s.bind((\"'{where}'\",{port})); s.listen(); subprocess.run([\"systemd-notify\",\"--ready\"]); time.sleep(600)'")


GONE = "systemctl stop stranger"
FAULT = "mkdir -p /run/dstack-sim/faults; echo {} > /run/dstack-sim/faults/ethrpc"
NO_FAULT = "rm /run/dstack-sim/faults/ethrpc"
STOP_KMS = ("curl -sf --unix-socket /run/dstack/vmm/vmm.sock -H \"Authorization: Bearer $(cat /etc/dstack/secrets/"
            "vmm-internal-token)\" 'http://x/prpc/StopVm?json' -d \"{\\\"id\\\":\\\"$(ls /var/lib/dstack/vm)\\\"}\"")

# Asks QGS for a quote, as a guest does: what fails is in its journal.
QUOTE = """python3 -B - <<'EOF'
import socket, struct, sys
sys.path.insert(0, "/usr/lib/dstack-host-sim")
import tdquote
report = bytes(tdquote.REPORT_SIZE)
payload = struct.pack("<II", len(report), 0) + report
message = struct.pack("<HHIII", 1, 0, 0, 16 + len(payload), 0) + payload
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(60)
sock.connect("/var/run/tdx-qgs/qgs.socket")
sock.sendall(struct.pack(">I", len(message)) + message)
sock.recv(4096)
EOF
"""
# Nobody is told when haproxy's new worker has taken over.
UNTIL_FORGOTTEN = ("timeout 20 sh -c 'until curl -s -o /dev/null -w %{http_code} -H \"Authorization: Bearer "
                   "$(cat /etc/dstack/secrets/vmm-token)\" http://127.0.0.1:9080/prpc/Version | grep -q 401; do :; done'")
QGSD = "/etc/systemd/system/qgsd.service.d/zz-test.conf"


def qcnl(text):
    return (f"printf '%s' '{text}' > /etc/other-qcnl.conf; mkdir -p $(dirname {QGSD}); "
            f"printf '[Service]\\nEnvironment=QCNL_CONF_PATH=/etc/other-qcnl.conf\\n' > {QGSD}; "
            "systemctl daemon-reload; systemctl restart qgsd")


QCNL_MEND = f"rm {QGSD} /etc/other-qcnl.conf; systemctl daemon-reload; systemctl restart qgsd"
# Until what it restarts has started: a job that waits is no finding.
APPLY = ("systemctl start --wait dstack-host-start; systemd-run --quiet --wait --collect --property='After=dstack-guard.service "
         "dstack-host-start.service pccs.service qgsd.service' true")
NO_KEY = f"rm -f /etc/dstack/secrets/pccs-api-key; {APPLY}; systemctl restart pccs"
# Asks PCCS for a platform that it has not in its cache, so that it asks its PCS.
PCK = """python3 -B - <<'EOF'
import ssl, urllib.error, urllib.request
url = ("https://localhost:8081/sgx/certification/v4/pckcert?qeid=aa&cpusvn=" + "00" * 16 + "&pcesvn=0d00&pceid=0000"
       "&encrypted_ppid=" + "5a" * 384)
try:
    urllib.request.urlopen(url, context=ssl._create_unverified_context())
except urllib.error.HTTPError:
    pass
EOF
"""

UNTIL_PUSHED = ("timeout 20 sh -c 'until curl -sk -o /dev/null -w %{http_code} --connect-to ::127.0.0.1:443 -X POST "
                "https://registry.demo.example.org/v2/x/blobs/uploads/ | grep -q 202; do :; done'")
UNTIL_X = ("timeout 20 sh -c 'until openssl s_client -connect 127.0.0.1:443 -servername registry.demo.example.org "
           "</dev/null 2>/dev/null | grep -q \"subject=CN *= *x\"; do :; done'")

SERVICES = [
    Case("Docker stopped", "systemctl stop docker.socket docker.service", "docker", "failed", AS_PRINTED),
    Case("PCCS stopped", "systemctl stop pccs", "pccs", "failed", AS_PRINTED),
    Case("QGS stopped", "systemctl stop qgsd", "qgsd", "failed", AS_PRINTED),
    Case("front stopped", "systemctl stop dstack-front", "front", "failed", AS_PRINTED),
    Case("registry stopped", "systemctl stop dstack-registry", "registry", "failed", AS_PRINTED),
    Case("VMM stopped", "systemctl stop dstack-vmm", "vmm", "failed", AS_PRINTED),
    Case("guard stopped", "systemctl stop dstack-guard", "guard", "failed", AS_PRINTED),
    Case("key provider's container stopped", "docker stop gramine-sealing-key-provider", "sealing", "failed",
         "docker start gramine-sealing-key-provider; dstack-host await key-provider"),
    Case("aesmd's container stopped", "docker stop aesmd", "aesmd", "failed",
         "systemctl restart dstack-key-provider; dstack-host await key-provider"),
    Case("the KMS's CVM stopped", STOP_KMS, "kms.boot", "stopped", AS_PRINTED),
]

SETTINGS = [
    Case("a key with a wrong value", f"echo PCCS_PORT=70000 >> {CONF}", "settings", "failed",
         f"sed -i /PCCS_PORT=70000/d {CONF}"),
    Case("an unknown key", f"echo DOMIAN=x >> {CONF}", "settings", "failed", f"sed -i /DOMIAN/d {CONF}"),
    Case("a rendered file tampered with", "echo '# x' >> /run/dstack/qcnl/sgx_default_qcnl.conf", "files", "waiting",
         AS_PRINTED),
    Case("an answer that was refused", "echo 'DOMAIN: has a blank in it' > /var/lib/dstack/rejected", "settings.answers",
         "refused", "dstack-host config set DOMAIN=demo.example.org"),
]

DEVICES = [
    Case("enclave node open to all", "chmod 0666 /dev/sgx_enclave", "devices.enclave", "wrong-mode", AS_PRINTED),
    Case("provision node of another group", "chgrp root /dev/sgx_provision", "devices.provision", "wrong-group", AS_PRINTED),
    Case("vepc node deleted", "rm /dev/sgx_vepc", "devices.vepc", "absent", "systemctl restart dstack-sim-devices"),
    Case("a file where the node was", "rm /dev/sgx_enclave; touch /dev/sgx_enclave", "devices.enclave", "not-a-device",
         "rm /dev/sgx_enclave; systemctl restart dstack-sim-devices"),
    Case("sgx_prv is no system group", "groupmod -g 1500 sgx_prv", "devices.sgx-prv", "high-gid", AS_PRINTED),
    Case("qgsd left out of sgx_prv", "gpasswd -d qgsd sgx_prv", "devices.qgsd", "not-a-member", AS_PRINTED),
]

HOST = [
    Case("start unit disabled", "systemctl disable dstack-host-start", "host.boot", "disabled", AS_PRINTED),
    Case("KMS masked", "systemctl mask dstack-kms", "host.boot", "masked", AS_PRINTED),
    Case("reboot pending", "echo > /run/reboot-required", "host.reboot", "pending", "rm /run/reboot-required", "warn"),
    Case("a package held", "apt-mark hold bash", "host.holds", "held", "apt-mark unhold bash", "warn"),
    Case("a user is root by docker", "useradd eve; usermod -aG docker eve", "host.docker-group", "members", AS_PRINTED,
         "warn"),
    Case("PCCS's port open on the network", listener(ADDRESS, 8081), "host.listeners", "exposed", GONE),
    Case("Docker's API on the network", listener("0.0.0.0", 2375), "host.listeners", "docker", GONE),
    Case("a web server on the network", listener("0.0.0.0", 80), "host.listeners", "unexpected", GONE, "warn"),
    Case("a stranger at the front's port", "systemctl stop dstack-front; " + listener("127.0.0.1", 9080), "host.ports",
         "taken", GONE + "; systemctl start dstack-front"),
    Case("a secret that all can read", "chmod 644 /etc/dstack/secrets/vmm-token", "host.secrets", "readable", AS_PRINTED),
    Case("secrets' directory open", "chmod 755 /etc/dstack/secrets", "host.secrets", "readable", AS_PRINTED),
    Case("a secret of another owner", "chown nobody /etc/dstack/secrets/vmm-token", "host.secrets", "owner", AS_PRINTED),
    Case("a token in argv", "systemd-run -q --collect --unit=leak bash -c \"exec -a $(cat /etc/dstack/secrets/vmm-token) "
         "sleep 600\"", "host.leaks", "argv", "systemctl stop leak"),
    Case("a token in a unit's environment", drop_in("dstack-front.service", "[Service]\\nEnvironment=T="
         "$(cat /etc/dstack/secrets/vmm-token)\\n").replace("printf '", 'printf "').replace("\\n' >", '\\n" >') + "; systemctl restart dstack-front", "host.leaks", "environment",
         no_drop_in("dstack-front.service") + "; systemctl restart dstack-front"),
    Case("a token in debconf", "printf 'dstack-host dstack-host/vmm-token password %s' \"$(cat /etc/dstack/secrets/vmm-token)\" "
         "| debconf-set-selections", "host.leaks", "debconf", AS_PRINTED),
    Case("logs have no room", "mount -t tmpfs -o size=64m tmpfs /var/log", "platform.space",
         "full", "umount /var/log"),
]

ATTESTATION = [
    Case("an API key that Intel refuses",
         "echo bad00000000000000000000000000000 | dstack-host secret set pccs-api-key; " + APPLY,
         "pccs.api-key", "refused", NO_KEY),
    Case("PCCS runs with another API key",
         # the tried key is refused in PCCS's own log, and the stored one is not in use
         "echo bad00000000000000000000000000000 | dstack-host secret set pccs-api-key; " + APPLY +
         "; systemctl restart pccs; dstack-host await pccs; " + PCK +
         "printf %032d 0 | dstack-host secret set pccs-api-key; dstack-host render pccs",
         "pccs.api-key", "not-in-use", AS_PRINTED),
    Case("PCCS runs with older tokens", "echo user-token-1 | dstack-host secret set pccs-user-token; "
         "echo admin-token-1 | dstack-host secret set pccs-admin-token; systemctl restart pccs; "
         "dstack-host await pccs; "
         "echo user-token-2 | dstack-host secret set pccs-user-token; dstack-host render pccs",
         "pccs.tokens", "refused", AS_PRINTED),
    Case("no way to Intel", "dstack-host config set PROXY=http://127.0.0.1:9; " + APPLY, "pccs.intel", "unreachable",
         "dstack-host config unset PROXY; " + APPLY),
    Case("PCCS fetches nothing",
         "dstack-host config set PCCS_FILL_MODE=OFFLINE; " + APPLY, "pccs.fill", "offline", AS_PRINTED,
         "warn"),
    Case("PCCS shows the certificate of another CA",
         "rm -r /var/lib/dstack/ca; dstack-host render; systemctl restart dstack-front", "pccs.tls", "other-ca",
         AS_PRINTED),
    Case("qgsd reads another file, no JSON", qcnl('{ "retry_times": 6, }'), "qcnl.file", "broken", QCNL_MEND),
    Case("qgsd reads a file with a misspelt key",
         qcnl('{ "pccs_uri": "x", "pccs_url": "https://localhost:8081/sgx/certification/v4/", '
              '"use_secure_cert": false }'),
         "qcnl.file", "unknown-key", QCNL_MEND, "warn"),
    Case("qgsd's file is not there", qcnl("{}") + "; rm /etc/other-qcnl.conf; touch /etc/other-qcnl.conf.x; "
         "rm /etc/other-qcnl.conf.x", "qcnl.file", "missing", f"touch /etc/other-qcnl.conf; {QCNL_MEND}"),
    Case("qgsd asks another PCCS", qcnl('{ "pccs_url": "https://pccs.example/v4/", "use_secure_cert": false }'),
         "qcnl.agree", "other-pccs", QCNL_MEND),
    Case("qgsd does not trust PCCS", qcnl("{}"), "qcnl.agree", "untrusted", QCNL_MEND),
    Case("qgs.conf without a port",
         "echo 'number_threads = 4' > /etc/qgs.conf; dstack-host config set QGS_ADDRESS=vsock:2:4050; " + APPLY, "qgs.conf",
         "no-port", "rm /etc/qgs.conf; dstack-host config unset QGS_ADDRESS; " + APPLY),
    Case("qgs.conf with another port",
         "echo 'port = 4051' > /etc/qgs.conf; dstack-host config set QGS_ADDRESS=vsock:2:4050; " + APPLY, "qgs.conf",
         "wrong-port", "rm /etc/qgs.conf; dstack-host config unset QGS_ADDRESS; " + APPLY),
    Case("the last quote failed", "rm -rf /var/lib/dstack-sim-pccs/store* /var/lib/dstack-sim-pccs/pckcache*; "
         "dstack-host config set PCCS_FILL_MODE=OFFLINE; " + APPLY + "; systemctl restart pccs qgsd; "
         "dstack-host await pccs; dstack-host await qgsd; " + QUOTE,
         "qgsd.errors", "error", AS_PRINTED),
    Case("aesmd lost its device",
         "rm /proc/$(docker inspect -f '{{.State.Pid}}' aesmd)/root/dev/sgx_enclave; "
         "docker restart -t 1 gramine-sealing-key-provider", "aesmd.errors",
         "error", AS_PRINTED),
    Case("aesmd is not started again", "docker update --restart=no aesmd", "key-provider.restart", "never", AS_PRINTED,
         "warn"),
    Case("a container of another image",
         "docker tag dstack-sim/aesmd:latest other/aesmd:1; dstack-host config set AESMD_IMAGE=other/aesmd:1; "
         "systemctl restart dstack-key-provider; "
         "sed -i /AESMD_IMAGE/d /etc/dstack/host.conf; dstack-host render", "key-provider.images", "other",
         "systemctl restart dstack-key-provider"),
    Case("the QCNL file was replaced under aesmd",
         "cd /run/dstack/qcnl; cp -p sgx_default_qcnl.conf x; mv x sgx_default_qcnl.conf", "key-provider.qcnl", "stale",
         AS_PRINTED),
    Case("another key provider than the one that sealed",
         "cp -p /var/lib/dstack/kms/key-provider /tmp/kp; echo sha256:22 > /var/lib/dstack/kms/key-provider",
         "key-provider.measurement", "changed", "cp -p /tmp/kp /var/lib/dstack/kms/key-provider"),
    Case("the registry takes pushes",
         "sed -i \"/string 'read only'/d\" /run/dstack/front/haproxy.cfg; systemctl kill -s USR2 --kill-whom=main "
         "dstack-front; " + UNTIL_PUSHED + "; dstack-host render front", "registry.push", "open", AS_PRINTED),
    Case("the registry's certificate ends tomorrow",
         "cd /tmp; openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out r -subj /CN=x; "
         "printf 'subjectAltName=DNS:registry.demo.example.org\\n' > e; openssl x509 -req -in r -CA "
         "/var/lib/dstack/ca/ca.crt -CAkey /var/lib/dstack/ca/ca.key -days 1 -extfile e -out c; "
         "cat c k > /run/dstack/front/registry.pem; rm k r e c; systemctl kill -s USR2 --kill-whom=main dstack-front; " +
         UNTIL_X + "; dstack-host render front",
         "registry.certificate", "expiring", AS_PRINTED, "warn"),
    Case("Debian's registry runs",
         "mkdir -p /etc/systemd/system/docker-registry.service.d; printf '[Unit]\\nConditionPathExists=\\n' > "
         "/etc/systemd/system/docker-registry.service.d/zz.conf; systemctl daemon-reload; "
         "systemctl start docker-registry", "registry.stock", "running", AS_PRINTED),
]

VMM = [
    Case("operator moves the API", theirs('address = "127.0.0.1:9081"\\n'), "vmm.config", "api", LINK),
    Case("operator lets the VMM start its supervisor", theirs("[supervisor]\\nauto_start = true\\n"), "vmm.config",
         "supervisor", LINK),
    Case("operator's vmm.toml is broken", theirs("[cvm]\\nkms_urls = [\\n"), "vmm.config", "syntax", LINK),
    Case("operator moves the images", theirs('image_path = "/data"\\n'), "vmm.config", "elsewhere", LINK, "warn"),
    Case("operator points guests at their own loopback", theirs('[cvm]\\nkms_urls = ["http://127.0.0.1:8081"]\\n'),
         "vmm.config", "guests", LINK, "warn"),
    Case("operator's tokens for all to read", theirs('[auth]\\ntokens = ["x"]\\n') + f"; chmod 644 {VMM_TOML}", "vmm.config",
         "readable", LINK),
    Case("operator misspells a key", theirs("[cvm]\\ncid_strat = 5\\n"), "vmm.config-keys", "unknown", LINK, "warn"),
    Case("operator offers the host's own ports",
         theirs('[cvm.port_mapping]\\nrange = [{ protocol = "tcp", from = 1, to = 20000 }]\\n'), "vmm.ports", "covered", LINK),
    Case("a stray /etc/vmm", "mkdir -p /etc/vmm; touch /etc/vmm/vmm.toml", "vmm.stray", "stray", "rm -r /etc/vmm", "warn"),
    Case("the VMM's socket open", "chmod 0777 /run/dstack/vmm/vmm.sock", "vmm.socket", "open", AS_PRINTED),
    Case("the VMM's directory open", "chmod 0755 /run/dstack/vmm", "vmm.socket", "open", AS_PRINTED),
    Case("the supervisor's socket open", "chmod 0777 /run/dstack/supervisor.sock", "supervisor.socket", "open", AS_PRINTED),
    Case("the supervisor can be stopped", drop_in("dstack-supervisor.service", "[Unit]\\nRefuseManualStop=no\\n"),
         "supervisor.refuses", "stoppable", no_drop_in("dstack-supervisor.service")),
    Case("the CVMs' slice can be stopped", drop_in("dstackcvm.slice", "[Unit]\\nRefuseManualStop=no\\n"),
         "supervisor.refuses", "stoppable", no_drop_in("dstackcvm.slice")),
    Case("another unit hides ours", "cp $(systemctl show -P FragmentPath dstack-vmm) /etc/systemd/system/dstack-vmm.service; "
         "systemctl daemon-reload", "vmm.unit", "hidden", "rm /etc/systemd/system/dstack-vmm.service; systemctl daemon-reload"),
    Case("a tampered kernel in the image", f"cp -a {IMAGE}/bzImage /tmp/k; echo x >> {IMAGE}/bzImage", "image.files",
         "differs", f"cp -a /tmp/k {IMAGE}/bzImage"),
    Case("an image without firmware", f"mv {IMAGE}/ovmf.fd /tmp/o", "image", "failed", f"mv /tmp/o {IMAGE}/ovmf.fd"),
    Case("a wrong image digest", f"cp -a {IMAGE}/digest.txt /tmp/d; echo 00 > {IMAGE}/digest.txt", "image", "failed",
         f"cp -a /tmp/d {IMAGE}/digest.txt"),
    Case("another VMM's guest in the CID pool", "systemd-run -q --collect --unit=guest bash -c 'exec -a "
         "vhost-vsock-pci,guest-cid=1500 sleep 600'", "vmm.cids", "overlap", "systemctl stop guest", "warn"),
    Case("the supervisor's log is not rotated", "mv /etc/logrotate.d/dstack-host /tmp/", "vmm.logs", "unrotated",
         "mv /tmp/dstack-host /etc/logrotate.d/", "warn"),
    Case("a ghost of a failed creation", "mkdir /var/lib/dstack/vm/11111111-2222-4333-8444-555555555555", "vmm.ghosts",
         "unloaded", "rmdir /var/lib/dstack/vm/11111111-2222-4333-8444-555555555555", "warn"),
    Case("the front forgets this host's token", "sed -i \"s/^[0-9a-f]\\{64\\}/$(printf %064d 0)/\" /run/dstack/front/"
         "tokens.map; systemctl kill -s USR2 --kill-whom=main dstack-front; " + UNTIL_FORGOTTEN + "; dstack-host render front",
         "front.token", "refused", AS_PRINTED),
]

# The stand-in QEMU; what the KMS measured was put on record by its deployment.
QEMU = "/usr/lib/dstack-host-sim/bin/qemu"
OTHER_QEMU = (f"cp -a {QEMU} /tmp/former-qemu; cp -a {QEMU} {QEMU}.dpkg-new; sed -i 's/^sys.exit.*/import cvm; cvm.VERSION = "
              f"\"10.0.0\"; sys.exit(cvm.main())/' {QEMU}.dpkg-new; mv {QEMU}.dpkg-new {QEMU}")

KMS = [
    Case("another QEMU in place, the KMS runs on", OTHER_QEMU, "measure.disks", "other-qemu", f"mv /tmp/former-qemu {QEMU}"),
    Case("another CA on record", "cp /var/lib/dstack/kms/ca.pem /tmp/; cp $(ls /etc/ssl/certs/*.pem | head -1) "
         "/var/lib/dstack/kms/ca.pem", "kms", "other-ca", "cp /tmp/ca.pem /var/lib/dstack/kms/ca.pem"),
    Case("the frozen compose changed", "cp -a /var/lib/dstack/kms/app-compose.json /tmp/; echo >> "
         "/var/lib/dstack/kms/app-compose.json", "kms.frozen", "record",
         "cp -a /tmp/app-compose.json /var/lib/dstack/kms/"),
    Case("the CVM's compose changed", "f=$(ls /var/lib/dstack/vm/*/shared/app-compose.json); cp -a $f /tmp/m; echo >> $f",
         "kms.frozen", "machine", "cp -a /tmp/m $(ls /var/lib/dstack/vm/*/shared/app-compose.json)"),
    Case("settings that a sealed KMS does not have", f"echo KMS_VCPU=3 >> {CONF}", "kms.settings", "changed",
         f"sed -i /KMS_VCPU/d {CONF}", "warn"),
    Case("the chain is rate limited (K1)", FAULT.format(429), "chain.endpoint", "limited", NO_FAULT),
    Case("the chain hangs (K1)", FAULT.format("hang"), "chain.endpoint", "silent", NO_FAULT),
    Case("the chain is not there", "systemctl stop dstack-sim-ethrpc", "chain.endpoint", "silent",
         "systemctl start dstack-sim-ethrpc"),
    Case("a wrong chain", f"echo CHAIN_ID=1 >> {CONF}", "chain.id", "wrong", f"sed -i /CHAIN_ID/d {CONF}"),
    Case("a spare endpoint that is dead", f"echo 'ETH_RPC_URLS=http://127.0.0.1:8545 http://127.0.0.1:8546' >> {CONF}; " + APPLY,
         "chain.spares", "troubled", f"sed -i /ETH_RPC/d {CONF}; " + APPLY, "warn"),
]

# Last: what it leaves is mended by a reboot alone.
ORPHANS = [
    Case("the supervisor killed", "systemctl kill -s KILL --kill-whom=main dstack-supervisor", "supervisor", "failed",
         AS_PRINTED),
]

CASES = SERVICES + SETTINGS + DEVICES + HOST + ATTESTATION + VMM + KMS
