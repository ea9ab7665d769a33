# SPDX-License-Identifier: Apache-2.0
"""The messages of upstream's VMM, host and guest API as tables, with their protobuf and JSON forms."""

import serde

# message: [(number, name, type)]; a type may have "optional " or "repeated " in front. JSON keeps this order.
MESSAGES = {
    "Empty": [],
    "ProtoError": [(1, "message", "string")],
    "Id": [(1, "id", "string")],
    "ComposeHash": [(1, "hash", "string")],
    "VmInfo": [(1, "id", "string"), (2, "name", "string"), (3, "status", "string"), (4, "uptime", "string"),
               (5, "app_url", "optional string"), (6, "app_id", "string"), (7, "instance_id", "optional string"),
               (8, "configuration", "VmConfiguration"), (9, "exited_at", "optional string"),
               (10, "boot_progress", "string"), (11, "boot_error", "string"), (12, "shutdown_progress", "string"),
               (13, "image_version", "string")],
    "VmConfiguration": [(1, "name", "string"), (2, "image", "string"), (3, "compose_file", "string"),
                        (4, "vcpu", "u32"), (5, "memory", "u32"), (6, "disk_size", "u32"),
                        (7, "ports", "repeated PortMapping"), (8, "encrypted_env", "hex"),
                        (9, "app_id", "optional string"), (10, "user_config", "string"), (11, "hugepages", "bool"),
                        (12, "pin_numa", "bool"), (13, "gpus", "GpuConfig"), (14, "kms_urls", "repeated string"),
                        (15, "gateway_urls", "repeated string"), (16, "stopped", "bool")],
    "GpuConfig": [(1, "gpus", "repeated GpuSpec"), (2, "attach_mode", "string")],
    "GpuSpec": [(1, "slot", "string")],
    "PortMapping": [(1, "protocol", "string"), (2, "host_port", "u32"), (3, "vm_port", "u32"),
                    (4, "host_address", "string")],
    "UpgradeAppRequest": [(1, "id", "string"), (2, "compose_file", "string"), (3, "encrypted_env", "hex"),
                          (4, "user_config", "string"), (5, "update_ports", "bool"),
                          (7, "ports", "repeated PortMapping"), (13, "gpus", "GpuConfig")],
    "StatusRequest": [(1, "ids", "repeated string"), (2, "brief", "bool"), (3, "keyword", "string"),
                      (4, "page", "u32"), (5, "page_size", "u32")],
    "StatusResponse": [(1, "vms", "repeated VmInfo"), (2, "port_mapping_enabled", "bool"), (3, "total", "u32")],
    "ImageListResponse": [(1, "images", "repeated ImageInfo")],
    "ImageInfo": [(1, "name", "string"), (2, "description", "string"), (3, "version", "string"),
                  (4, "is_dev", "bool")],
    "AppId": [(1, "app_id", "hex")],
    "PublicKeyResponse": [(1, "public_key", "hex"), (2, "signature", "hex")],
    "GetInfoResponse": [(1, "found", "bool"), (2, "info", "VmInfo")],
    "ResizeVmRequest": [(1, "id", "string"), (2, "vcpu", "optional u32"), (3, "memory", "optional u32"),
                        (4, "disk_size", "optional u32"), (5, "image", "optional string")],
    "KmsSettings": [(1, "url", "string"), (2, "urls", "repeated string")],
    "GatewaySettings": [(1, "url", "string"), (2, "base_domain", "string"), (3, "port", "u32"),
                        (4, "agent_port", "u32"), (5, "urls", "repeated string")],
    "ResourcesSettings": [(1, "max_cvm_number", "u32"), (2, "max_allocable_vcpu", "u32"),
                          (3, "max_allocable_memory_in_mb", "u32")],
    "GetMetaResponse": [(1, "kms", "KmsSettings"), (2, "gateway", "GatewaySettings"),
                        (3, "resources", "ResourcesSettings")],
    "VersionResponse": [(1, "version", "string"), (2, "rev", "string")],
    "ListGpusResponse": [(1, "gpus", "repeated GpuInfo"), (2, "allow_attach_all", "bool")],
    "GpuInfo": [(1, "slot", "string"), (2, "product_id", "string"), (3, "description", "string"),
                (4, "is_free", "bool")],
    "HostInfo": [(1, "name", "string"), (2, "version", "string")],
    "Notification": [(1, "event", "string"), (2, "payload", "string")],
    "GetSealingKeyRequest": [(1, "quote", "hex")],
    "GetSealingKeyResponse": [(1, "encrypted_key", "hex"), (2, "provider_quote", "hex")],
    "GuestInfo": [(1, "version", "string"), (2, "app_id", "hex"), (3, "instance_id", "hex"),
                  (4, "app_cert", "string"), (5, "tcb_info", "string"), (6, "device_id", "hex")],
    "NetworkInformation": [(1, "dns_servers", "repeated string"), (2, "gateways", "repeated Gateway"),
                           (3, "interfaces", "repeated Interface"), (4, "wg_info", "string")],
    "Interface": [(1, "name", "string"), (2, "addresses", "repeated IpAddress"), (3, "rx_bytes", "u64"),
                  (4, "tx_bytes", "u64"), (5, "rx_errors", "u64"), (6, "tx_errors", "u64")],
    "IpAddress": [(1, "address", "string"), (2, "prefix", "u32")],
    "Gateway": [(1, "address", "string")],
    "ListContainersResponse": [(1, "containers", "repeated Container")],
    "Container": [(1, "id", "string"), (2, "names", "repeated string"), (3, "image", "string"),
                  (4, "image_id", "string"), (6, "created", "u64"), (7, "state", "string"), (8, "status", "string")],
    "SystemInfo": [(1, "os_name", "string"), (2, "os_version", "string"), (3, "kernel_version", "string"),
                   (4, "cpu_model", "string"), (5, "num_cpus", "u32"), (6, "total_memory", "u64"),
                   (7, "available_memory", "u64"), (8, "used_memory", "u64"), (9, "free_memory", "u64"),
                   (10, "total_swap", "u64"), (11, "used_swap", "u64"), (12, "free_swap", "u64"),
                   (13, "uptime", "u64"), (14, "loadavg_one", "u32"), (15, "loadavg_five", "u32"),
                   (16, "loadavg_fifteen", "u32"), (17, "disks", "repeated DiskInfo")],
    "DiskInfo": [(1, "name", "string"), (2, "mount_point", "string"), (3, "total_size", "u64"),
                 (5, "free_size", "u64")],
}

VMM_METHODS = {
    "CreateVm": ("VmConfiguration", "Id"), "StartVm": ("Id", "Empty"), "StopVm": ("Id", "Empty"),
    "RemoveVm": ("Id", "Empty"), "UpgradeApp": ("UpgradeAppRequest", "Id"), "ShutdownVm": ("Id", "Empty"),
    "ResizeVm": ("ResizeVmRequest", "Empty"), "GetComposeHash": ("VmConfiguration", "ComposeHash"),
    "Status": ("StatusRequest", "StatusResponse"), "ListImages": ("Empty", "ImageListResponse"),
    "GetAppEnvEncryptPubKey": ("AppId", "PublicKeyResponse"), "GetInfo": ("Id", "GetInfoResponse"),
    "Version": ("Empty", "VersionResponse"), "GetMeta": ("Empty", "GetMetaResponse"),
    "ListGpus": ("Empty", "ListGpusResponse"),
}
HOST_METHODS = {"Info": ("Empty", "HostInfo"), "Notify": ("Notification", "Empty"),
                "GetSealingKey": ("GetSealingKeyRequest", "GetSealingKeyResponse")}
GUEST_METHODS = {"Info": ("Id", "GuestInfo"), "SysInfo": ("Id", "SystemInfo"),
                 "NetworkInfo": ("Id", "NetworkInformation"), "ListContainers": ("Id", "ListContainersResponse"),
                 "Shutdown": ("Id", "Empty")}
DEFAULTS = {"string": "", "u32": 0, "u64": 0, "bool": False, "hex": b""}


class ProtoError(Exception):
    pass


def field_kind(kind):
    """-> (label, bare type)."""
    label, _, bare = kind.rpartition(" ")
    return label, bare


def default_of(kind):
    label, bare = field_kind(kind)
    if label == "repeated":
        return []
    return None if label == "optional" or bare in MESSAGES else DEFAULTS[bare]


def complete(message, values):
    """values with the defaults of all fields it lacks, in the message's order."""
    return {name: values.get(name, default_of(kind)) for _, name, kind in MESSAGES[message]}


def json_schema(message):
    fields = {}
    for _, name, kind in MESSAGES[message]:
        label, bare = field_kind(kind)
        schema = json_schema(bare) if bare in MESSAGES else bare
        if label == "repeated":
            fields[name] = (("list", schema), list)
        elif label == "optional" or bare in MESSAGES:
            fields[name] = ("option", schema)
        else:
            fields[name] = (schema, DEFAULTS[bare])
    return ("struct", message, fields)


def from_json(message, data):
    return serde.loads(data, json_schema(message))


def to_jsonable(message, values):
    def one(bare, value):
        if value is None:
            return None
        return to_jsonable(bare, value) if bare in MESSAGES else value.hex() if bare == "hex" else value

    if message == "Empty":
        return None
    out = {}
    for _, name, kind in MESSAGES[message]:
        label, bare = field_kind(kind)
        value = values.get(name, default_of(kind))
        out[name] = [one(bare, item) for item in value] if label == "repeated" else one(bare, value)
    return out


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def encode(message, values):
    out = b""
    for number, name, kind in MESSAGES[message]:
        label, bare = field_kind(kind)
        value = values.get(name, default_of(kind))
        if value is None or (not label and bare not in MESSAGES and value == DEFAULTS[bare]):
            continue
        for item in value if label == "repeated" else [value]:
            if bare in ("u32", "u64", "bool"):
                out += varint(number << 3) + varint(int(item))
                continue
            raw = encode(bare, item) if bare in MESSAGES else item.encode() if bare == "string" else item
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def read_varint(data, pos):
    value = shift = 0
    while True:
        if pos >= len(data) or shift > 63:
            raise ProtoError("invalid varint")
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7


def read_field(data, pos):
    """-> (number, wire type, value, next position)."""
    key, pos = read_varint(data, pos)
    number, wire = key >> 3, key & 7
    if number == 0:
        raise ProtoError("invalid tag value: 0")
    if wire == 0:
        value, pos = read_varint(data, pos)
        return number, wire, value, pos
    size = {1: 8, 5: 4}.get(wire)
    if wire == 2:
        size, pos = read_varint(data, pos)
    if size is None:
        raise ProtoError(f"invalid wire type value: {wire}")
    if size > len(data) - pos:
        raise ProtoError("buffer underflow")
    return number, wire, data[pos:pos + size], pos + size


def decode(message, data):
    values = complete(message, {})
    fields = {number: (name, *field_kind(kind)) for number, name, kind in MESSAGES[message]}
    pos = 0
    while pos < len(data):
        number, wire, value, pos = read_field(data, pos)
        if number not in fields:
            continue
        name, label, bare = fields[number]
        if wire != (0 if bare in ("u32", "u64", "bool") else 2):
            raise ProtoError(f"{message}.{name}: invalid wire type")
        if bare in MESSAGES:
            value = decode(bare, value)
        elif bare == "string":
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise ProtoError(f"{message}.{name}: invalid string value: data is not UTF-8 encoded") from None
        elif bare == "bool":
            value = bool(value)
        elif bare == "u32":
            value &= 0xFFFFFFFF
        if label == "repeated":
            values[name].append(value)
        else:
            values[name] = value
    return values
