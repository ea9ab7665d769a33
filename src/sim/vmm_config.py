# SPDX-License-Identifier: Apache-2.0
"""Configuration of the simulated VMM: built in < /etc/vmm < working directory < --config, merged per key as upstream's.

Unknown keys are ignored, an absent file is an empty one, a value of the wrong type is fatal.
"""

import ipaddress
import json
import os
import shutil
import subprocess
import tomllib

from base import log
from serde import parse_size


class ConfigError(Exception):
    pass


# key: (type, default); "ip" and "size" are text with a meaning, a default of None means the key may be absent.
SCHEMA = {
    "workers": ("int", 8), "max_blocking": ("int", 64), "ident": ("str", "dstack VMM"), "temp_dir": ("str", "/tmp"),
    "keep_alive": ("int", 10), "log_level": ("str", "debug"), "address": ("str", "unix:./vmm.sock"),
    "port": ("int", 8000), "reuse": ("bool", True), "kms_url": ("str", "http://127.0.0.1:8081"),
    "image_path": ("str", ""), "run_path": ("str", ""),
    "cvm": {
        "qemu_path": ("str", ""), "kms_urls": ("strings", ["http://127.0.0.1:8081"]),
        "gateway_urls": ("strings", ["http://127.0.0.1:8082"]), "pccs_url": ("str", ""),
        "docker_registry": ("str", ""), "cid_start": ("int", 1000), "cid_pool_size": ("int", 1000),
        "max_allocable_vcpu": ("int", 20), "max_allocable_memory_in_mb": ("int", 100000),
        "qmp_socket": ("bool", False), "user": ("str", ""), "use_mrconfigid": ("bool", True),
        "qemu_single_pass_add_pages": ("bool", None), "qemu_pic": ("bool", None), "qemu_version": ("str", None),
        "qemu_pci_hole64_size": ("size", 0), "qemu_hotplug_off": ("bool", False),
        "networking": {
            "mode": ("str", "user"), "net": ("str", "10.0.2.0/24"), "dhcp_start": ("str", "10.0.2.10"),
            "restrict": ("bool", False), "passt_exec": ("str", ""), "interface": ("str", ""),
            "address": ("str", "10.0.2.10"), "netmask": ("str", "255.255.255.0"), "gateway": ("str", "10.0.2.2"),
            "dns": ("strings", ["1.1.1.1", "1.0.0.1"]), "map_host_loopback": ("str", "none"),
            "map_guest_addr": ("str", "none"), "no_map_gw": ("bool", True), "ipv4_only": ("bool", True),
            "netdev": ("str", None),
        },
        "port_mapping": {
            "enabled": ("bool", False), "address": ("ip", "127.0.0.1"),
            "range": ("ranges", [{"protocol": "tcp", "from": 1, "to": 20000}]),
        },
        "auto_restart": {"enabled": ("bool", True), "interval": ("int", 20)},
        "gpu": {"enabled": ("bool", False), "listing": ("strings", ["10de:2335"]), "exclude": ("strings", []),
                "include": ("strings", []), "allow_attach_all": ("bool", True)},
    },
    "gateway": {"base_domain": ("str", "localhost"), "port": ("int", 8082), "agent_port": ("int", 8090)},
    "auth": {"enabled": ("bool", False), "tokens": ("strings", [])},
    "supervisor": {"exe": ("str", "./supervisor"), "sock": ("str", "./run/supervisor.sock"),
                   "pid_file": ("str", "./run/supervisor.pid"), "log_file": ("str", "./run/supervisor.log"),
                   "detached": ("bool", False), "auto_start": ("bool", True)},
    "host_api": {"ident": ("str", "dstack VMM"), "address": ("str", "vsock:2"), "port": ("int", 10000)},
    "key_provider": {"enabled": ("bool", True), "address": ("ip", "127.0.0.1"), "port": ("int", 3443)},
}
ALIASES = {"tproxy_urls": "gateway_urls"}
EXPECTED = {"int": "an unsigned integer", "str": "a string", "bool": "a boolean", "strings": "a sequence of strings",
            "ranges": "a sequence of port ranges", "ip": "IP address", "size": "a size"}


def good_range(entry):
    return (isinstance(entry, dict) and entry.get("protocol") in ("tcp", "udp")
            and all(type(entry.get(key)) is int and 0 <= entry[key] <= 65535 for key in ("from", "to")))


def good_address(text):
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def good_size(value):
    try:
        return parse_size(value) >= 0
    except ValueError:
        return False


CHECKS = {
    "int": lambda value: type(value) is int and value >= 0,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "ranges": lambda value: isinstance(value, list) and all(map(good_range, value)),
    "ip": good_address,
    "size": good_size,
}


def find_file(path):
    """A relative path is looked for in the parents of the working directory, too."""
    folder = os.getcwd()
    while not os.path.exists(os.path.join(folder, path)):
        if os.path.isabs(path) or folder == "/":
            return None
        folder = os.path.dirname(folder)
    return os.path.join(folder, path)


def read_file(path):
    """A layer: .toml is TOML, anything else JSON; absent is empty."""
    found = find_file(path)
    if not found:
        return {}
    with open(found, "rb") as file:
        data = file.read()
    try:
        return tomllib.loads(data.decode()) if path.endswith(".toml") else json.loads(data)
    except ValueError as error:
        raise ConfigError(f"{error} in {path}") from error


def merge(schema, into, layer, path, name):
    if not isinstance(layer, dict):
        raise ConfigError(f'invalid type: found {layer!r}, expected a map for key "default{path}" in {name}')
    for key, value in layer.items():
        key = ALIASES.get(key, key)
        kind = schema.get(key)
        if kind is None:
            continue  # upstream ignores unknown keys
        if isinstance(kind, dict):
            merge(kind, into[key], value, f"{path}.{key}", name)
            continue
        if not CHECKS[kind[0]](value):
            found = f'string "{value}"' if isinstance(value, str) else f"{value!r}"
            form = "TOML file" if name.endswith(".toml") else "JSON file"
            raise ConfigError(f"invalid type: found {found}, expected {EXPECTED[kind[0]]} "
                              f'for key "default{path}.{key}" in {name} {form}')
        into[key] = parse_size(value) if kind[0] == "size" else value


def defaults(schema):
    return {key: defaults(kind) if isinstance(kind, dict) else kind[1] for key, kind in schema.items()}


def load(path):
    config = defaults(SCHEMA)
    layers = [f"{where}/vmm.{ext}" for where in ("/etc/vmm", ".") for ext in ("toml", "json")]
    for name in [name for name in layers if os.path.exists(name)] + ([path] if path else []):
        log("info", f"Loading config file: {name}")
        merge(SCHEMA, config, read_file(name), "", name)
    mode = config["cvm"]["networking"]["mode"]
    if mode not in ("user", "passt", "custom"):
        raise ConfigError(f'unknown variant: found `{mode}`, expected `one of `user`, `passt`, `custom`` '
                          'for key "default.cvm.networking.mode"')
    if mode == "custom" and config["cvm"]["networking"]["netdev"] is None:
        raise ConfigError('missing field `netdev` for key "default.cvm.networking"')
    home = os.path.join(os.path.expanduser("~"), ".dstack-vmm")
    config["image_path"] = os.path.abspath(config["image_path"] or os.path.join(home, "image"))
    config["run_path"] = os.path.abspath(config["run_path"] or os.path.join(home, "vm"))
    find_qemu(config["cvm"])
    return config


def client_conf_qemu():
    """path= in section [qemu] of upstream's client configuration."""
    try:
        with open("/etc/dstack/client.conf", encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return None
    section = ""
    for line in lines:
        if line.startswith("["):
            section = line
        key, _, value = line.partition("=")
        if section == "[qemu]" and key.strip() == "path":
            value = value.strip().strip("\"'")
            return value if value and os.path.exists(value) else None
    return None


def find_qemu(cvm):
    if not cvm["qemu_path"]:
        ours = os.path.join(os.path.dirname(os.path.realpath(__file__)), "bin", "qemu")
        cvm["qemu_path"] = client_conf_qemu() or (ours if os.access(ours, os.X_OK) else None) \
            or shutil.which("qemu-system-x86_64")
        if not cvm["qemu_path"]:
            raise ConfigError("Failed to find qemu executable\n\nCaused by:\n    cannot find binary path")
    log("info", f"QEMU path: {cvm['qemu_path']}")
    if cvm["qemu_version"] is None:
        cvm["qemu_version"] = detect_version(cvm["qemu_path"])


def detect_version(qemu):
    try:
        run = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True)
        words = run.stdout.splitlines()[0].split()
        version = words[words.index("version") + 1].split("+")[0]
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError) as error:
        log("warn", f"Failed to detect QEMU version: {error}")
        return None
    log("info", f"Detected QEMU version: {version}")
    return version
