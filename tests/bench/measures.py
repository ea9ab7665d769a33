# SPDX-License-Identifier: Apache-2.0
"""`measure`: one configuration against its QEMU alone, fifty machines against one, computing against `openssl dgst`.

As a program of its own: measures in namespaces of its own and prints the figures as JSON.
"""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import race
import measuring

QEMU = "/usr/bin/qemu-system-x86_64"
MOST_OF_QEMU = 1.5
MOST_OF_ONE = 4
MOST_OF_OPENSSL = 1.2
MACHINES, CONFIGURATIONS = 50, 5
FIRMWARE_MIB, KERNEL_MIB, INITRD_MIB = 2, 16, 128


def run(card, program):
    if os.geteuid() != 0 or not os.path.exists(QEMU):
        card.skip("measure", f"needs root and {QEMU} (apt install qemu-system-x86)")
        return
    done = subprocess.run([sys.executable, __file__, program], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise race.Wrong("the bench of measure")
    figures = json.loads(done.stdout)
    card.section("Reading a configuration from this machine's QEMU: `measure --image` of the vectors' image",
                 "qemu: the same QEMU with the same machine, started stopped, told to quit at once. Ours starts it in a",
                 "sandbox, reads it, hashes its program and the image, and ends it.")
    for name in ("ours", "qemu", "all", "one", "computing", "openssl"):
        card.figure({"all": f"{MACHINES} machines in {CONFIGURATIONS} configurations", "one": "one of them",
                     "computing": "measure --no-qemu, a large image", "openssl": "openssl dgst -sha384, the same bytes"}
                    .get(name, name), figures[name])
    for name, ours, theirs, most in (("reading: ours / qemu", "ours", "qemu", MOST_OF_QEMU),
                                     ("--all of fifty: all / one", "all", "one", MOST_OF_ONE),
                                     ("computing: ours / openssl", "computing", "openssl", MOST_OF_OPENSSL)):
        card.bar(name, [a / b for a, b in zip(figures[ours], figures[theirs])], most)


# -- in namespaces of its own ---------------------------------------------------------------------

def checked(argv, wanted):
    def go():
        done = measuring.measure(argv)
        if wanted not in done.stdout:
            raise race.Wrong(f"{argv[:3]}: {done.code} {done.stderr[:300]} {done.stdout[:100]}")
        return done
    return go


def bare(image):
    """What `measure` starts, as far as it is the machine's."""
    argv = [QEMU, "-S", "-display", "none", "-nodefaults", "-no-user-config", "-accel", "tcg,thread=single,tb-size=64",
            "-machine", "q35,smm=off,hpet=off,memory-backend=ram", "-object",
            "memory-backend-file,id=ram,size=4096M,mem-path=/dev/shm,share=on", "-m", "4096M", "-smp", "2", "-serial", "null",
            *["-device", "virtio-rng-pci"] * 5, "-bios", f"{image}/ovmf.fd", "-kernel", f"{image}/bzImage",
            "-initrd", f"{image}/initramfs.cpio.gz", "-append", "x", "-qmp", "stdio"]

    def go():
        done = measuring.measure(argv, stdin=b'{"execute":"qmp_capabilities"}{"execute":"quit"}')
        if b"SHUTDOWN" not in done.stdout:
            raise race.Wrong(f"QEMU: {done.code} {done.stderr[:300]}")
        return done
    return go


def large(image, directory):
    """An image of the size that real ones have; its kernel's last section goes to the new end."""
    shutil.copytree(image, directory)
    kernel = bytearray((image / "bzImage").read_bytes())
    kernel += os.urandom((KERNEL_MIB << 20) - len(kernel))
    struct.pack_into("<I", kernel, 0x58 + 160 + 40 + 16, len(kernel) - 0x800)
    (directory / "bzImage").write_bytes(kernel)
    firmware = (image / "ovmf.fd").read_bytes()
    (directory / "ovmf.fd").write_bytes(bytes((FIRMWARE_MIB << 20) - len(firmware)) + firmware)
    metadata = directory / "ovmf.fd"
    data = bytearray(metadata.read_bytes())
    at, moved = len(data) - len(firmware) + 0x3F000 + 16, len(data) - len(firmware)
    for entry in range(2):
        offset, = struct.unpack_from("<I", data, at + 32 * entry)
        struct.pack_into("<I", data, at + 32 * entry, offset + moved)
    metadata.write_bytes(data)
    (directory / "initramfs.cpio.gz").write_bytes(os.urandom(INITRD_MIB << 20))
    return [str(directory / name) for name in ("ovmf.fd", "bzImage", "initramfs.cpio.gz")]


def measure_all(program):
    from common import corner
    sys.path.insert(1, str(race.TOP / "tests/rig/measure"))
    import daemons
    corner.enter()
    corner.mount("bench", "/run", "tmpfs")
    with corner.workspace("1g") as work:
        work = pathlib.Path(work)
        subprocess.run([str(race.TOP / "tests/tools/measure-vectors"), str(work)], check=True)
        image, words = work / "image", ["--vcpu", "2", "--memory", "4096", "--json"]
        daemons.serve(daemons.SUPERVISOR, {"/list": {"data": [
            daemons.machine(n, image, memory=4096 + 1024 * (n % CONFIGURATIONS)) for n in range(MACHINES)]}})
        files = large(image, work / "large")
        times = race.race(race.Contestant("ours", checked([program, "measure", "--image", image, *words], b'"rtmr0": "')),
                          race.Contestant("qemu", bare(image)))
        times |= race.race(race.Contestant("all", checked([program, "measure", "--all", "--json"], b'"cvm49"')),
                           race.Contestant("one", checked([program, "measure", "--vm", "cvm7", "--json"], b'"cvm7"')))
        times |= race.race(race.Contestant("computing", checked([program, "measure", "--no-qemu", "--image", work / "large",
                                                                 *words], b'"rtmr2"')),
                           race.Contestant("openssl", checked(["openssl", "dgst", "-sha384", *files], b"SHA2-384")))
        return {name: [done.seconds for done in values] for name, values in times.items()}


if __name__ == "__main__":
    print(json.dumps(measure_all(str(pathlib.Path(sys.argv[1]).resolve()))))
