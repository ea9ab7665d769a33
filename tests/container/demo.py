# SPDX-License-Identifier: Apache-2.0
"""The demo: a container that stays, with dstack-host and its simulation installed by apt as a user would."""

import subprocess
import time

from . import debs, host
from .box import Box, exit_on_signals
from .settled import settled

NAME = "dstack-demo"
PACKAGES = ("dstack-host", "dstack-host-sim")
ANSWERS = {"dstack-host/domain": "demo.example.org"}
TARGET = "dstack-host.target"


def demo(source, release):
    exit_on_signals()
    started = time.monotonic()
    repository = host.CACHE / "demo" / release
    key = debs.build_debs(release, source, repository)
    box, what = obtain(release)
    marker = box.directory / "demo-key"
    if marker.exists() and marker.read_text() == key:
        what += ", packages unchanged"
    else:
        install(box, repository)
        marker.write_text(key)
        what += ", packages installed"
    host.say(f"{NAME} {what} after {time.monotonic() - started:.0f} s")
    return report(box)


def obtain(release):
    """The kept box, running; made anew when there is none or when it is of another release."""
    box = Box.attach(NAME)
    if box and box.release != release:
        box.destroy()
        box = None
    if box and box.running:
        return box, "was running"
    if box:
        box.start()
        return box, "booted again"
    with Box(release, NAME, keep=True) as box:
        host.say(f"{NAME}: Debian {release} booted in {box.boot_seconds:.2f} s")
    return box, "made"


def install(box, repository):
    box.add_repo(repository)
    box.preseed(ANSWERS)
    host.say(f"apt-get install {' '.join(PACKAGES)}")
    # plain apt-get install also upgrades, and reinstall covers a rebuilt package of the same version
    changed = [package for package in PACKAGES if box.installed(package)]
    box.apt("install", *(["--reinstall"] if changed else []), *PACKAGES, timeout=900, stream=True)


def report(box):
    try:
        box.run(settled(TARGET), check=False, timeout=120)
    except subprocess.TimeoutExpired:
        host.say(f"{TARGET} is still starting after 120 s")
    print(flush=True)
    status = box.run(["dstack-host", "status"], check=False, stream=True)
    state = box.run(["systemctl", "is-active", TARGET], check=False).stdout.strip()
    print(f"\n{TARGET} is {state}, in container {NAME} (simulated hardware, nothing attested)\n"
          f"  a shell in it:   sudo make demo-shell\n"
          f"  remove it:       sudo make demo-rm\n"
          f"  run this again:  installs what changed, else only shows the status", flush=True)
    return 0 if state == "active" and status.code in (0, 1) else 1
