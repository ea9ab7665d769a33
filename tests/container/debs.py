# SPDX-License-Identifier: Apache-2.0
"""Build a source tree's packages for a release, as a Debian build machine would: unprivileged, without network."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import time
import uuid

from . import base, host

KEPT_BUILDS = 6
REPLACED = ("*.deb", "*.ddeb", "*.buildinfo", "*.changes", "Packages*", "Release")


def source_files(srcdir):
    """Tracked and untracked files that are not ignored, as git sees them; sorted, existing ones only."""
    listed = subprocess.run(["git", "-c", f"safe.directory={pathlib.Path(srcdir).resolve()}", "-C", str(srcdir),
                             "ls-files", "-coz", "--exclude-standard", "--deduplicate"],
                            capture_output=True, check=False)
    if listed.returncode:
        raise host.ContainerError(f"{srcdir}: not a git tree: {listed.stderr.decode().strip()}")
    names = sorted({os.fsdecode(name) for name in listed.stdout.split(b"\0") if name})
    return [name for name in names if os.path.lexists(os.path.join(srcdir, name))]


def tree_hash(srcdir, names, *extra):
    total = hashlib.sha256(repr(extra).encode())
    for name in names:
        path = os.path.join(srcdir, name)
        if os.path.islink(path):
            content = os.fsencode(os.readlink(path))
        else:
            with open(path, "rb") as handle:
                content = handle.read()
        mode = os.lstat(path).st_mode & 0o170111
        total.update(f"{name}\0{mode:o}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:16]


def suffix_version(changelog, suffix):
    """The changelog text with suffix appended to its newest version."""
    changed, count = re.subn(r"\A(\S+ \()([^)]+)(\))", rf"\g<1>\g<2>{suffix}\g<3>", changelog)
    if not count:
        raise host.ContainerError("debian/changelog: no version in the first line")
    return changed


def build_debs(release, srcdir, outdir, version_suffix=None, options="nocheck"):
    """Build srcdir (a git tree with debian/), put the packages and a repository index into outdir.

    Returns the build's key: equal keys mean equal packages, and nothing was compiled again. outdir is replaced as
    far as packages and indexes go. options is DEB_BUILD_OPTIONS; "" runs the package's own tests as well.
    """
    srcdir, outdir = pathlib.Path(srcdir).resolve(), pathlib.Path(outdir)
    suffix = base.RELEASES[release] if version_suffix is None else version_suffix
    names = source_files(srcdir)
    if "debian/changelog" not in names:
        raise host.ContainerError(f"{srcdir} has no debian/changelog")
    lowers = base.builder(release, srcdir)
    key = tree_hash(srcdir, names, lowers, suffix, options)
    store = host.CACHE / "built" / f"{release}-{key}"
    with host.locked(f"built-{release}-{key}"):
        if not (store / "Packages").exists():
            compile_tree(release, srcdir, names, lowers, suffix, options, store)
        os.utime(store)
        publish(store, outdir)
    forget_old(release)
    return key


def compile_tree(release, srcdir, names, lowers, suffix, options, store):
    started = time.monotonic()
    work = host.CACHE / "build" / f"{release}-{uuid.uuid4().hex[:8]}"
    log = host.CACHE / "build" / f"{store.name}.log"
    host.say(f"building packages for {release} (log: {log})")
    root = host.mount_overlay(lowers, work)
    try:
        log.unlink(missing_ok=True)
        copy_source(srcdir, names, root / "build/src", suffix)
        host.sh("chroot", root, "chown", "-R", "builder:builder", "/build")
        script = "cd /build/src && exec dpkg-buildpackage -b -uc -us"
        base.in_root(root, ["/bin/sh", "-c", script], log, f"dpkg-buildpackage for {release}",
                     ["--user=builder", "--private-network", "--setenv=LC_ALL=C.UTF-8",
                      f"--setenv=DEB_BUILD_OPTIONS={options}"])
        temporary = store.with_name(store.name + ".new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for pattern in REPLACED[:4]:
            for path in (root / "build").glob(pattern):
                shutil.copyfile(path, temporary / path.name)
        if not any(temporary.glob("*.deb")):
            raise host.ContainerError(f"the build for {release} made no packages; see {log}")
        index(temporary)
        temporary.rename(store)
    finally:
        host.unmount(root)
        with contextlib.suppress(OSError):
            host.remove_tree(work)
    host.say(f"packages for {release} built in {time.monotonic() - started:.0f} s")


def copy_source(srcdir, names, target, suffix):
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(srcdir / name, path, follow_symlinks=False)
    changelog = target / "debian/changelog"
    changelog.write_text(suffix_version(changelog.read_text(), suffix))


def index(directory):
    """Make directory a flat apt repository: Packages and Release over its .debs."""
    def ftparchive(*argv):
        done = subprocess.run(["apt-ftparchive", *argv], cwd=directory, capture_output=True, check=False)
        if done.returncode:
            raise host.ContainerError(f"apt-ftparchive: {done.stderr.decode().strip()}")
        return done.stdout
    (directory / "Release").unlink(missing_ok=True)
    (directory / "Packages").write_bytes(ftparchive("packages", "."))
    release = ftparchive("-o", "APT::FTPArchive::Release::Label=dstack-host", "release", ".")
    (directory / "Release").write_bytes(release)


def publish(store, outdir):
    outdir.mkdir(parents=True, exist_ok=True)
    for pattern in REPLACED:
        for path in outdir.glob(pattern):
            path.unlink()
    for path in store.iterdir():
        shutil.copyfile(path, outdir / path.name)


def forget_old(release):
    logs = sorted((host.CACHE / "build").glob(f"{release}-*.log"), key=lambda path: path.stat().st_mtime)
    for path in logs[:-KEPT_BUILDS]:
        path.unlink(missing_ok=True)
    builds = sorted((host.CACHE / "built").glob(f"{release}-*/"), key=lambda path: path.stat().st_mtime)
    for path in builds[:-KEPT_BUILDS]:
        with host.locked(f"built-{path.name}"):
            shutil.rmtree(path, ignore_errors=True)
