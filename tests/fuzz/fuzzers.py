# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the libFuzzer targets of this directory, and deliberately broken variants of what they fuzz."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
BUILD = TOP / "build/fuzz"
CORPUS = HERE / "corpus"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CFLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=fuzzer-no-link", *SANITIZE]
MOST_RSS_MB, SLOWEST_INPUT = 2048, 10


class Missing(Exception):
    """This machine cannot fuzz; the text says what to install."""


class BuildError(Exception):
    pass


def targets():
    return sorted(path.stem for path in HERE.glob("fuzz-*.c"))


def sh(*argv):
    done = subprocess.run([str(word) for word in argv], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, argv))[:200]}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def check_tools():
    """clang with libFuzzer's runtime, or Missing."""
    clang = shutil.which("clang")
    if not clang:
        raise Missing("no clang (apt-get install clang libclang-rt-14-dev)")
    machine = os.uname().machine
    where = subprocess.run([clang, f"-print-file-name=libclang_rt.fuzzer-{machine}.a"], capture_output=True, text=True,
                           check=False).stdout.strip()
    resources = subprocess.run([clang, "-print-resource-dir"], capture_output=True, text=True, check=False).stdout.strip()
    found = [where, *map(str, pathlib.Path(resources).glob("lib/*/libclang_rt.fuzzer*"))]
    if not any(os.path.isabs(path) and os.path.exists(path) for path in found):
        raise Missing("no libFuzzer runtime (apt-get install libclang-rt-14-dev, or your clang's version)")


def build(names):
    check_tools()
    sh("make", "-s", f"BUILD={BUILD.relative_to(TOP)}", "CC=clang", f"CFLAGS={' '.join(CFLAGS)} -Werror",
       *[f"{BUILD.relative_to(TOP)}/fuzz/{name}" for name in names])


def libraries():
    makefile = (TOP / "Makefile").read_text()
    packages = [word for name in ("PKGS", "DL_PKGS") for word in re.search(f"^{name} = (.*)$", makefile, re.M)[1].split()]
    return sh("pkg-config", "--libs", *packages).split()


def patched(source, old, new):
    """The source with its fault built in; old must be there once, or the variant would be the original."""
    text = (TOP / source).read_text()
    if text.count(old) != 1:
        raise BuildError(f"{source}: \"{old}\" is there {text.count(old)} times: this variant needs a new patch")
    return text.replace(old, new)


def build_broken(directory, target, source, old, new):
    """The target with one source file changed; the rest comes from what build() made."""
    changed = pathlib.Path(directory) / pathlib.Path(source).name
    changed.write_text(patched(source, old, new))
    flags = ["-std=gnu11", "-D_GNU_SOURCE", f"-I{TOP / 'src'}", f"-I{(TOP / source).parent}", "-w", *CFLAGS]
    sh("clang", *flags, "-c", "-o", changed.with_suffix(".o"), changed)
    # Before the archive: its own member of that file is then not asked for.
    sh("clang", *flags, "-fsanitize=fuzzer", "-o", changed.with_suffix(""), HERE / f"{target}.c",
       changed.with_suffix(".o"), BUILD / "libdstack.a", *libraries())
    return changed.with_suffix("")


class Result:
    def __init__(self, status, output, kept):
        self.output, self.kept = output, kept
        counted = re.search(r"^stat::number_of_executed_units: (\d+)", output, re.M)
        self.executions = int(counted[1]) if counted else 0
        self.found = status != 0
        self.why = next((line for line in output.splitlines()
                         if re.search(r"not so:|runtime error:|ERROR: |timeout after", line)), f"exit status {status}")


@contextlib.contextmanager
def memory_directory():
    """Fake roots are written and removed thousands of times a second: not on a disk."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = tempfile.mkdtemp(prefix="dstack-fuzz-", dir=where)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(binary, target, seconds, keep=None, artifacts=None):
    """Fuzzes for so many seconds, from the committed corpus; what is new is kept in the directory keep."""
    with memory_directory() as tmp:
        work = pathlib.Path(keep or f"{tmp}/corpus")
        out = pathlib.Path(artifacts or f"{tmp}/artifacts")
        for path in (work, out):
            path.mkdir(parents=True, exist_ok=True)
        argv = [str(binary), f"-max_total_time={seconds}", f"-timeout={SLOWEST_INPUT}",
                f"-rss_limit_mb={MOST_RSS_MB}", f"-artifact_prefix={out}/{target}-", "-print_final_stats=1",
                "-close_fd_mask=2", str(work), str(CORPUS / target)]
        # Without a terminal: nothing that is fuzzed may ask a question there.
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TMPDIR": tmp}, text=True,
                              errors="replace", start_new_session=True) as process:
            try:
                output = process.communicate(timeout=seconds + 60)[0]
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Result(process.returncode, output, sorted(map(str, out.glob(f"{target}-*"))))
