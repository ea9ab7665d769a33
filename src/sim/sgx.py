# SPDX-License-Identifier: Apache-2.0
"""Simulated SGX device nodes for machines without SGX: they have the right names, groups, modes, and are /dev/null."""

import argparse
import grp
import os
import stat
import sys

NODES = {"sgx_enclave": "sgx", "sgx_provision": "sgx_prv", "sgx_vepc": "sgx"}
NULL = os.makedev(1, 3)  # the numbers a container's device rules let us make
MODE = 0o660


class SgxError(Exception):
    """Says what is wrong; the program ends with 1."""


def state_of(path):
    """"absent", "simulated" or "foreign"."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return "absent"
    return "simulated" if stat.S_ISCHR(info.st_mode) and info.st_rdev == NULL else "foreign"


def group_id(name):
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SgxError(f"group {name} does not exist (systemd-sysusers has not run?)") from error


def make(dev, marker, gid_of=group_id):
    """Makes what is absent, puts right what is ours, leaves real devices alone; -> the simulated nodes."""
    ours = []
    for name, group in NODES.items():
        path, gid = os.path.join(dev, name), gid_of(group)
        if state_of(path) == "foreign":
            print(f"{path} is not simulated, left alone", flush=True)
            continue
        if state_of(path) == "absent":
            try:
                os.mknod(path, stat.S_IFCHR | MODE, NULL)
            except OSError as error:
                raise SgxError(f"cannot make {path}: {error.strerror}: "
                               "this machine or container does not allow device nodes") from error
        os.chown(path, 0, gid)
        os.chmod(path, MODE)
        ours.append(path)
    os.makedirs(os.path.dirname(marker), exist_ok=True)
    with open(marker, "w", encoding="utf-8") as stream:
        stream.write("# simulated device nodes (the null device), made by dstack-host-sim\n")
        stream.writelines(path + "\n" for path in ours)
    return ours


def remove(dev, marker):
    for name in NODES:
        path = os.path.join(dev, name)
        if state_of(path) == "simulated":
            os.unlink(path)
    if os.path.exists(marker):
        os.unlink(marker)


def main(argv=None):
    parser = argparse.ArgumentParser(description="simulated SGX device nodes")
    parser.add_argument("action", choices=("make", "remove"))
    parser.add_argument("--dev", default="/dev")
    parser.add_argument("--marker", default="/run/dstack-sim/devices")
    args = parser.parse_args(argv)
    try:
        if args.action == "remove":
            remove(args.dev, args.marker)
            return 0
        made = make(args.dev, args.marker)
    except (SgxError, OSError) as error:
        print(f"simulated SGX devices: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"simulated SGX devices: {', '.join(made) or 'none, all are real'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
