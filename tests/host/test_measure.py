#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`measure` on Debian 12 and 13 with their own QEMU, firmware and kernel, and with packages of the archive.

MEASURE_PROGRAM names a built program that is copied in, instead of the package."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from life import DATA, TOP, Story, built, main

sys.path.insert(1, str(TOP / "tests/rig/measure"))
import vector_cases as cases  # noqa: E402

SIZES = (1024, 2048, 3072, 4096, 65536)  # MiB
FIRMWARE_WINDOW = {"bookworm": "0xb0000000", "trixie": "0xe0000000"}
SAVED = DATA / "measure"                 # what was saved of QEMUs that the archive may no longer have
SECURITY = "7.2.18.json"
LIBRARIES = {"bookworm": ["libjansson4", "libcap2", "libseccomp2", "libmd0", "libarchive13", "libssl3"],
             "trixie": ["libjansson4", "libcap2", "libseccomp2", "libmd0", "libarchive13t64", "libssl3t64"]}


def measure(box, *words, image="/image", size=(2, 4096), check=True):
    argv = ["dstack-host", "measure", "--image", image, "--vcpu", str(size[0]), "--memory", str(size[1]), "--timeout", "90",
            *map(str, words)]
    return box.run(argv, check=check, timeout=300)


def registers(box, *words, **options):
    return json.loads(measure(box, *words, "--json", **options).stdout)


def digests(result):
    return {f"{register} {event['name']}": event["digest"] for register, events in result["events"].items() for event in events}


def install(box, release):
    box.apt("update")
    packages = ["qemu-system-x86", "ovmf", "seabios"]
    program = os.environ.get("MEASURE_PROGRAM")
    if program:
        box.apt_install(*packages, *LIBRARIES[release], recommends=False)
        box.copy_in(program, "/usr/sbin/dstack-host")
    else:
        box.add_repo(built(release))
        box.apt_install(*packages, "dstack-host-tools", recommends=False)


def put_images(box):
    """The vectors' image, and one of this release's own firmware and kernel."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([str(TOP / "tests/tools/measure-vectors"), directory], check=True)
        box.run("mkdir -m 755 /image /own")
        for path in pathlib.Path(directory, "image").iterdir():
            box.copy_in(str(path), f"/image/{path.name}")
    box.run("cd /tmp && "
            "apt-get download $(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}') && "
            "dpkg-deb -x linux-image-*.deb /tmp/kernel && cp /tmp/kernel/boot/vmlinuz-* /own/bzImage && "
            "cp /image/initramfs.cpio.gz /image/metadata.json /own/ && cp /usr/share/ovmf/OVMF.fd /own/ovmf.fd", timeout=300)


def tell_release(release):
    story = Story("measure", release)

    @story.step("QEMU, firmware, kernel and program are there")
    def _(box):
        install(box, release)
        put_images(box)

    @story.step("every event of its vectors", independent=True)
    def _(box):
        version = box.run(["qemu-system-x86_64", "--version"]).stdout.split()[3]
        matching = [case for case in cases.all_cases() if version.startswith(case["qemu"] + ".")]
        assert len(matching) == 8, (version, len(matching))
        for case in matching:
            result = registers(box, *cases.words_for(case), size=(case["cpu_count"], case["memory_mb"]))
            assert not cases.differences(case, result), (case["name"], cases.differences(case, result))

    @story.step("its kernel's header as QEMU patches it is that of the model, at five sizes", independent=True)
    def _(box):
        for memory in SIZES:
            read = registers(box, image="/own", size=(2, memory))
            computed = registers(box, "--no-qemu", "--pages", "two-pass", image="/own", size=(2, memory))
            assert read["registers"]["rtmr1"] == computed["registers"]["rtmr1"], memory
            assert "note" not in read, read["note"]

    @story.step("stopped and booted differ in nothing but the tables, for the 64-bit window", independent=True)
    def _(box):
        stopped = registers(box, "--pci-window", FIRMWARE_WINDOW[release], image="/own", size=(2, 2048))
        booted = registers(box, "--booted", image="/own", size=(2, 2048))
        one, two = digests(stopped), digests(booted)
        assert one.keys() == two.keys()
        differ = [name for name in one if one[name] != two[name]]
        assert differ == ["rtmr0 acpi-tables"], differ
        assert stopped["registers"]["mrtd"] == booted["registers"]["mrtd"]

    @story.step("a second reader finds the same tables, and that they differ in the descriptor of that window", independent=True)
    def _(box):
        box.copy_in(str(TOP / "tests/rig/measure/read_tables.py"), "/tmp/read_tables.py")
        second = json.loads(box.run(["python3", "/tmp/read_tables.py", "/own", FIRMWARE_WINDOW[release]], timeout=300).stdout)
        ours = digests(registers(box, "--pci-window", FIRMWARE_WINDOW[release], image="/own", size=(2, 2048)))
        assert second["digests"] == [ours[f"rtmr0 acpi-{name}"] for name in ("tables", "rsdp", "loader")], second
        assert second["differ"] == ["etc/acpi/tables"] and second["places"] == ["qword"], second

    tell_packages(story, release)
    story.run(f"measure-{release}")


def tell_packages(story, release):
    @story.step("Debian 12's QEMU and Debian 13's differ, in the ACPI tables", independent=True)
    def _(box):
        other = {"bookworm": "10.0.13.json", "trixie": "7.2.22.json"}[release]
        box.copy_in(str(SAVED / other), "/tmp/other.json")
        done = measure(box, "--compare", "/tmp/other.json", "installed", check=False)
        assert done.code == 1 and "the ACPI tables" in done.stdout and "would not open" in done.stdout, (done.stdout, done.stderr)
        assert "acpi-tables differs" in done.stdout and "initrd differs" not in done.stdout, done.stdout

    @story.step("the QEMU of the archive's package is the installed one", independent=True)
    def _(box):
        box.run("mkdir -p /tmp/now && cd /tmp/now && apt-get download qemu-system-x86 qemu-system-common", timeout=300)
        package = box.run("ls /tmp/now/qemu-system-x86_*.deb").stdout.strip()
        done = measure(box, "--compare", "installed", package, check=False)
        assert done.code == 0, (done.stdout, done.stderr)
        assert not box.run("ls -A /scratch /tmp/package 2>/dev/null", check=False).stdout

    if release != "bookworm":
        return

    @story.step("Debian 12's release and security versions of QEMU are found the same", independent=True)
    def _(box):
        madison = box.run(["apt-cache", "madison", "qemu-system-x86"]).stdout
        versions = [line.split("|")[1].strip() for line in madison.splitlines()
                    if "amd64 Packages" in line]
        if len(set(versions)) > 1:
            box.run(f"mkdir -p /tmp/old && cd /tmp/old && apt-get download qemu-system-x86={versions[-1]} "
                    f"qemu-system-common={versions[-1]}", timeout=300)
            other = box.run("ls /tmp/old/qemu-system-x86_*.deb").stdout.strip()
        else:
            print(f"# the archive has only {versions}: against what was saved of the security version")
            box.copy_in(str(SAVED / SECURITY), "/tmp/security.json")
            other = "/tmp/security.json"
        done = measure(box, "--compare", other, "installed", check=False)
        assert done.code == 0 and "is the same" in done.stdout, (done.stdout, done.stderr)


def tell():
    for release in sys.argv[1:] or ["bookworm", "trixie"]:
        tell_release(release)


if __name__ == "__main__":
    main(tell)
