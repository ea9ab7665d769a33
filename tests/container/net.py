# SPDX-License-Identifier: Apache-2.0
"""A container's own network: namespace, veth pair, /30 in 10.99.0.0/16, one nftables table."""

import ipaddress
import json
import pathlib
import re

from . import host, mirror

POOL = ipaddress.ip_network("10.99.0.0/16")
FORWARD = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
FORWARD_WAS_OFF = pathlib.Path("/run/dstack-host-test.ip_forward")
TABLE_PREFIX = "dstack_test_"


def taken():
    """Numbers of /30 networks that an interface has, or that a box claims (a rebooting one has no interface)."""
    numbers = set()
    for link in json.loads(host.sh("ip", "-j", "-4", "addr").stdout or "[]"):
        for info in link.get("addr_info", []):
            address = ipaddress.ip_address(info["local"])
            if address in POOL:
                numbers.add((int(address) - int(POOL[0])) // 4)
    for claim in host.RUNS.glob("*/subnet"):
        numbers.add(int(claim.read_text() or 0))
    return numbers


def claim(directory):
    """Pick a free /30 for the box in directory and record it there."""
    with host.locked("net"):
        used = taken()
        number = next(n for n in range(1, POOL.num_addresses // 4) if n not in used)
        (directory / "subnet").write_text(str(number))
    return number


class Net:
    """policy: "apt" (resolver and mirror ports only), "open" (anything but other boxes), "none" (no way out)."""

    def __init__(self, box_name, number, policy="apt"):
        if policy not in ("apt", "open", "none"):
            raise host.ContainerError(f"unknown network policy {policy}")
        self.namespace = f"dstack-test-{box_name}"
        self.table = TABLE_PREFIX + re.sub(r"\W", "_", box_name)
        self.interface = f"dstackt{number}"
        self.policy = policy
        subnet = ipaddress.ip_network((int(POOL[0]) + 4 * number, 30))
        self.subnet, self.gateway, self.address = str(subnet), str(subnet[1]), str(subnet[2])

    @property
    def path(self):
        return f"/run/netns/{self.namespace}"

    def up(self):
        self.down()
        with host.locked("net"):
            if FORWARD.read_text().strip() == "0":
                FORWARD_WAS_OFF.touch()
                FORWARD.write_text("1")
            host.sh("nft", "-f", "-", input=self.rules())
        host.sh("ip", "-batch", "-", input=f"""
netns add {self.namespace}
link add {self.interface} mtu {self.mtu()} type veth peer name eth0 mtu {self.mtu()} netns {self.namespace}
addr add {self.gateway}/30 dev {self.interface}
link set {self.interface} up
""")
        host.sh("ip", "-n", self.namespace, "-batch", "-", input=f"""
link set lo up
addr add {self.address}/30 dev eth0
link set eth0 up
route add default via {self.gateway}
""")
        # a namespace starts with the values of the machine around it; a fresh host does not forward
        host.sh("ip", "netns", "exec", self.namespace, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
        self.docker_user("insert")

    @staticmethod
    def mtu():
        """That of the way out: a larger one inside would hang on paths that lose fragmentation notices."""
        route = re.search(r"\bdev (\S+)", host.sh("ip", "-4", "route", "show", "default", check=False).stdout)
        device = pathlib.Path("/sys/class/net", route[1] if route else "lo", "mtu")
        return min(1500, int(device.read_text()))

    def rules(self):
        """Refusals are rejects, not drops, so that a program that tries fails at once instead of hanging."""
        allow = {"none": "", "open": f"iifname {self.interface} accept"}.get(self.policy)
        if allow is None:
            servers = ", ".join(mirror.resolvers())
            dns = f"iifname {self.interface} ip daddr {{ {servers} }} meta l4proto {{ tcp, udp }} th dport 53 accept"
            ports = ", ".join(map(str, mirror.ports()))
            allow = (dns if servers else "") + f"\n\t\tiifname {self.interface} tcp dport {{ {ports} }} accept"
        return f"""
table ip {self.table} {{
	chain forward {{
		type filter hook forward priority filter - 1; policy accept;
		oifname {self.interface} ct state established,related accept
		oifname {self.interface} reject with icmp type admin-prohibited
		iifname {self.interface} ip daddr {POOL} reject with icmp type admin-prohibited
		{allow}
		iifname {self.interface} meta l4proto tcp reject with tcp reset
		iifname {self.interface} reject with icmp type admin-prohibited
	}}
	chain input {{
		type filter hook input priority filter - 1; policy accept;
		iifname {self.interface} ct state established,related accept
		iifname {self.interface} ip daddr {POOL} ip daddr != {self.gateway} reject with icmp type admin-prohibited
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {self.subnet} oifname != {self.interface} masquerade
	}}
}}
"""

    def docker_user(self, verb):
        """A Docker engine on the host drops forwarded packets by policy; its DOCKER-USER chain is the way past."""
        listed = host.sh("nft", "-a", "list", "chain", "ip", "filter", "DOCKER-USER", check=False)
        if listed.returncode:
            return
        if verb == "insert":
            for side in ("iifname", "oifname"):
                host.sh("nft", "insert", "rule", "ip", "filter", "DOCKER-USER", side, self.interface, "accept")
            return
        for handle in re.findall(rf'"{self.interface}".*# handle (\d+)', listed.stdout):
            host.sh("nft", "delete", "rule", "ip", "filter", "DOCKER-USER", "handle", handle, check=False)

    def down(self):
        """Remove everything up() made; also what a half-finished up() left."""
        self.docker_user("delete")
        host.sh("ip", "link", "delete", self.interface, check=False)
        host.sh("ip", "netns", "delete", self.namespace, check=False)
        with host.locked("net"):
            host.sh("nft", "delete", "table", "ip", self.table, check=False)
            others = re.search(rf"table ip {TABLE_PREFIX}", host.sh("nft", "list", "tables", check=False).stdout)
            if not others and FORWARD_WAS_OFF.exists():
                FORWARD.write_text("0")
                FORWARD_WAS_OFF.unlink()
