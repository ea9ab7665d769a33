# SPDX-License-Identifier: Apache-2.0
"""The calls of the simulated VMM's three APIs: /prpc for operators, /api for guests, /guest towards the guest agent."""

import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import socket
import ssl
import struct
import time
import urllib.parse
import uuid

import proto
import vmm_qemu
from base import dump_json, http_call, log, recv_exact
from rpc import RpcError, context, file_context, os_error_text

VERSION = "0.5.5"
REV = "simulated"
GUEST_SOCKET = "guest-agent.sock"


def check_label(name):
    if not all(c.isalnum() or c in "-_" for c in name):
        raise RpcError(f"Invalid name: {name}")


def app_id_of(compose):
    return hashlib.sha256(compose.encode()).hexdigest()[:40]


def port_number(value, what):
    if value > 65535:
        raise RpcError(f"Invalid {what} port", "out of range integral type conversion attempted")
    return value


def parse_ip(text):
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise RpcError("Invalid host address", "invalid IP address syntax") from None


def parse_protocol(text):
    if text not in ("tcp", "udp"):
        raise RpcError("Invalid protocol", f"Invalid protocol: {text}")
    return text


def map_port(port, mapping):
    start, end = port_number(port["host_port"], "host"), port_number(port["vm_port"], "vm")
    protocol = port["protocol"]
    if not any(r["protocol"] == protocol and r["from"] <= start <= r["to"] for r in mapping["range"]):
        raise RpcError(f"Port mapping is not allowed for {protocol}:{start}")
    address = parse_ip(port["host_address"]) if port["host_address"] else mapping["address"]
    return {"address": address, "protocol": parse_protocol(protocol), "from": start, "to": end}


def resolve_gpus(gpus, config):
    if not config["enabled"]:
        raise RpcError("GPU is not enabled")
    if gpus["attach_mode"] == "listed":
        return {"attach_mode": "listed", "gpus": [{"slot": gpu["slot"]} for gpu in gpus["gpus"]], "bridges": []}
    if gpus["attach_mode"] == "all":
        raise RpcError("Attaching all GPUs is not simulated" if config["allow_attach_all"]
                       else "Attaching all GPUs is not allowed")
    raise RpcError(f"Invalid GPU attach mode: {gpus['attach_mode']}")


def new_manifest(request, cvm):
    check_label(request["name"])
    mapping = cvm["port_mapping"]
    if request["ports"] and not mapping["enabled"]:
        raise RpcError("Port mapping is disabled")
    ports = [map_port(port, mapping) for port in request["ports"]]
    given = request["app_id"]
    app_id = app_id_of(request["compose_file"]) if given is None else given.removeprefix("0x").lower()
    gpus = {"attach_mode": "listed", "gpus": [], "bridges": []}
    if request["gpus"] is not None:
        gpus = resolve_gpus(request["gpus"], cvm["gpu"])
    return {"id": str(uuid.uuid4()), "app_id": app_id, "port_map": ports, "gpus": gpus,
            "created_at_ms": int(time.time() * 1000),
            **{key: request[key] for key in ("name", "vcpu", "memory", "disk_size", "image", "hugepages", "pin_numa",
                                             "kms_urls", "gateway_urls")}}


def fill_shared(workdir, request, instance_info):
    with context("Failed to create shared directory"):
        os.makedirs(workdir.shared, exist_ok=True)
    with context("Failed to write compose file"):
        workdir.write(workdir.shared_file("app-compose.json"), request["compose_file"])
    for key, name, what in (("encrypted_env", ".encrypted-env", "encrypted env"),
                            ("user_config", ".user-config", "user config")):
        if request[key]:
            with context(f"Failed to write {what}"):
                workdir.write(workdir.shared_file(name), request[key])
    if instance_info:
        with context("Failed to write vm config"):
            workdir.write(workdir.shared_file(".instance_info"), dump_json(instance_info))


class VmmRpc:
    """Each method of the VMM API: name -> function(request) -> answer values."""

    def __init__(self, app):
        self.app = app
        self.config = app.config

    def call(self, name, request):
        return getattr(self, name)(request)

    def CreateVm(self, request):
        manifest = new_manifest(request, self.config["cvm"])
        name, workdir = manifest["id"], self.app.workdir(manifest["id"])
        with context("Failed to write manifest"):
            workdir.put_manifest(manifest)
        fill_shared(workdir, request, {"app_id": manifest["app_id"]} if manifest["app_id"] else None)
        try:
            workdir.set_started(not request["stopped"])
        except RpcError as error:
            log("warn", f"Failed to set started: {error}")
        try:
            with context("Failed to load VM"):
                self.app.load_vm(workdir.path, {}, False)
            if not request["stopped"]:
                self.app.start_vm(name)
        except RpcError:
            # The directory goes, the VM in memory and its CID stay: the ghost that 0.5.5 shows after a failure.
            shutil.rmtree(workdir.path, ignore_errors=True)
            raise
        return {"id": name}

    def StartVm(self, request):
        with context("Failed to start VM"):
            self.app.start_vm(request["id"])

    def StopVm(self, request):
        with context("Failed to stop VM"):
            self.app.stop_vm(request["id"])

    def RemoveVm(self, request):
        with context("Failed to remove VM"):
            self.app.remove_vm(request["id"])

    def ShutdownVm(self, request):
        self.guest_call("Shutdown", request)

    def UpgradeApp(self, request):
        name, workdir, new_id = request["id"], self.app.workdir(request["id"]), ""
        if request["compose_file"]:
            with context("Invalid compose file"):
                vmm_qemu.parse_compose(request["compose_file"])
            if not os.path.exists(workdir.shared_file("app-compose.json")):
                raise RpcError(f"The instance {name} not found")
            new_id = app_id_of(request["compose_file"])
            fill_shared(workdir, {**request, "encrypted_env": b"", "user_config": ""}, None)
        for key, file, what in (("encrypted_env", ".encrypted-env", "encrypted env"),
                                ("user_config", ".user-config", "user config")):
            if request[key]:
                with context(f"Failed to write {what}"):
                    workdir.write(workdir.shared_file(file), request[key])
        with context("Failed to read manifest"):
            manifest = workdir.manifest()
        if request["gpus"] is not None:
            manifest["gpus"] = resolve_gpus(request["gpus"], self.config["cvm"]["gpu"])
        if request["update_ports"]:
            # No range check here: 0.5.5 has none, either.
            manifest["port_map"] = [{
                "address": parse_ip(port["host_address"]), "protocol": parse_protocol(port["protocol"]),
                "from": port_number(port["host_port"], "host"), "to": port_number(port["vm_port"], "vm"),
            } for port in request["ports"]]
        with context("Failed to put manifest"):
            workdir.put_manifest(manifest)
        with context("Failed to load VM"):
            self.app.load_vm(workdir.path, {}, False)
        return {"id": new_id}

    def ResizeVm(self, request):
        name, workdir = request["id"], self.app.workdir(request["id"])
        info = self.app.get_info(name)
        if not info:
            raise RpcError("vm not found")
        if info["status"] not in ("stopped", "exited"):
            raise RpcError(f"vm should be stopped before resize: {name}")
        with context("failed to read manifest"):
            manifest = workdir.manifest()
        for key in ("vcpu", "memory", "image"):
            if request[key] is not None:
                manifest[key] = request[key]
        size = request["disk_size"]
        if size is not None:
            if size < manifest["disk_size"]:
                raise RpcError("Cannot shrink disk size")
            manifest["disk_size"] = size
            with context("Failed to resize disk"):
                failure = vmm_qemu.qemu_img("resize", workdir.file("hda.img"), f"{size}G")
            if failure is not None:
                raise RpcError(f"Failed to resize disk: {failure}")
        with context("failed to update manifest"):
            workdir.put_manifest(manifest)
        with context("Failed to load VM"):
            self.app.load_vm(workdir.path, {}, False)

    def GetComposeHash(self, request):
        check_label(request["name"])
        with context("Invalid compose file"):
            vmm_qemu.parse_compose(request["compose_file"])
        return {"hash": hashlib.sha256(request["compose_file"].encode()).hexdigest()}

    def Status(self, request):
        return self.app.list_vms(request)

    def GetInfo(self, request):
        info = self.app.get_info(request["id"])
        return {"found": info is not None, "info": info}

    def ListImages(self, _request):
        return {"images": [{"name": name, "description": dump_json(info), "version": info["version"],
                            "is_dev": info["is_dev"]} for name, info in self.app.images()]}

    def ListGpus(self, _request):
        return {"gpus": [], "allow_attach_all": self.config["cvm"]["gpu"]["allow_attach_all"]}

    def Version(self, _request):
        return {"version": VERSION, "rev": REV}

    def GetMeta(self, _request):
        cvm, gateway = self.config["cvm"], self.config["gateway"]
        return {"kms": {"url": (cvm["kms_urls"] or [""])[0], "urls": cvm["kms_urls"]},
                "gateway": {**gateway, "url": (cvm["gateway_urls"] or [""])[0], "urls": cvm["gateway_urls"]},
                "resources": {"max_cvm_number": cvm["cid_pool_size"],
                              **{key: cvm[key] for key in ("max_allocable_vcpu", "max_allocable_memory_in_mb")}}}

    def GetAppEnvEncryptPubKey(self, request):
        if not self.config["kms_url"]:
            raise RpcError("KMS is not configured")
        url = f"{self.config['kms_url']}/prpc/GetAppEnvEncryptPubKey?json"
        data = post_any_certificate(url, dump_json({"app_id": request["app_id"].hex()}))
        with context("Failed to deserialize response"):
            return proto.from_json("PublicKeyResponse", data)

    def guest_call(self, name, request):
        """/guest/NAME and ShutdownVm. The stand-in guest's agent is a unix socket in the VM's directory."""
        with self.app.lock:
            vm = self.app.vms.get(request["id"])
        if not vm:
            raise RpcError("vm not found")
        try:
            status, _, data = http_call("unix:" + vm.workdir.file(GUEST_SOCKET), "POST", f"/api/{name}?json", {})
        except OSError as error:
            # Nobody listens at the guest's port 8000: what a vsock connect then says.
            raise RpcError("client error (Connect)", "Connection timed out (os error 110)") from error
        if status != 200:
            raise RpcError(json.loads(data)["error"])
        return proto.from_json(proto.GUEST_METHODS[name][1], data) if data != b"null" else {}


def post_any_certificate(url, body):
    """POST as the VMM's KMS client: any certificate will do, 5 s to connect (TLS included), 60 s in all."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RpcError("Failed to send request", "builder error", "relative URL without a base")
    sending = ("Failed to send request", f"error sending request for url ({url})", "client error (Connect)")
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        sock = socket.create_connection((parts.hostname, port), 5)
    except socket.gaierror as error:
        raise RpcError(*sending, "dns error", f"failed to lookup address information: {error.strerror}") from error
    except TimeoutError as error:
        raise RpcError(*sending, "operation timed out") from error
    except OSError as error:
        raise RpcError(*sending, "tcp connect error", os_error_text(error)) from error
    try:
        sock = tls.wrap_socket(sock, server_hostname=parts.hostname) if parts.scheme == "https" else sock
    except TimeoutError as error:
        raise RpcError(*sending, "operation timed out") from error
    except OSError as error:
        raise RpcError(*sending, str(error)) from error
    sock.settimeout(60)
    connection = http.client.HTTPConnection(parts.hostname, port)
    connection.sock = sock
    try:
        connection.request("POST", f"{parts.path}?{parts.query}", body.encode())
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise RpcError(*sending[:2], str(error)) from error
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise RpcError(f"Request failed with status={answer.status} {answer.reason}, error={data.decode()}")
    return data


class HostRpc:
    """What a guest may ask its host; cid says who asks."""

    def __init__(self, app, cid):
        self.app = app
        self.cid = cid

    def call(self, name, request):
        return getattr(self, name)(request)

    def Info(self, _request):
        return {"name": "dstack VMM (simulated)", "version": VERSION}

    def Notify(self, request):
        self.app.event(self.cid, request["event"], request["payload"])

    def GetSealingKey(self, request):
        provider = self.app.config["key_provider"]
        if not provider["enabled"]:
            raise RpcError("Key provider is not enabled")
        with context("Failed to get sealing key from key provider"):
            return sealing_key(request["quote"], provider["address"], provider["port"])


def sealing_key(quote, address, port):
    """Raw TCP: u32 big endian and JSON, both ways, once per connection."""
    if len(quote) > 1 << 20:
        raise RpcError("Quote is too long")
    with context("Failed to connect to key provider"):
        sock = socket.create_connection((address, port))
    with sock:
        body = dump_json({"quote": list(quote)}).encode()
        with context("Failed to write payload"):
            sock.sendall(struct.pack(">I", len(body)) + body)
        with context("Failed to read response length"):
            size = struct.unpack(">I", recv_exact(sock, 4))[0]
        with context("Failed to read response"):
            data = recv_exact(sock, size)
    with context("Failed to deserialize response"):
        answer = json.loads(data)
        try:
            return {key: bytes(answer[key]) for key in ("encrypted_key", "provider_quote")}
        except (KeyError, TypeError) as error:
            raise ValueError(f"missing field {error}") from error


def read_configuration(path):
    """The file of `dstack-vmm run`."""
    with context(f"Failed to read VM configuration file: {path}"), file_context("open file", path):
        with open(path, "rb") as file:
            data = file.read()
    with context(f"Failed to parse VM configuration from: {path}"):
        return proto.from_json("VmConfiguration", data)
