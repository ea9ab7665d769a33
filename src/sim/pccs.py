# SPDX-License-Identifier: Apache-2.0
"""Simulated PCCS: Intel's provisioning certificate cache, with its interface, its settings and its ways of failing.

No Intel service is contacted: the "upstream PCS" is simulated too. It accepts every ApiKey of 32 letters and digits
that does not begin with "bad", and answers below /simulated-pcs/ as well, for who asks it directly (PCS_URL). All
certificates say "simulated" and lead to a simulated root.
"""

import argparse
import datetime
import os
import re
import signal
import ssl
import sys
import urllib.parse

import base
import pccs_config
from pccs_api import Api
from pccs_store import Store

PREFIX = "/opt/intel/sgx-dcap-pccs"
KEY, CERT = "ssl_key/private.pem", "ssl_key/file.crt"


def log(level, text):
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    print(f"{now} [{level}]: {text}", flush=True)


class Fatal(Exception):
    """Ends the program with this code, as the real one does: 0 for some errors, which systemd takes for success."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def check(settings):
    """The checks the real program makes at start, in its order."""
    if settings.get("DB_CONFIG") is None:
        raise Fatal(1, 'Error: Configuration property "DB_CONFIG" is not defined')
    if settings["DB_CONFIG"] != "sqlite" or not isinstance(settings.get("sqlite"), dict):
        raise Fatal(1, f"Error: database settings for {settings['DB_CONFIG']!r} missing (simulated: only sqlite)")
    if settings.get("CachingFillMode") not in ("LAZY", "REQ", "OFFLINE"):
        raise Fatal(1, f"Unknown caching fill mode : {settings.get('CachingFillMode')}. "
                       "Please check your configuration file.")
    version = re.search(r"/v(\d+)/?$", str(settings.get("uri", "")))
    if not version or version.group(1) not in ("3", "4"):
        raise Fatal(0, f"Unsupported API version in uri {settings.get('uri')}")
    return int(version.group(1))


def tls_context():
    if not os.path.exists(KEY) or not os.path.exists(CERT):
        raise Fatal(1, "The private key or certificate for HTTPS server is missing.")
    try:
        return base.server_tls(CERT, KEY)
    except (ssl.SSLError, OSError) as error:
        raise Fatal(0, f"HTTPS server cannot use its key and certificate: {error}") from error


def store_path(settings):
    """Absolute: as it is. Relative: in the unit's state directory, else in the working directory."""
    path = str(settings["sqlite"].get("options", {}).get("storage", "pckcache.db"))
    return os.path.join(os.environ.get("STATE_DIRECTORY", "").split(":")[0], path)


def open_store(settings):
    host = urllib.parse.urlsplit(settings["uri"]).netloc
    try:
        store = Store(store_path(settings))
    except (OSError, ValueError) as error:
        raise Fatal(1, f"Database cannot be used: {error}") from error
    if store.remember("pcs_host", host) != host:
        raise Fatal(1, "The server address used by the caching db is different from the one in configuration file.")
    return store


def start(settings):
    """-> a server that listens, or None when the real program would live on without listening."""
    version = check(settings)
    store = open_store(settings)
    tls = tls_context()
    api = Api(settings, version, store, log)
    host, port = str(settings.get("hosts", "127.0.0.1")), settings.get("HTTPS_PORT", 8081)
    address = f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"
    try:
        server = base.HttpServer(address, api, ident="simulated PCCS", tls=tls, body_limit=2 << 20)
    except (OSError, ValueError, OverflowError) as error:
        log("error", f"uncaughtException: listen {host}:{port}: {error}")
        return None
    log("info", f"HTTPS Server is running on: https://{host}:{port} (simulated PCCS)")
    return server


def main(argv=None):
    parser = argparse.ArgumentParser(description="simulated PCCS")
    parser.add_argument("--prefix", default=PREFIX, help="working directory, if it exists")
    args = parser.parse_args(argv)
    if os.path.isdir(args.prefix):
        os.chdir(args.prefix)
    try:
        settings, files = pccs_config.load()
        log("info", f"simulated PCCS: settings from {', '.join(files) or 'built-in defaults'}")
        server = start(settings)
    except ValueError as error:
        log("error", str(error))
        return 1
    except Fatal as error:
        log("error", str(error))
        return error.code
    if server is None:
        signal.pause()  # alive and useless, as seen on the real one
        return 0
    return base.run_until_signal(server)


if __name__ == "__main__":
    sys.exit(main())
