# SPDX-License-Identifier: Apache-2.0
"""Directory trees as values: everything a reader of the files could notice."""

import os
import re
import stat

TEMPORARY = ".dstack-new"
# What has been found good (src/host/cert-record.h): may be there or not, and says when. Whole it is in any case.
RECORD = re.compile(r"/var/lib/dstack/ca/leaves/[a-z]+\.good$")


def entry(path):
    """(kind, mode, uid, gid, content) of one file; a directory's content is None."""
    st = os.lstat(path)
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as handle:
            content = handle.read()
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    else:
        content = None
    return (stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, content)


def snapshot(root, skip=("lost+found",)):
    """{path below root: entry} of everything there."""
    found = {}
    for directory, names, files in os.walk(root):
        if directory == root:
            names[:] = [name for name in names if name not in skip]
        for name in names + files:
            path = os.path.join(directory, name)
            found[path[len(root):]] = entry(path)
    return found


def temporaries(tree):
    return [path for path in tree if path.endswith(TEMPORARY)]


def differences(tree, wanted, free=()):
    """What is not as in wanted, one text each. Paths in free have to be there in both or in neither."""
    out = []
    for path in sorted(set(tree) | set(wanted)):
        have, want = tree.get(path), wanted.get(path)
        if RECORD.match(path):
            continue
        if have == want or (path in free and have and want and have[:4] == want[:4]):
            continue
        out.append(f"{path}: {describe(have)} instead of {describe(want)}")
    return out


def torn(tree, old, new, free=()):
    """Files that are neither as in old nor as in new. Directories and temporaries may be on their way; the content
    of a path in free is random, so only its form is judged."""
    out = []
    for path in sorted(set(tree) | set(old)):
        have = tree.get(path)
        if path.endswith(TEMPORARY) or have in (old.get(path), new.get(path)):
            continue
        if have and stat.S_ISDIR(have[0]) and path in new:
            continue
        if path in free and have and have[:4] == new[path][:4] and well_formed(have[4]):
            continue
        if RECORD.match(path) and (not have or have[:2] == (stat.S_IFREG, 0o600) and whole_record(have[4])):
            continue
        out.append(f"{path}: {describe(have)}, neither the old {describe(old.get(path))} nor the new "
                   f"{describe(new.get(path))}")
    return out


def well_formed(content):
    """A token of 64 digits, or whole PEM blocks; something rendered from one must not be empty."""
    if content.startswith(b"-----BEGIN"):
        return content.count(b"-----BEGIN ") == content.count(b"-----END ") and content.endswith(b"-----\n")
    return len(content) >= 64


def whole_record(content):
    return content.startswith(b"dstack-host 1\n") and content.count(b"\n") == 7 and content.endswith(b"\n")


def restore(root, have, wanted):
    """Makes root, which is like the tree have, like the tree wanted."""
    for path in sorted(set(have) - set(wanted), reverse=True):
        remove = os.rmdir if stat.S_ISDIR(have[path][0]) else os.unlink
        remove(root + path)
    for path in sorted(wanted):
        if have.get(path) != wanted[path]:
            put(root + path, have.get(path), wanted[path])


def put(path, have, item):
    kind, mode, uid, gid, content = item
    if have and (have[0] != kind or not stat.S_ISDIR(kind)):
        os.unlink(path)
    if stat.S_ISLNK(kind):
        os.symlink(content, path)
        return
    if stat.S_ISREG(kind):
        with open(path, "wb") as handle:
            handle.write(content)
    elif not have:
        os.mkdir(path)
    os.chown(path, uid, gid)
    os.chmod(path, mode)


def describe(item):
    if item is None:
        return "nothing"
    kind, mode, uid, gid, content = item
    name = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(kind, "other")
    size = f" of {len(content)} bytes" if isinstance(content, bytes) else f" to {content}" if content else ""
    return f"{name} {mode:04o} {uid}:{gid}{size}"
