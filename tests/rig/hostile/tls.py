# SPDX-License-Identifier: Apache-2.0
"""TLS with every kind of wrong certificate, and handshakes that do not end. ca() is whom a client should trust."""

import atexit
import datetime
import functools
import os
import shutil
import ssl
import subprocess
import tempfile

from . import Gone, behaviour

NAMES = "DNS:localhost,IP:127.0.0.1,DNS:host.example,DNS:registry.host.example,DNS:kms.host.example"
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*words, stdin=None):
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, text=True, check=True).stdout


@functools.cache
def directory():
    path = tempfile.mkdtemp(prefix="dstack-hostile-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def authority(name):
    """A CA of that name: path without ending of its certificate and key."""
    path = f"{directory()}/{name}"
    openssl("req", "-x509", *KEY, "-keyout", path + ".key", "-out", path + ".crt", "-days", "30",
            "-subj", f"/CN=hostile {name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    return path


def ca():
    """PEM of the CA that signs the good ones."""
    with open(authority("ca") + ".crt", encoding="ascii") as handle:
        return handle.read()


def day(offset):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=offset)
    return moment.strftime("%Y%m%d%H%M%SZ")


@functools.cache
def leaf(name, signer="ca", san=NAMES, first=-1, last=30, key=tuple(KEY), use="serverAuth", subject="/CN=localhost"):
    """A certificate with its key in one file. `openssl ca`, because it alone takes dates of the past."""
    path = f"{directory()}/{name}"
    ca_path = authority(signer)
    openssl("req", "-new", *key, "-keyout", path + ".key", "-out", path + ".csr", "-subj", subject)
    work = tempfile.mkdtemp(dir=directory())
    extensions = [f"extendedKeyUsage={use}", "basicConstraints=CA:FALSE"] + ([f"subjectAltName={san}"] if san else [])
    with open(f"{work}/conf", "w", encoding="ascii") as handle:
        handle.write(f"[ca]\ndefault_ca=c\n[c]\ndir={work}\ndatabase={work}/index\nserial={work}/serial\n"
                     f"new_certs_dir={work}\ndefault_md=sha256\npolicy=p\nunique_subject=no\nx509_extensions=e\n"
                     "[p]\ncommonName=supplied\n[e]\n" + "\n".join(extensions) + "\n")
    for part, content in (("index", ""), ("serial", f"{abs(hash(name)) % 2**60 + 1:016x}\n")):
        with open(f"{work}/{part}", "w", encoding="ascii") as handle:
            handle.write(content)
    openssl("ca", "-batch", "-notext", "-config", f"{work}/conf", "-cert", ca_path + ".crt", "-keyfile",
            ca_path + ".key", "-in", path + ".csr", "-out", path + ".crt", "-startdate", day(first), "-enddate",
            day(last))
    return path


CERTIFICATES = {
    "good": dict(),
    "other-ca": dict(signer="stranger"),
    "expired": dict(first=-30, last=-1),
    "not-yet-valid": dict(first=1, last=30),
    "wrong-host": dict(san="DNS:else.example", subject="/CN=else.example"),
    "no-san": dict(san="", subject="/CN=localhost"),
    "client-use": dict(use="clientAuth"),
    "weak-key": dict(key=("-newkey", "rsa:1024", "-nodes")),
}


@functools.cache
def context(name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if name == "tls-1.0":
        made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1
        made.set_ciphers("ALL:@SECLEVEL=0")
    if name == "weak-key":
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
    path = authority("self") if name == "self-signed" else leaf(name, **CERTIFICATES.get(name, {}))
    made.load_cert_chain(path + ".crt", path + ".key")
    return made


def wrap(talk, name):
    """The connection after the handshake, as the behaviour of that name does it."""
    if name in HANDSHAKES:
        HANDSHAKES[name](talk)
    try:
        # Without the notice that nothing more comes its end could be an attacker's.
        return context(name).wrap_socket(talk.conn, server_side=True, suppress_ragged_eofs=False)
    except (OSError, ssl.SSLError) as error:
        raise Gone from error


def served(talk):
    """a good answer over TLS with that certificate"""
    while True:
        talk.send(talk.good())


def truncated(talk):
    """a body without a length, ended without TLS's own goodbye"""
    talk.good()
    talk.send(b"HTTP/1.1 200 OK\r\n\r\n{\"half\":")
    talk.conn.unwrap = None
    os.close(talk.conn.detach())
    raise Gone


def plain(talk):
    """plain HTTP where TLS is expected"""
    talk.receive()
    talk.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    talk.forever()


def stalled(talk):
    """reads the client's hello and says nothing"""
    talk.receive()
    talk.forever()


def cut(talk):
    """half of a server's hello, then the end"""
    talk.receive()
    talk.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76")
    talk.conn.close()
    raise Gone


def alert(talk):
    """a fatal alert"""
    talk.receive()
    talk.send(b"\x15\x03\x03\x00\x02\x02\x28")
    talk.forever()


HANDSHAKES = {"plain-http": plain, "handshake-stall": stalled, "handshake-cut": cut, "handshake-alert": alert}

for each in (*[name for name in CERTIFICATES if name != "good"], "self-signed", "tls-1.0"):
    behaviour("tls", each)(served)
for each, function in HANDSHAKES.items():
    behaviour("tls", each)(function)
behaviour("tls", "tls-truncated")(truncated)
