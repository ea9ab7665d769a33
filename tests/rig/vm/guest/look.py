# SPDX-License-Identifier: Apache-2.0
"""In the guest: what a power cut may have left of the host's files, as one JSON object on standard output."""

import hashlib
import json
import pathlib
import subprocess

PACKAGES = ("dstack-host", "dstack-host-tools", "dstack-host-services", "dstack-host-sim")
KEPT = ("etc/dstack", "var/lib/dstack/kms")
MAY_BE_EMPTY = (".lock",)


def digests(directory):
    """{path: SHA-256} of the files below a directory."""
    found = {}
    for path in sorted(pathlib.Path("/", directory).rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def torn():
    for directory in KEPT:
        for path in pathlib.Path("/", directory).rglob("*"):
            if not path.is_file() or path.name in MAY_BE_EMPTY or path.name.endswith(".dstack-new"):
                continue
            content = path.read_bytes()
            if not content:
                yield f"{path} is empty"
            elif b"\0" in content:
                yield f"{path} has NULs in it"


def status(package):
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True,
                           check=False)
    return shown.stdout or "unknown ok not-installed"


def changed(packages):
    """Files of packages that are not as dpkg unpacked them; its conffiles are not meant."""
    if packages:
        shown = subprocess.run(["dpkg", "--verify", *packages], capture_output=True, text=True, check=False)
        for line in shown.stdout.splitlines():
            if " c " not in line:
                yield f"dpkg --verify: {line.strip()}"


def main():
    packages = {name: status(name) for name in PACKAGES}
    conf = pathlib.Path("/etc/dstack/host.conf")
    complete = [name for name, words in packages.items() if words == "install ok installed"]
    print(json.dumps({
        "conf": conf.read_text() if conf.exists() else None,
        "secrets": digests("etc/dstack/secrets"),
        "kms": digests("var/lib/dstack/kms"),
        "left": [str(path) for path in pathlib.Path("/etc/dstack").rglob("*.dstack-new")],
        "packages": packages,
        "bad": [*torn(), *changed(complete)],
    }))


if __name__ == "__main__":
    main()
