# SPDX-License-Identifier: Apache-2.0
"""A VM's directory, its guest image and the QEMU command line the simulated VMM makes of both, as 0.5.5's."""

import base64
import json
import os
import shutil
import subprocess

import serde
from base import dump_json
from mrconfig import mr_config_id
from rpc import RpcError, context, file_context

APP_COMPOSE = ("struct", "AppCompose", {
    "manifest_version": "u32", "name": "string", "features": (("list", "string"), list), "runner": "string",
    "docker_compose_file": ("option", "string"), "public_logs": ("bool", False), "public_sysinfo": ("bool", False),
    "public_tcbinfo": ("bool", True), "kms_enabled": ("bool", False), "gateway_enabled": ("bool", False),
    "tproxy_enabled": ("bool", False), "local_key_provider_enabled": ("bool", False),
    "key_provider": ("option", ("enum", "KeyProviderKind", ["none", "kms", "local"])),
    "key_provider_id": ("hex", b""), "allowed_envs": (("list", "string"), list), "no_instance_id": ("bool", False),
    "secure_time": ("bool", True), "storage_fs": ("option", "string"), "swap_size": ("size", 0)})
IMAGE_INFO = ("struct", "ImageInfo", {
    "cmdline": ("option", "string"), "kernel": "string", "initrd": "string", "hda": ("option", "string"),
    "rootfs": ("option", "string"), "bios": ("option", "string"), "rootfs_hash": ("option", "string"),
    "shared_ro": ("bool", False), "version": ("string", ""), "is_dev": ("bool", False)})
PORT_MAPPING = ("struct", "PortMapping", {
    "address": "string", "protocol": ("enum", "Protocol", ["tcp", "udp"]), "from": "u16", "to": "u16"})
GPU_SPEC = ("struct", "GpuSpec", {"slot": ("string", "")})
MANIFEST = ("struct", "Manifest", {
    "id": "string", "name": "string", "app_id": "string", "vcpu": "u32", "memory": "u32", "disk_size": "u32",
    "image": "string", "port_map": ("list", PORT_MAPPING), "created_at_ms": "u64", "hugepages": ("bool", False),
    "pin_numa": ("bool", False), "gpus": ("option", ("struct", "GpuConfig", {
        "attach_mode": ("enum", "AttachMode", ["all", "listed"]), "gpus": (("list", GPU_SPEC), list),
        "bridges": (("list", GPU_SPEC), list)})),
    "kms_urls": (("list", "string"), list), "gateway_urls": (("list", "string"), list)})


def parse_compose(text):
    return serde.loads(text, APP_COMPOSE)


def gateway_enabled(compose):
    return compose["gateway_enabled"] or compose["tproxy_enabled"] or "tproxy-net" in compose["features"]


def key_provider(compose):
    return compose["key_provider"] or ("kms" if compose["kms_enabled"] else
                                       "local" if compose["local_key_provider_enabled"] else "none")


class WorkDir:
    """<run_path>/<id>: what upstream keeps there, under upstream's names."""

    def __init__(self, path):
        self.path = path
        self.shared = os.path.join(path, "shared")

    def file(self, name):
        return os.path.join(self.path, name)

    def shared_file(self, name):
        return os.path.join(self.shared, name)

    def read(self, path):
        with file_context("open file", path), open(path, "rb") as file:
            return file.read()

    def write(self, path, data):
        with file_context("create file", path), open(path, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)

    def manifest(self):
        with context("Failed to read manifest"):
            data = self.read(self.file("vm-manifest.json"))
        with context("Failed to parse manifest"):
            return serde.loads(data, MANIFEST)

    def put_manifest(self, manifest):
        with context("Failed to create workdir"):
            os.makedirs(self.path, exist_ok=True)
        ordered = {key: manifest[key] for key in MANIFEST[2] if key != "gpus" or manifest["gpus"] is not None}
        with context("Failed to write manifest"):
            self.write(self.file("vm-manifest.json"), dump_json(ordered))

    def started(self):
        """False also where the state cannot be read: every caller of upstream's treats an error so."""
        try:
            return json.loads(self.read(self.file("vm-state.json")))["started"] is True
        except (RpcError, ValueError, KeyError, TypeError):
            return False

    def set_started(self, started):
        with context("Failed to write state"):
            self.write(self.file("vm-state.json"), dump_json({"started": started}))

    def app_compose(self):
        return parse_compose(self.read(self.shared_file("app-compose.json")))

    def instance_info(self):
        """-> {instance_id, app_id} or None where the file is absent or does not parse."""
        try:
            return serde.loads(self.read(self.shared_file(".instance_info")), (
                "struct", "InstanceInfo", {"instance_id": ("string", ""), "app_id": ("hex", b"")}))
        except (RpcError, serde.JsonError):
            return None

    def text(self, name, default=b""):
        try:
            return self.read(self.shared_file(name))
        except RpcError:
            return default


class Image:
    """A guest image: every file its metadata names must exist."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        with context("failed to open image info"):
            metadata = os.path.join(self.path, "metadata.json")
            with file_context("open file", metadata), open(metadata, "rb") as file:
                data = file.read()
        with context("failed to parse image info"):
            self.info = serde.loads(data, IMAGE_INFO)
        self.info = {key: self.info[key] for key in IMAGE_INFO[2]}
        if not self.info["version"]:
            name = os.path.basename(self.path)
            for prefix in ("dstack-dev-", "dstack-"):
                if name.startswith(prefix):
                    self.info["version"] = name[len(prefix):]
                    break
        for key in ("initrd", "kernel", "hda", "rootfs", "bios"):
            if self.info[key] is not None and not os.path.exists(self.file(key)):
                raise RpcError(f"{key.capitalize()} does not exist: {self.file(key)}")
        try:
            with open(os.path.join(self.path, "digest.txt"), encoding="ascii") as file:
                self.digest = file.read().strip()
        except (OSError, ValueError):
            self.digest = ""

    def file(self, key):
        return os.path.join(self.path, self.info[key])

    def version(self):
        try:
            parts = tuple(int(part) for part in self.info["version"].split(".")[:3])
        except ValueError:
            return (0, 0, 0)
        return parts if len(parts) == 3 else (0, 0, 0)


def sys_config(config, manifest):
    """shared/.sys-config.json of a VM, made anew at every start."""
    with context("Failed to load image info"):
        image = Image(os.path.join(config["image_path"], manifest["image"]))
    if image.version() < (0, 5, 0):
        raise RpcError(f"Unsupported image version: {image.version()}")
    cvm, gpus = config["cvm"], manifest["gpus"] or {"gpus": [], "bridges": []}
    try:
        digest = bytes.fromhex(image.digest).hex()
    except ValueError:
        digest = ""
    vm_config = {"spec_version": 1, "os_image_hash": digest, "cpu_count": manifest["vcpu"],
                 "memory_size": manifest["memory"] << 20}
    optional = {"qemu_single_pass_add_pages": cvm["qemu_single_pass_add_pages"], "pic": cvm["qemu_pic"],
                "qemu_version": cvm["qemu_version"]}
    vm_config.update({key: value for key, value in optional.items() if value is not None})
    vm_config.update({"pci_hole64_size": cvm["qemu_pci_hole64_size"], "hugepages": manifest["hugepages"],
                      "num_gpus": len(gpus["gpus"]), "num_nvswitches": len(gpus["bridges"]),
                      "hotplug_off": cvm["qemu_hotplug_off"], "image": manifest["image"]})
    return dump_json({"kms_urls": manifest["kms_urls"] or cvm["kms_urls"],
                      "gateway_urls": manifest["gateway_urls"] or cvm["gateway_urls"],
                      "pccs_url": cvm["pccs_url"], "docker_registry": cvm["docker_registry"],
                      "host_api_url": f"vsock://2:{config['host_api']['port']}/api",
                      "vm_config": dump_json(vm_config)})


def qemu_img(action, path, size, backing=None):
    """create or resize a disk; where there is no qemu-img, a sparse file does for the stand-in QEMU."""
    exe = shutil.which("qemu-img")
    if not exe:
        with open(path, "r+b" if action == "resize" else "xb") as file:
            file.truncate(int(size[:-1]) << 30)
        return None
    options = ["-o", f"backing_file={backing}", "-o", "backing_fmt=qcow2"] if backing else []
    form = ["-f", "qcow2"] if action == "create" else []
    run = subprocess.run([exe, action, *form, *options, path, size], capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else run.stderr


def create_disk(workdir, manifest, image, user):
    disk = workdir.file("hda.img")
    if not os.path.exists(disk):
        with context_plain():
            backing = image.file("hda") if image.info["hda"] is not None else None
            failure = qemu_img("create", disk, f"{manifest['disk_size']}G", backing)
        if failure is not None:
            raise RpcError(f"Failed to create disk: {failure}")
    if user:
        os.chmod(disk, 0o660)
    return disk


class context_plain:
    """An OSError becomes an RpcError of its own text, without a cause."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, OSError):
            raise RpcError(f"{os.strerror(error.errno)} (os error {error.errno})") from error


def netdev(cvm, manifest, workdir):
    net = cvm["networking"]
    if net["mode"] == "custom":
        return net["netdev"]
    if net["mode"] == "passt":
        return f"stream,id=net0,server=off,addr.type=unix,addr.path={workdir.file('passt.sock')}"
    restrict = "yes" if net["restrict"] else "no"
    return f"user,id=net0,net={net['net']},dhcpstart={net['dhcp_start']},restrict={restrict}" + "".join(
        f",hostfwd={port['protocol']}:{port['address']}:{port['from']}-:{port['to']}" for port in manifest["port_map"])


def passt_process(cvm, manifest, workdir):
    net = cvm["networking"]
    args = ["--socket", workdir.file("passt.sock"), "--log-file", workdir.file("passt.log")]
    for key in ("interface", "address", "netmask", "gateway"):
        args += [f"--{key}", net[key]] if net[key] else []
    for server in net["dns"]:
        args += ["--dns", server]
    for key in ("map_host_loopback", "map_guest_addr"):
        args += ["--" + key.replace("_", "-"), net[key]] if net[key] else []
    args += ["--no-map-gw"] if net["no_map_gw"] else []
    args += ["--ipv4-only"] if net["ipv4_only"] else []
    for protocol in ("tcp", "udp"):
        ports = [f"{p['address']}/{p['from']}:{p['to']}" for p in manifest["port_map"] if p["protocol"] == protocol]
        args += [f"--{protocol}-ports", ",".join(ports)] if ports else []
    return {"id": f"passt-{manifest['id']}", "name": f"passt-{manifest['name']}",
            "command": net["passt_exec"] or "passt", "args": args + ["-f", "-1"], "env": {}, "cwd": workdir.path,
            "stdout": workdir.file("passt.stdout"), "stderr": workdir.file("passt.stderr"), "pidfile": "",
            "cid": None, "note": dump_json({"kind": "passt", "live_for": manifest["id"]})}


def tdx_object(cvm, image, workdir):
    if not cvm["use_mrconfigid"] or image.version() < (0, 5, 2):
        return "tdx-guest,id=tdx"
    with context("Failed to get app compose"):
        compose = workdir.app_compose()
    info = workdir.instance_info() or {"app_id": b""}
    if compose["key_provider_id"] and len(info["app_id"]) not in (0, 20):
        raise RpcError("Invalid app ID", "could not convert slice to array")
    config_id = mr_config_id(workdir.read(workdir.shared_file("app-compose.json")), key_provider(compose),
                             compose["key_provider_id"], info["app_id"])
    return f"tdx-guest,id=tdx,mrconfigid={base64.b64encode(config_id).decode()}"


def disks(image, disk):
    out = []
    if image.info["rootfs"] is not None:
        rootfs = image.file("rootfs")
        extension = os.path.splitext(rootfs)[1][1:]
        if extension == "iso":
            out += ["-cdrom", rootfs]
        elif extension == "verity":
            out += ["-drive", f"file={rootfs},if=none,id=hd0,format=raw,readonly=on",
                    "-device", "virtio-blk-pci,drive=hd0"]
        else:
            raise RpcError(f"Unsupported rootfs type: {extension}")
    return out + ["-drive", f"file={disk},if=none,id=hd1", "-device", "virtio-blk-pci,drive=hd1"]


def hugepage_args(vcpu, memory):
    """One NUMA node (no GPUs here): -> (arguments, memory in MB)."""
    gigabytes = memory // 1024
    return ["-numa", f"node,nodeid=0,cpus=0-{vcpu - 1},memdev=mem0",
            "-object", f"memory-backend-file,id=mem0,size={gigabytes}G,mem-path=/dev/hugepages,share=on,"
            "prealloc=yes,host-nodes=0,policy=bind",
            "-device", "pxb-pcie,id=pcie.node0,bus=pcie.0,addr=10,numa_node=0,bus_nr=5"], gigabytes * 1024


def qemu_args(cvm, manifest, image, cid, workdir):
    """The arguments in upstream's order."""
    disk = create_disk(workdir, manifest, image, cvm["user"])
    os.makedirs(workdir.shared, exist_ok=True)
    args = ["-accel", "kvm", "-cpu", "host", "-nographic", "-nodefaults", "-chardev",
            f"pty,id=com0,path={workdir.file('serial.pty')},logfile={workdir.file('serial.log')}",
            "-serial", "chardev:com0"]
    args += ["-qmp", f"unix:{workdir.file('qmp.sock')},server,wait=off"] if cvm["qmp_socket"] else []
    args += ["-bios", image.file("bios")] if image.info["bios"] is not None else []
    args += ["-kernel", image.file("kernel"), "-initrd", image.file("initrd")]
    args += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"] if cvm["qemu_hotplug_off"] else []
    hole = cvm["qemu_pci_hole64_size"]
    args += ["-global", f"q35-pcihost.pci-hole64-size=0x{hole:x}"] if hole else []
    args += disks(image, disk)
    args += ["-netdev", netdev(cvm, manifest, workdir), "-device", "virtio-net-pci,netdev=net0", "-machine",
             "q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off",
             "-object", tdx_object(cvm, image, workdir), "-device", f"vhost-vsock-pci,guest-cid={cid}"]
    readonly = "on" if image.info["shared_ro"] else "off"
    args += ["-virtfs", f"local,path={workdir.shared},mount_tag=host-shared,readonly={readonly},"
             "security_model=mapped,id=virtfs0"]
    vcpu, memory = max(manifest["vcpu"], 1), manifest["memory"]
    if manifest["hugepages"]:
        more, memory = hugepage_args(vcpu, memory)
        args += more
    args += ["-smp", str(vcpu), "-m", f"{memory}M"]
    return args + (["-append", image.info["cmdline"]] if image.info["cmdline"] is not None else [])


def processes(config, manifest, image, cid, workdir):
    """What the supervisor is to run for a VM; QEMU is the last."""
    cvm = config["cvm"]
    command = [cvm["qemu_path"], *qemu_args(cvm, manifest, image, cid, workdir)]
    if manifest["pin_numa"]:
        path = "/sys/devices/system/node/node0/cpulist"
        with context(f"Failed to read CPU list from {path}"):
            command = ["taskset", "-c", workdir.read(path).decode().strip(), *command]
    if cvm["user"]:
        command = ["sudo", "-u", cvm["user"], *command]
    qemu = {"id": manifest["id"], "name": manifest["name"], "command": command[0], "args": command[1:], "env": {},
            "cwd": workdir.path, "stdout": workdir.file("stdout.log"), "stderr": workdir.file("stderr.log"),
            "pidfile": workdir.file("qemu.pid"), "cid": cid, "note": dump_json({"kind": "cvm", "live_for": None})}
    return ([passt_process(cvm, manifest, workdir)] if cvm["networking"]["mode"] == "passt" else []) + [qemu]
