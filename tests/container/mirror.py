# SPDX-License-Identifier: Apache-2.0
"""The package mirror, proxy and trust of the calling machine's own apt, for use inside containers."""

import functools
import os
import pathlib
import re
import urllib.parse

from . import host

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEFAULT = {"main": "http://deb.debian.org/debian", "security": "http://deb.debian.org/debian-security"}

# apt settings that say how to reach a mirror, and nothing about what to install
PASSED_ON = re.compile(r"Acquire::(https?::(.*::)?(Proxy|CaInfo|CaPath|Verify-Peer|Verify-Host)|"
                       r"Check-Valid-Until|Check-Date|Retries|ForceIPv4)$", re.I)


def one_line_entries(text):
    """(uri, suite) of each deb line of a sources.list."""
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", "", line.split("#")[0]).split()
        if len(words) >= 3 and words[0] == "deb":
            yield words[1], words[2]


def deb822_entries(text):
    """(uri, suite) of each enabled stanza of a .sources file."""
    for stanza in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.M)):
        joined = re.sub(r"\n[ \t]+", " ", stanza)
        fields = {k.lower(): v.split() for k, v in re.findall(r"^([\w-]+):[ \t]*(.*)$", joined, re.M)}
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"])[0].lower() != "no":
            for uri in fields.get("uris", []):
                for suite in fields.get("suites", []):
                    yield uri, suite


def host_entries():
    etc = pathlib.Path("/etc/apt")
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if path.is_file():
            yield from one_line_entries(path.read_text(errors="replace"))
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        yield from deb822_entries(path.read_text(errors="replace"))


@functools.cache
def mirrors():
    """{"main": uri, "security": uri}: the calling machine's Debian mirrors, else deb.debian.org."""
    found = {}
    for uri, suite in host_entries():
        path = urllib.parse.urlsplit(uri).path.rstrip("/")
        if not uri.startswith(("http://", "https://")):
            continue
        if path.endswith("/debian-security") and "security" in suite:
            found.setdefault("security", uri.rstrip("/"))
        elif path.endswith("/debian") and "security" not in suite:
            found.setdefault("main", uri.rstrip("/"))
    return {**DEFAULT, **found}


def sources(release):
    uri = mirrors()
    if not os.path.exists(KEYRING):
        raise host.ContainerError(f"no {KEYRING}; run: apt-get install -y debian-archive-keyring")
    option = f"[signed-by={KEYRING}]"
    lines = [f"deb {option} {uri['main']} {suite} main" for suite in (release, f"{release}-updates")]
    lines.append(f"deb {option} {uri['security']} {release}-security main")
    return "\n".join(lines) + "\n"


@functools.cache
def apt_settings():
    """[(key, value)] of the calling machine's settings for reaching mirrors."""
    settings = []
    for line in host.sh("apt-config", "dump").stdout.splitlines():
        match = re.fullmatch(r'(\S+) "(.*)";', line)
        if match and match[2] and PASSED_ON.match(match[1]):
            settings.append((match[1], match[2]))
    for scheme in ("http", "https"):  # apt honours these too; a container has a clean environment
        value = os.environ.get(f"{scheme}_proxy")
        if value and not any(key.lower() == f"acquire::{scheme}::proxy" for key, _ in settings):
            settings.append((f"Acquire::{scheme}::Proxy", value))
    return settings


def apt_conf():
    lines = [f'{key} "{value}";' for key, value in apt_settings()]
    lines.append('Acquire::Languages "none";')
    lines.append('Binary::apt::APT::Keep-Downloaded-Packages "true";')
    return "\n".join(lines) + "\n"


def trust_files():
    """Host files that apt needs for TLS to the mirror: the CA files it names, and local CAs if TLS is used."""
    named = [value for key, value in apt_settings() if key.lower().endswith("cainfo")]
    if any(uri.startswith("https:") for uri in [*mirrors().values(), *(v for _, v in apt_settings())]):
        named += map(str, sorted(pathlib.Path("/usr/local/share/ca-certificates").glob("**/*.crt")))
    return [path for path in named if os.path.isfile(path)]


def ports():
    """TCP ports that a container must reach outside: those of the mirrors and of apt's proxies."""
    uris = [*mirrors().values(), *(value for key, value in apt_settings() if key.lower().endswith("proxy"))]
    split = [urllib.parse.urlsplit(uri) for uri in uris if "://" in uri]
    return sorted({part.port or (443 if part.scheme == "https" else 80) for part in split})


def resolv_conf():
    """The host's resolver file, or the upstream one behind systemd-resolved's loopback stub."""
    behind_stub = pathlib.Path("/run/systemd/resolve/resolv.conf")
    text = pathlib.Path("/etc/resolv.conf").read_text()
    if re.search(r"^nameserver\s+127\.0\.0\.53", text, re.M) and behind_stub.exists():
        text = behind_stub.read_text()
    return text


def resolvers():
    return re.findall(r"^nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$", resolv_conf(), re.M)


