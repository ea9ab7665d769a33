# SPDX-License-Identifier: Apache-2.0
"""What the stand-in CVM's guest knows and asks: its files, its measurements, its host's API, its sealing key."""

import fcntl
import hashlib
import json
import os
import re
import socket
import struct
import urllib.parse

import keybox
import proto
import simpki
import tdquote
from base import http_call, log, recv_exact

HERE = os.path.dirname(os.path.realpath(__file__))
INSTALLED = "/usr/lib/dstack-host-sim"
QGS_SOCKET = "/var/run/tdx-qgs/qgs.socket"
GET_LOCAL_CID = 0x7B9
KMS_IMAGE = re.compile(r"^\s*image:\s*[\"']?\S*(?:dstack-kms|kvin/kms)\b", re.MULTILINE)


class GuestError(Exception):
    """The boot ends here, with this text as boot.error."""


def read_json(path):
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def local_cid():
    """This machine's vsock CID, None when it has none."""
    try:
        with open("/dev/vsock", "rb") as file:
            return struct.unpack("I", fcntl.ioctl(file, GET_LOCAL_CID, bytes(4)))[0]
    except OSError:
        return None


class HostApi:
    """The VMM as a guest sees it.

    A stand-in guest shares its host's CID, so it comes through the stand-in VMM's socket in the run path and says who
    it is. vsock CID 2 is the second way, and only where this machine is the host: inside a VM it is somebody else's.
    """

    def __init__(self, workdir, url, cid):
        self.socket = os.path.join(os.path.dirname(workdir), ".sim-host-api.sock")
        self.port = urllib.parse.urlsplit(url).port or 10000
        self.cid = cid

    def address(self):
        if os.path.exists(self.socket):
            return "unix:" + self.socket
        if local_cid() == 2:
            return f"vsock:2:{self.port}"
        raise OSError("no host API: neither the simulated VMM's socket nor a vsock of our own")

    def call(self, method, values, timeout=None):
        request, answer = proto.HOST_METHODS[method]
        status, _, data = http_call(self.address(), "POST", f"/api/{method}?json",
                                    proto.to_jsonable(request, values), {"X-Sim-Guest-Cid": str(self.cid)}, timeout)
        if status != 200:
            raise OSError(json.loads(data).get("error", "") if data else f"HTTP status {status}")
        return {} if data == b"null" else proto.from_json(answer, data)

    def notify(self, event, payload):
        """A guest does not care whether its reports arrive."""
        try:
            self.call("Notify", {"event": event, "payload": payload}, timeout=5)
        except OSError as error:
            log("warn", f"Failed to notify event {event} to host: {error}")


def get_quote(report):
    """From the QGS, as in reality; where there is none to ask, the guest makes its simulated quote itself.

    DSTACK_SIM_QGS names the QGS's socket, "none" forbids asking. Without it the installed simulation asks its QGS.
    """
    path = os.environ.get("DSTACK_SIM_QGS") or (QGS_SOCKET if HERE == INSTALLED else "none")
    if path == "none":
        return tdquote.quote_from_report(report)
    message = struct.pack("<HHIIIII", 1, 0, 0, 16 + 8 + len(report), 0, len(report), 0) + report
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(60)
            sock.connect(path)
            sock.sendall(struct.pack(">I", len(message)) + message)
            answer = recv_exact(sock, struct.unpack(">I", recv_exact(sock, 4))[0])
    except OSError as error:
        raise GuestError(f"Failed to get quote: QGS at {path}: {error}") from error
    code = struct.unpack_from("<I", answer, 12)[0]
    if code:
        raise GuestError(f"Failed to get quote: QGS error 0x{code:x}")
    id_size, size = struct.unpack_from("<II", answer, 16)
    return answer[24 + id_size:24 + id_size + size]


def file_digest(path):
    digest = hashlib.sha384()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, TypeError):
        digest.update(b"absent")
    return digest.digest()


class Measured:
    """Simulated measurement registers: not the real values, but they change with what changes the real ones."""

    def __init__(self, machine):
        self.mrtd = file_digest(machine.bios)
        hardware = f"{machine.smp} {machine.memory} {machine.version}".encode()
        self.rtmrs = [hashlib.sha384(hardware).digest(), file_digest(machine.kernel),
                      hashlib.sha384(file_digest(machine.initrd) + machine.cmdline.encode()).digest(), bytes(48)]
        self.mrconfigid = machine.mrconfigid

    def extend(self, event, data):
        self.rtmrs[3] = hashlib.sha384(self.rtmrs[3] + event.encode() + b":" + data).digest()

    def quote(self, report_data):
        return get_quote(tdquote.make_report(self.mrtd, self.rtmrs, report_data, self.mrconfigid))


def app_info(compose, compose_bytes, old):
    """-> instance info as the guest reports it."""
    digest = hashlib.sha256(compose_bytes).digest()
    app_id = old.get("app_id") or digest[:20].hex()
    if not compose.get("kms_enabled") and app_id != digest[:20].hex():
        raise GuestError("Failed to measure app info: App upgrade is not supported without KMS")
    keyed = compose.get("kms_enabled") or compose.get("local_key_provider_enabled")
    seed = (keyed and old.get("instance_id_seed")) or os.urandom(20).hex()
    instance = hashlib.sha256(bytes.fromhex(seed + app_id)).digest()[:20].hex()
    return {"instance_id_seed": seed, "instance_id": "" if compose.get("no_instance_id") else instance,
            "app_id": app_id}


def sealing_key(host, measured):
    """The disk key from the local key provider, through the VMM."""
    recipient = os.urandom(32)
    quote = measured.quote(recipient.ljust(64, b"\0"))
    try:
        answer = host.call("GetSealingKey", {"quote": quote})
    except OSError as error:
        raise GuestError(f"Failed to get sealing key: {error}") from error
    box = answer["encrypted_key"]
    try:
        if tdquote.sgx_report_data(answer["provider_quote"])[:32] != hashlib.sha256(box).digest():
            raise GuestError("Failed to get sealing key: Invalid key hash")
        return keybox.open_box(box, recipient)
    except ValueError as error:
        raise GuestError(f"Failed to open sealing key: {error}") from error


def open_disk(state_dir, key):
    """The data disk opens with the key it was made with, or never again."""
    path = os.path.join(state_dir, ".disk-key.sha256")
    digest = hashlib.sha256(key).hexdigest()
    try:
        with open(path, encoding="ascii") as file:
            if file.read() != digest:
                raise GuestError("Failed to mount data disk: the sealing key is not the one the disk was made with")
        return "mounting data disk"
    except FileNotFoundError:
        simpki.write_private(path, digest.encode())  # as durable as a disk's header
        return "initializing data disk"


def compose_environment(text):
    """KEY=value of all `environment:` blocks of a compose file, in list or map form."""
    env, depth = {}, None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if re.match(r"\s*environment:\s*$", line):
            depth = indent
        elif depth is not None and line.strip():
            pair = re.match(r"\s*(?:-\s*)?[\"']?(\w+)\s*(?:=|:\s)\s*(.*?)[\"']?\s*$", line)
            if indent < depth or (indent == depth and not line.lstrip().startswith("-")) or not pair:
                depth = None
                continue
            value = re.sub(r"\$\{\w+(?::?-([^}]*))?\}", lambda match: match[1] or "", pair[2].strip("\"'"))
            env[pair[1]] = value
    return env


class Kms:
    """What a compose says about a KMS in it; None of it is meaningful when present is False."""

    def __init__(self, compose):
        text = compose.get("docker_compose_file") or ""
        self.present = bool(KMS_IMAGE.search(text))
        self.env = compose_environment(text)
        # auth-eth.env, put over the image's own as a compose config
        self.env.update(re.findall(r"^\s+(ETH_RPC_URL|KMS_CONTRACT_ADDR)=(\S+)$", text, re.MULTILINE))
        automatic = re.search(r"^\s*auto_bootstrap_domain\s*=\s*\"([^\"]*)\"", text, re.MULTILINE)
        if automatic and automatic[1]:
            self.env.setdefault("AUTO_BOOTSTRAP_DOMAIN", automatic[1])
        self.domain = self.env.get("KMS_DOMAIN") or self.env.get("AUTO_BOOTSTRAP_DOMAIN", "")
        published = [int(port) for port in re.findall(r"^\s*-\s*[\"']?(?:[\d.]+:)?(\d+):\d+[\"']?\s*$", text,
                                                      re.MULTILINE)]
        # The reference layout serves on 9100, upstream's on 8000; others on whatever they publish first.
        self.port = next((port for port in (9100, 8000) if port in published), published[0] if published else None)
