# SPDX-License-Identifier: Apache-2.0
"""The program under test, the rigs' own tools, and deliberately broken variants of the program."""

import os
import pathlib
import re
import shlex
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[3]
TOOLS = TOP / "build/rig-tools"
OBJECTS = TOP / "build/rig"


class BuildError(Exception):
    pass


def sh(*argv, stdin=subprocess.DEVNULL):
    done = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=stdin, check=False)
    if done.returncode:
        raise BuildError(f"{shlex.join(map(str, argv))}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def tool(name):
    sh("make", "-s", "-C", TOP / "tests/rig", f"OUT={TOOLS}", TOOLS / name)
    return str(TOOLS / name)


def make_program():
    sh("make", "-s", "-C", TOP, f"BUILD={OBJECTS}", OBJECTS / "dstack-host")
    return str(OBJECTS / "dstack-host")


def program():
    """$DSTACK_HOST, else the unit tests' build, else one of our own."""
    named = os.environ.get("DSTACK_HOST")
    if named:
        return str(pathlib.Path(named).resolve())
    built = TOP / "build/gcc/dstack-host"
    return str(built) if built.is_file() else make_program()


def verbs(host):
    """The commands that this build has (some verbs come with later parts)."""
    return set(re.findall(r"^  ([a-z]+) ", sh(host, "--help"), re.M))


def patched(source, replacements):
    """A source file with its faults built in; each text must be there once, or the variant would be the original."""
    text = (TOP / source).read_text()
    for old, new in replacements:
        if text.count(old) != 1:
            raise BuildError(f"{source}: \"{old}\" is there {text.count(old)} times: this variant needs a new patch")
        text = text.replace(old, new)
    return text


def variant(work, name, source, replacements):
    """Builds the program with one source file changed; returns its path."""
    make_program()
    directory = pathlib.Path(work) / f"variant-{name}"
    directory.mkdir()
    changed = directory / pathlib.Path(source).name
    changed.write_text(patched(source, replacements))
    flags = ["-std=gnu11", "-D_GNU_SOURCE", f"-I{TOP}/src", f"-I{(TOP / source).parent}", "-O1", "-w"]
    sh("gcc", *flags, "-c", "-o", directory / "changed.o", changed)
    own = OBJECTS / pathlib.Path(source).relative_to("src").with_suffix(".o")
    sources = [*(TOP / "src").glob("*/**/*.c"), TOP / "src/main.c"]
    objects = [OBJECTS / path.relative_to(TOP / "src").with_suffix(".o") for path in sources]
    packages = re.search(r"^PKGS = (.*)$", (TOP / "Makefile").read_text(), re.M)[1].split()
    libraries = sh("pkg-config", "--libs", *packages).split()
    sh("gcc", "-o", directory / "dstack-host", directory / "changed.o", *[o for o in objects if o != own], *libraries)
    return str(directory / "dstack-host")
