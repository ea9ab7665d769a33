# SPDX-License-Identifier: Apache-2.0
"""Makes the container images of the simulated aesmd and key provider out of this machine's own Python and loads them.

No registry is asked. Both images share one layer: the interpreter, its libraries, its standard library, our programs.
The same inputs give the same image ids; what is loaded already is left alone.

Docker waits for no file of a layer to be on the disk, and after a power cut takes for whole what is not: its containers
then end at once, for ever. So what was loaded is flushed and noted, and what is not in the note is loaded again.
Docker also keeps layers of images that it has lost, and takes them for the next image with such a layer. It forgets a
layer only with the last image that has it: after an interrupted load that image is made, removed, and made again.
"""

import argparse
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import urllib.parse

import base

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = ("base.py", "qcnl.py", "tdquote.py", "keybox.py", "aesmd.py", "keyprovider.py")
WHERE = "opt/dstack-host-sim"
IMAGES = {"dstack-sim/aesmd:latest": "aesmd.py", "dstack-sim/gramine-sealing-key-provider:latest": "keyprovider.py"}
LABEL = "org.dstack.simulated.inputs"
NOTE = "/var/lib/dstack-sim-images/on-disk"
LOADING = "loading"
# Parts of the standard library that a server without screen, database and tests does not need.
_SKIP = re.compile(r"(^|/)(test|tests|idlelib|lib2to3|ensurepip|turtledemo|pydoc_data|tkinter|distutils|unittest|"
                   r"sqlite3|curses|dbm|venv|site-packages|dist-packages|__pycache__|config-[^/]*)(/|$)|"
                   r"sitecustomize\.py$|\.pyc$|"
                   r"/(_tkinter|_sqlite3|_curses|_dbm|_gdbm|_ctypes_test|_test|_xx|xx|readline|nis|ossaudiodev|audioop)"
                   r"[^/]*\.so$")


class ImageError(Exception):
    """Says what is wrong; the program ends with 1."""


def _run(*argv):
    try:
        run = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ImageError(f"{argv[0]}: {error.strerror}") from error
    if run.returncode != 0:
        raise ImageError(f"{' '.join(argv)}: {run.stderr.strip()}")
    return run.stdout


def libraries(binary):
    """The shared libraries and the loader of a program or module, by the paths the loader uses."""
    text = _run("ldd", binary)
    if "not found" in text:
        raise ImageError(f"{binary}: a library is missing: {text}")
    return set(re.findall(r"(?:=> )?(/\S+) \(0x", text))


def collect(python):
    """-> {path inside the image: path here}."""
    binary = os.path.realpath(python)
    stdlib = _run(binary, "-I", "-S", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))").strip()
    files = {"usr/bin/python3": binary}
    for folder, _, names in os.walk(stdlib):
        for name in names:
            path = os.path.join(folder, name)
            if not _SKIP.search("/" + os.path.relpath(path, stdlib)) and os.path.isfile(path):
                files[path.lstrip("/")] = path
    for path in [binary, *(path for path in files.values() if path.endswith(".so"))]:
        files.update({library.lstrip("/"): library for library in libraries(path)})
    files.update({f"{WHERE}/{name}": os.path.join(HERE, name) for name in PROGRAMS})
    return files


def _entry(name, mode, kind=tarfile.REGTYPE, size=0):
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.size = mode, kind, size
    return info


def layer(files):
    """The root file system as a tar of the same bytes whenever the files are the same."""
    extra = {"SIMULATED": b"Simulation of dstack-host: stands for Intel's and gramine's software.\n",
             "etc/passwd": b"root:x:0:0:root:/root:/bin/false\n", "etc/group": b"root:x:0:\n",
             "etc/nsswitch.conf": b"hosts: files dns\n"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in _folders([*files, *extra]):
            tar.addfile(_entry(name, 0o1777 if name == "tmp" else 0o755, tarfile.DIRTYPE))
        for name in sorted([*files, *extra]):
            data = extra.get(name)
            if data is None:
                with open(files[name], "rb") as stream:
                    data = stream.read()
                mode = 0o755 if os.access(files[name], os.X_OK) else 0o644
            tar.addfile(_entry(name, mode if name in files else 0o644, size=len(data)), io.BytesIO(data))
    return out.getvalue()


def _folders(names):
    found = {"tmp", "proc", "sys", "dev", "run", "root", "var/run/aesmd"}
    found.update(os.path.dirname(name) for name in names)
    for name in list(found):
        while "/" in name:
            name = os.path.dirname(name)
            found.add(name)
    return sorted(found - {""})


def config(program, diff_id):
    inputs = hashlib.sha256(f"{diff_id} {program}".encode()).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return json.dumps({
        "architecture": machine, "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Cmd": ["/usr/bin/python3", "-B", "-S", f"/{WHERE}/{program}"], "WorkingDir": "/",
                   "Env": ["PATH=/usr/bin:/bin", "PYTHONUNBUFFERED=1"],
                   "Labels": {"org.dstack.simulated": "true", LABEL: inputs}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "dstack-host-sim (simulated)"}],
    }, sort_keys=True).encode()


def archive(rootfs, configs):
    """The archive `docker load` takes. configs: {tag: config bytes}."""
    layer_name = hashlib.sha256(rootfs).hexdigest() + "/layer.tar"
    parts, manifest = {layer_name: rootfs}, []
    for tag, text in configs.items():
        name = hashlib.sha256(text).hexdigest() + ".json"
        parts[name] = text
        manifest.append({"Config": name, "RepoTags": [tag], "Layers": [layer_name]})
    parts["manifest.json"] = json.dumps(manifest).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(_entry(os.path.dirname(layer_name), 0o755, tarfile.DIRTYPE))
        for name, data in parts.items():
            tar.addfile(_entry(name, 0o644, size=len(data)), io.BytesIO(data))
    return out.getvalue()


class Docker:
    """The few calls of the Engine API that are needed."""

    def __init__(self, address):
        self.address = address

    def _call(self, method, path, body=None, timeout=30):
        headers = {"Content-Type": "application/x-tar"} if body else None
        try:
            return base.http_call(self.address, method, path, body, headers, timeout)
        except OSError as error:
            raise ImageError(f"Docker on {self.address} does not answer: {error}") from error

    def inspect(self, tag):
        """-> (id, our label) or (None, None)."""
        status, _, body = self._call("GET", f"/images/{urllib.parse.quote(tag)}/json")
        if status == 404:
            return None, None
        if status != 200:
            raise ImageError(f"Docker answers {status} for {tag}: {body.decode(errors='replace').strip()}")
        image = json.loads(body)
        return image.get("Id"), ((image.get("Config") or {}).get("Labels") or {}).get(LABEL)

    def load(self, data):
        status, _, body = self._call("POST", "/images/load?quiet=1", data, timeout=300)
        text = body.decode(errors="replace").strip()
        if status != 200 or '"error"' in text:
            raise ImageError(f"Docker does not load the images: {status} {text}")

    def forget(self, image_id):
        """Removes a superseded image of ours; one that a container still uses stays, which Docker says with 409."""
        self._call("DELETE", f"/images/{image_id}")

    def drop(self, image_id):
        """Removes an image with its containers, whose files may be no better than its own."""
        chosen = urllib.parse.quote(json.dumps({"ancestor": [image_id]}))
        for container in json.loads(self._call("GET", f"/containers/json?all=1&filters={chosen}")[2]):
            self._call("DELETE", f"/containers/{container['Id']}?force=1")
        status, _, body = self._call("DELETE", f"/images/{image_id}?force=1")
        if status not in (200, 404):
            raise ImageError(f"Docker does not remove {image_id}: {body.decode(errors='replace').strip()}")

    def flush(self):
        """Returns when all that Docker has written is on the disk."""
        _run("sync", "-f", json.loads(self._call("GET", "/info")[2])["DockerRootDir"])


class Note:
    """The ids of the images that are on the disk, and LOADING while others are not yet."""

    def __init__(self, path):
        self.path = path

    def read(self):
        try:
            with open(self.path, encoding="ascii") as stream:
                return stream.read().split()
        except FileNotFoundError:
            return []

    def write(self, ids):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".new", "w", encoding="ascii") as stream:
            stream.write("".join(f"{image_id}\n" for image_id in ids))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(self.path + ".new", self.path)


def docker_address(environ):
    host = environ.get("DOCKER_HOST", "")
    return "unix:" + (host.removeprefix("unix://") if host.startswith("unix://") else "/var/run/docker.sock")


def ensure(docker, python, note):
    """-> the tags that were loaded."""
    rootfs = layer(collect(python))
    diff_id = "sha256:" + hashlib.sha256(rootfs).hexdigest()
    configs = {tag: config(program, diff_id) for tag, program in IMAGES.items()}
    there, whole = {tag: docker.inspect(tag) for tag in configs}, note.read()
    for image_id in {image_id for image_id, _ in there.values() if image_id and image_id not in whole}:
        docker.drop(image_id)
        there = {tag: (None, None) if found[0] == image_id else found for tag, found in there.items()}
    missing = [tag for tag, text in configs.items() if there[tag][1] != json.loads(text)["config"]["Labels"][LABEL]]
    if missing:
        note.write([*(image_id for image_id in whole if image_id != LOADING), LOADING])
        data = archive(rootfs, {tag: configs[tag] for tag in missing})
        docker.load(data)
        if LOADING in whole:
            for tag in missing:
                docker.drop(docker.inspect(tag)[0])
            docker.load(data)
    for tag in missing:
        if docker.inspect(tag)[1] != json.loads(configs[tag])["config"]["Labels"][LABEL]:
            raise ImageError(f"{tag} was loaded, yet Docker does not have it")
        if there[tag][1]:
            docker.forget(there[tag][0])
    if missing:
        docker.flush()
        note.write([docker.inspect(tag)[0] for tag in configs])
    return missing


def main(argv=None):
    parser = argparse.ArgumentParser(description="images of the simulated aesmd and key provider")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--note", default=NOTE, help="where is kept which images are on the disk")
    parser.add_argument("--output", help="write the archive there instead of loading it")
    args = parser.parse_args(argv)
    try:
        if args.output:
            rootfs = layer(collect(args.python))
            diff_id = "sha256:" + hashlib.sha256(rootfs).hexdigest()
            with open(args.output, "wb") as stream:
                stream.write(archive(rootfs, {tag: config(program, diff_id) for tag, program in IMAGES.items()}))
            return 0
        loaded = ensure(Docker(docker_address(os.environ)), args.python, Note(args.note))
    except (ImageError, OSError, ValueError) as error:
        print(f"simulated images: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"simulated images: {'loaded ' + ', '.join(loaded) if loaded else 'unchanged'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
