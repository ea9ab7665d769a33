# SPDX-License-Identifier: Apache-2.0
"""Do the keys and certificates below a root belong together? By Python's own TLS, as a client would find out."""

import os
import ssl

CA = "/var/lib/dstack/ca"
PAIRS = [(f"{CA}/ca.crt", f"{CA}/ca.key"), ("/run/dstack/pccs/ssl_key/file.crt", "/run/dstack/pccs/ssl_key/private.pem"),
         ("/run/dstack/front/registry.pem", None)]


def server(root, crt, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(root + crt, root + key if key else None, password=lambda: "")
    return context


def trusted(context, ca):
    """A handshake in memory; raises ssl.SSLError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(ca)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass


def complaints(root):
    out = []
    for crt, key in PAIRS:
        if not os.path.exists(root + crt):
            continue
        try:
            context = server(root, crt, key)
            if not crt.startswith(CA):
                trusted(context, f"{root}{CA}/ca.crt")
        except (ssl.SSLError, OSError) as error:
            out.append(f"{crt}: {error}")
    return out
