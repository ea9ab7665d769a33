# SPDX-License-Identifier: Apache-2.0
"""The tables of the reference host (tests/data/reference-host.json), compared with a booted box.

What became something else on our host is told in one table, BECAME; where a fault is marked, the right value
is compared instead of the reference's.
"""

import json

from life import DATA

REFERENCE = json.loads((DATA / "reference-host.json").read_text())

# reference id -> what it is on our host. None in "address": as in the reference.
BECAME = {
    # fault 3: a public, unauthenticated container became Debian's registry behind our front, on loopback
    "S5": {"unit": "dstack-registry.service"},
    "P1": {"address": "127.0.0.1", "process": "haproxy"},
    # fault 13: the VMM has no access control of its own, the front in front of it has
    "P4": {"process": "haproxy"},
    # fault 4: one mapped port, of the KMS, by user networking
    "P5": {"from": 9103, "to": 9103, "process": None},
}

PROTOCOL = {  # "speaks" -> a command that only succeeds when that is spoken, {} is address and port
    "https": "curl -sk -o /dev/null --max-time 5 https://{address}:{port}/",
    "http": "curl -s -o /dev/null --max-time 5 http://{address}:{port}/",
    "length-prefixed JSON": "python3 -c 'import socket,struct; s=socket.create_connection((\"{address}\",{port}),5);"
                            " s.sendall(struct.pack(\">I\",12)+b\"{{\\\"quote\\\":[]}}\"); r=s.recv(4);"
                            " assert len(r) in (0,4)'",
    "per CVM; 9103 is the KMS (https)": "curl -sk -o /dev/null --max-time 5 https://{address}:{port}/prpc/KMS.GetMeta",
}


def check_services(box):
    for row in REFERENCE["services"]:
        unit = BECAME.get(row["id"], {}).get("unit", row["unit"])
        state = box.run(["systemctl", "is-active", unit], check=False).stdout.strip()
        assert (state == "active") == row["active"], f"{row['id']} {unit}: {state}"


def check_containers(box):
    shown = box.run(["docker", "ps", "--format", "{{.Names}}\t{{.Status}}\t{{.Ports}}\t{{.Networks}}"]).stdout
    running = {line.split("\t")[0]: line.split("\t") for line in shown.splitlines()}
    for row in REFERENCE["containers"]:
        if row["id"] in BECAME:
            unit = BECAME[row["id"]]["unit"]
            box.run(["systemctl", "is-active", "--quiet", unit])
            continue
        assert row["name"] in running, f"{row['id']}: no container {row['name']} in {sorted(running)}"
        _, status, ports, networks = running[row["name"]]
        assert status.startswith("Up") and "Restarting" not in status, status
        for port in row["ports"]:
            assert port in ports, f"{row['name']}: {port} not in {ports}"
        if "network" in row:
            assert networks == row["network"], networks
        policy = box.run(["docker", "inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Type}}"
                          " {{.HostConfig.Privileged}}", row["name"]]).stdout.split()
        assert policy == ["always", "journald", "false"], policy  # fault 20


def listeners(box):
    """{(address, port)} of TCP sockets that listen."""
    out = box.run(["ss", "-Hltn"]).stdout
    found = set()
    for line in out.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.add((address.strip("[]"), int(port)))
    return found


def check_ports(box):
    listening = listeners(box)
    for row in REFERENCE["ports"]:
        row = {**row, **{k: v for k, v in BECAME.get(row["id"], {}).items() if v is not None}}
        for port in range(row["from"], row["to"] + 1):
            assert (row["address"], port) in listening, f"{row['id']}: {row['address']}:{port} not in {listening}"
            box.run(PROTOCOL[row["speaks"]].format(address=row["address"], port=port))


def check_nothing_public(box):
    """Faults 3, 13, 33: no TCP socket on an address other than loopback."""
    public = {(a, p) for a, p in listeners(box) if not a.startswith("127.") and a != "::1"}
    assert not public, public


def check_devices(box):
    for row in REFERENCE["devices"]:
        kind, mode, group = box.run(["stat", "-c", "%F;%a;%G", row["path"]]).stdout.strip().split(";")
        assert kind == "character special file", kind
        assert f"0{mode}" == row["mode_expected"], f"{row['path']}: {mode}"
        assert group == row["group"], f"{row['path']}: {group}"  # fault 5: by name, never by number


def check_groups(box):
    for row in REFERENCE["groups"]:
        name, _, gid, members = box.run(["getent", "group", row["name"]]).stdout.strip().split(":")
        assert set(row["members"]) <= set(members.split(",")), f"{name}: {members}"
        assert int(gid) < 1000, f"{name} is no system group: {gid}"  # fault 5


def check_tables(box):
    for check in (check_services, check_containers, check_ports, check_nothing_public, check_devices, check_groups):
        check(box)
