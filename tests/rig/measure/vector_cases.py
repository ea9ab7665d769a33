# SPDX-License-Identifier: Apache-2.0
"""The measurements of tests/data/vectors/measure, and what a result has of them."""

import json
import pathlib

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "data/vectors/measure"


def all_cases():
    return json.loads((VECTORS / "cases.json").read_text())


def words_for(case):
    words = ["--pages", "two-pass" if case.get("two_pass", True) else "single-pass"]
    if case.get("hotplug_off"):
        words += ["--arg", "-global", "--arg", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
    if case.get("pci_hole64_size"):
        words += ["--arg", "-global", "--arg", f"q35-pcihost.pci-hole64-size={case['pci_hole64_size']:#x}"]
    return words


def differences(case, result):
    """What of a case is not what was measured."""
    bad = [name for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2") if result["registers"][name] != case[name]]
    for register, digests in case["events"].items():
        have = [event["digest"] for event in result["events"][register]]
        bad += [f"{register} event {i}" for i, digest in enumerate(digests) if have[i:i + 1] != [digest]]
    return bad
