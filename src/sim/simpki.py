# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and CRLs of the simulation, made by the openssl command line; private keys are only in files."""

import os
import secrets
import subprocess
import tempfile

LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"

_CRL_CONF = """[ca]
default_ca=sim
[sim]
database={dir}/index
crlnumber={dir}/number
default_md=sha256
default_crl_days=30
"""


class OpensslError(ValueError):
    """What openssl said when it failed."""


def openssl(*args, data=None):
    """Runs openssl and returns its standard output."""
    run = subprocess.run(["openssl", *args], input=data, capture_output=True, check=False)
    if run.returncode != 0:
        raise OpensslError(f"openssl {args[0]}: {run.stderr.decode(errors='replace').strip()}")
    return run.stdout


def write_private(path, data):
    """Atomically, mode 0600."""
    handle, name = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".new-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(name, path)


def new_key(path, curve="prime256v1"):
    write_private(path, openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}",
                                "-pkeyopt", "ec_param_enc:named_curve"))


def new_cert(path, key, subject, extensions, issuer=None, days=3650):
    """issuer: (certificate, key), or None for self-signed. subject in openssl's notation, "/O=…/CN=…"."""
    with tempfile.TemporaryDirectory(prefix="dstack-sim-") as work:
        csr, ext, crt, conf = (os.path.join(work, name) for name in ("csr", "ext", "crt", "conf"))
        with open(conf, "w", encoding="ascii") as stream:
            stream.write("[req]\ndistinguished_name=dn\nstring_mask=utf8only\n[dn]\n")
        with open(ext, "w", encoding="utf-8") as stream:
            stream.write(extensions)
        openssl("req", "-new", "-utf8", "-config", conf, "-key", key, "-subj", subject, "-out", csr)
        sign = ["-CA", issuer[0], "-CAkey", issuer[1]] if issuer else ["-signkey", key]
        openssl("x509", "-req", "-in", csr, "-sha256", "-days", str(days), "-extfile", ext,
                "-set_serial", "0x4" + secrets.token_hex(15), "-out", crt, *sign)
        with open(crt, "rb") as stream:
            pem = stream.read()
    write_private(path, pem)
    os.chmod(path, 0o644)


def new_crl(cert, key):
    """An empty CRL of this authority, DER, valid for 30 days."""
    with tempfile.TemporaryDirectory(prefix="dstack-sim-") as work:
        for name, text in (("index", ""), ("number", "01\n"), ("conf", _CRL_CONF.format(dir=work))):
            with open(os.path.join(work, name), "w", encoding="ascii") as stream:
                stream.write(text)
        pem = openssl("ca", "-gencrl", "-config", os.path.join(work, "conf"), "-cert", cert, "-keyfile", key)
    return openssl("crl", "-inform", "PEM", "-outform", "DER", data=pem)


def sign_raw(key, data):
    """ECDSA P-256 over SHA-256 as r followed by s, 64 bytes: the form Intel's JSON signatures have."""
    der = openssl("dgst", "-sha256", "-sign", key, data=data)
    out, at = b"", 2
    for _ in range(2):
        size = der[at + 1]
        out += int.from_bytes(der[at + 2:at + 2 + size], "big").to_bytes(32, "big")
        at += 2 + size
    return out


def read(path):
    with open(path, "rb") as stream:
        return stream.read()
