#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong and missing answers, a registry that was there before, policy-rc.d, a chroot without systemd."""

import json
import os

from life import Story, built, main, settled

PORT = 10021
SETTLE = settled()


def status(box):
    return json.loads(box.run(["dstack-host", "status", "--json"], check=False).stdout)


def again(box, answers):
    """Installs the meta-package as if for the first time, with these answers; returns what apt printed."""
    box.apt("purge", "dstack-host")
    box.run("rm -rf /etc/dstack/host.conf /etc/dstack/secrets/pccs-* /var/lib/dstack/rejected")
    box.preseed(answers)
    result = box.apt_install("dstack-host")
    return result.stdout + result.stderr


def tell():
    release = "bookworm"
    story = Story("input", release)

    @story.step("with policy-rc.d and without any answer it installs and starts nothing")
    def _(box):
        box.apt_install("docker-registry")
        box.run("timeout 20 sh -c 'until ss -Hltn | grep -q :5000; do systemctl is-active -q docker-registry; done'")
        box.add_repo(built(release))
        box.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
        box.apt_install("dstack-host", timeout=600)
        assert box.run("systemctl list-units --all --no-legend 'dstack-*' | grep -w active", check=False).code == 1
        box.run(["rm", "/usr/sbin/policy-rc.d"])

    @story.step("Debian's registry that was there before is left alone, and reported")
    def _(box):
        box.run(["systemctl", "restart", "docker-registry.service"])
        box.run(["systemctl", "is-active", "docker-registry.service"])
        assert any(row["port"] == 5000 for row in status(box)["public"]), status(box)["public"]

    @story.step("status names the missing setting and the command that sets it")
    def _(box):
        box.run(["systemctl", "start", "dstack-host-start.service"])
        text = box.run(["dstack-host", "status"], check=False).stdout
        assert "dstack-host config set DOMAIN=" in text.splitlines()[-1], text

    @story.step("with the simulation but without a domain the target is reached and the KMS waits for it")
    def _(box):
        box.run(["dstack-host", "config", "set", f"VMM_HOST_API_PORT={PORT}"])
        box.apt_install("dstack-host-sim")
        box.run(SETTLE, timeout=120)
        box.run(["systemctl", "is-active", "dstack-host.target"])
        kms = next(row for row in status(box)["parts"] if row["id"] == "kms")
        assert kms["state"] == "waiting" and "DOMAIN" in kms["detail"], kms

    @story.step("a preseed with a wrong domain ends, is not stored, and its reason is shown until the key is set")
    def _(box):
        text = again(box, {"dstack-host/domain": "bad domain", "dstack-host/settings": "KMS_PORT=70000 NOPE=1"})
        assert box.installed("dstack-host"), text
        assert "DOMAIN=" not in box.read("/etc/dstack/host.conf")
        shown = box.run(["dstack-host", "status"], check=False).stdout
        for reason in ("DOMAIN", "not a domain name", "KMS_PORT", "not a port", "NOPE"):
            assert reason in " ".join(shown.split()), (reason, shown)
        box.run(["dstack-host", "config", "set", "DOMAIN=demo.example.org", "KMS_PORT=9103"])
        assert "not a domain name" not in box.run(["dstack-host", "status"], check=False).stdout

    @story.step("a preseeded token with a quote or \\n is refused and never repeated")
    def _(box):
        text = again(box, {"dstack-host/domain": "demo.example.org",
                           "dstack-host/pccs-user-token": ("password", 'canary"canary99'),
                           "dstack-host/pccs-admin-token": ("password", "canarycanary\\nDOMAIN=evil.example.org")})
        shown = box.run(["dstack-host", "status"], check=False).stdout
        assert "canary" not in text + shown, text
        assert "pccs-user-token" in shown and "pccs-admin-token" in shown, shown
        assert "evil" not in box.read("/etc/dstack/host.conf")
        box.run("! ls /etc/dstack/secrets/pccs-*-token")
        box.run("! grep -rl canary /var/cache/debconf /etc/dstack /var/lib/dstack /var/log/dstack")

    @story.step("existing file > preseed > detected > default")
    def _(box):
        box.run(["dstack-host", "config", "set", "KMS_DISK_GB=25"])
        conf = box.read("/etc/dstack/host.conf")
        box.apt("remove", "dstack-host")
        box.preseed({"dstack-host/domain": "preseed.example.org", "dstack-host/public-address": "192.0.2.7",
                     "dstack-host/settings": "KMS_DISK_GB=27"})
        box.apt_install("dstack-host")
        assert box.read("/etc/dstack/host.conf") == conf + "PUBLIC_ADDRESS=192.0.2.7\n", "the file wins, key by key"
        again(box, {"dstack-host/domain": "preseed.example.org", "dstack-host/settings": f"KMS_DISK_GB=27 VMM_MAX_VCPU=3 "
                    f"VMM_HOST_API_PORT={PORT}"})
        get = lambda key: box.run(["dstack-host", "config", "get", key]).stdout.strip()  # noqa: E731
        assert get("KMS_DISK_GB") == "27" and get("VMM_MAX_VCPU") == "3", "a preseed wins over what is detected"
        box.run(["dstack-host", "config", "unset", "VMM_MAX_VCPU"])
        assert get("VMM_MAX_VCPU") == str(max(1, int(box.run(["nproc", "--all"]).stdout) - 4))
        box.run(["dpkg-reconfigure", "-fnoninteractive", "dstack-host"])
        assert "VMM_MAX_VCPU" not in box.read("/etc/dstack/host.conf"), "an unset key came back from debconf"
        assert get("PCCS_PORT") == "8081"

    @story.step("a wrong value in host.conf: the affected service refuses with the same line, others start")
    def _(box):
        box.run("echo REGISTRY_LISTEN=127.0.0.1:x >> /etc/dstack/host.conf")
        line = box.run(["dstack-host", "config", "validate"], check=False)
        assert line.code == 3
        wanted = next(text for text in line.stderr.splitlines() if "REGISTRY_LISTEN" in text)
        assert box.run(["systemctl", "restart", "dstack-front.service"], check=False).code != 0
        log = box.run(["journalctl", "--no-pager", "-o", "cat", "-u", "dstack-front.service"]).stdout
        assert wanted in log, (wanted, log[-800:])
        box.run(["systemctl", "restart", "dstack-registry.service"])
        box.run("sed -i /REGISTRY_LISTEN/d /etc/dstack/host.conf; systemctl start dstack-host-start.service")

    story.run("input")

    order = Story("order", release)

    @order.step("apt unpacks what keeps Debian's registry shut before it configures the registry, however it is asked")
    def _(box):
        # Not with APT::Immediate-Configure-All: apt then finishes each package before it unpacks the next.
        box.add_repo(built(release))
        for words in (["dstack-host"], ["docker-registry", "dstack-host"], ["dstack-host", "docker-registry"],
                      ["dstack-host-services", "docker-registry", "haproxy"],
                      ["-o", "APT::Immediate-Configure=false", "docker-registry", "dstack-host"],
                      ["--no-install-recommends", "docker.io", "docker-registry", "dstack-host"]):
            plan = box.run(["apt-get", "-s", "install", *words]).stdout.splitlines()
            steps = [" ".join(line.split()[:2]) for line in plan if line.startswith(("Inst ", "Conf "))]
            assert steps.index("Inst dstack-host-services") < steps.index("Conf docker-registry"), (words, steps)

    @order.step("once unpacked, it is shut when the registry is the first that dpkg configures")
    def _(box):
        box.apt("install", "--download-only", "dstack-host", "docker-registry")
        box.run("dpkg --unpack /var/cache/apt/archives/*.deb /srv/box-repo/*/dstack-host*.deb", timeout=300,
                env={"DEBIAN_FRONTEND": "noninteractive"})
        box.run(["dpkg", "--configure", "docker-registry"], env={"DEBIAN_FRONTEND": "noninteractive"})
        assert box.run(["systemctl", "is-active", "docker-registry.service"], check=False).stdout.strip() == "inactive"
        assert not box.run("ss -Hltn | grep :5000", check=False).stdout
        box.run(["dpkg", "--configure", "-a"], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=300)
        assert not box.run("ss -Hltn | grep :5000", check=False).stdout

    @order.step("where a real VMM is, the simulation is refused, and nothing of Intel's is removed for it")
    def _(box):
        box.run("mkdir -p /root/qgs/DEBIAN /root/qgs/lib/systemd/system; cd /root/qgs; "
                "printf 'Package: tdx-qgs\\nVersion: 0~fake\\nArchitecture: all\\nMaintainer: x <x@example.org>\\n"
                "Description: stands for Intels package in a test\\n' >DEBIAN/control; "
                "printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >lib/systemd/system/qgsd.service; "
                "dpkg-deb --build /root/qgs /root/qgs.deb && apt-get purge -y dstack-host-sim && "
                "dpkg -i /root/qgs.deb && systemctl daemon-reload")
        box.write("/usr/local/bin/dstack-vmm", "#!/bin/sh\n", mode=0o755)
        refused = box.apt_install("dstack-host-sim", check=False)
        assert refused.code and "is a real VMM" in refused.stdout + refused.stderr, refused
        assert box.installed("tdx-qgs") and not box.installed("dstack-host-sim")
        box.run(["rm", "/usr/local/bin/dstack-vmm"])

    @order.step("beside a package of Intel's it takes only the names that are free")
    def _(box):
        box.apt_install("dstack-host-sim")
        box.run(["systemctl", "start", "qgsd.service", "pccs.service"])
        shown = box.run("systemctl show -P Id qgsd.service pccs.service").stdout.split()
        assert shown == ["qgsd.service", "dstack-sim-pccs.service"], shown
        assert box.run(["systemctl", "is-active", "dstack-sim-qgsd.service"], check=False).code
        box.run("systemctl stop qgsd.service; dpkg --purge tdx-qgs && systemctl daemon-reload")
        box.run(["systemctl", "start", "qgsd.service"])
        assert box.run("systemctl show -P Id qgsd.service").stdout.strip() == "dstack-sim-qgsd.service"

    order.run("order")

    other = Story("chroot", release, boot=False)

    @other.step("it installs where systemd does not run, and purges again")
    def _(box):
        box.start()
        box.add_repo(built(release))
        # a root of its own below the box, entered without any init
        box.run("apt-get -o Debug::NoLocking=1 download debootstrap >/dev/null 2>&1 || true; mkdir -p /srv/tree && "
                "cp -a --one-file-system /bin /etc /lib* /sbin /usr /var /root /srv/tree/ 2>/dev/null; "
                "mkdir -p /srv/tree/proc /srv/tree/sys /srv/tree/dev /srv/tree/run /srv/tree/tmp /srv/tree/srv/box-repo; "
                "mount --bind /srv/box-repo /srv/tree/srv/box-repo; mount -t proc proc /srv/tree/proc; "
                "mknod -m 666 /srv/tree/dev/null c 1 3; chmod 1777 /srv/tree/tmp", timeout=120)
        box.run("cp /etc/resolv.conf /srv/tree/etc/; DEBIAN_FRONTEND=noninteractive chroot /srv/tree apt-get install -y "
                "--no-install-recommends dstack-host dstack-host-sim", timeout=600)
        box.run("test -e /srv/tree/etc/dstack/host.conf")
        box.run("DEBIAN_FRONTEND=noninteractive chroot /srv/tree apt-get purge -y dstack-host dstack-host-sim "
                "dstack-host-services dstack-host-tools", timeout=300)
        box.run("! test -e /srv/tree/etc/dstack")

    other.run("chroot")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main(tell)
