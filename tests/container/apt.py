# SPDX-License-Identifier: Apache-2.0
"""The package side of a Box: repositories, debconf answers, installing."""

import pathlib
import re
import shutil

from . import base

REPO_DIRECTORY = "/srv/box-repo"
NONINTERACTIVE = {"DEBIAN_FRONTEND": "noninteractive"}
OPTIONS = ["-y", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold",
           "-o", "Dpkg::Use-Pty=0"]


def answer_lines(answers):
    """debconf-set-selections lines of {"package/question": value}; value may be a bool or ("type", value)."""
    if isinstance(answers, str):
        return answers
    if not isinstance(answers, dict):
        return "\n".join(answers) + "\n"
    lines = []
    for question, value in answers.items():
        kind, value = value if isinstance(value, tuple) else ("boolean" if isinstance(value, bool) else "string", value)
        value = str(value).lower() if isinstance(value, bool) else value
        lines.append(f"{question.partition('/')[0]} {question} {kind} {value}")
    return "\n".join(lines) + "\n"


class AptMixin:
    def add_repo(self, directory, name="dist"):
        """Make a host directory of .debs with a Packages index installable; again after a change, to refresh.

        The files are copied to a directory that the container sees read-only. The source is signed by nobody and
        said to be trusted, as `apt install ./x.deb` would be.
        """
        source, target = pathlib.Path(directory), self.directory / "repo" / name
        if not (source / "Packages").exists():
            raise FileNotFoundError(f"{source} has no Packages index (debs.build_debs and debs.index make one)")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path in source.iterdir():
            if path.suffix == ".deb" or path.name.startswith(("Packages", "Release", "InRelease")):
                shutil.copy2(path, target / path.name)
        self.write(f"/etc/apt/sources.list.d/box-{name}.list", f"deb [trusted=yes] file:{REPO_DIRECTORY}/{name} ./\n")
        self.run(["apt-get", "update", "-o", f"Dir::Etc::sourcelist=/etc/apt/sources.list.d/box-{name}.list",
                  "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Get::List-Cleanup=0"], env=NONINTERACTIVE)

    def preseed(self, answers):
        self.run(["debconf-set-selections"], input=answer_lines(answers))

    def apt(self, *words, timeout=900, check=True, stream=False, env=None):
        """apt-get with words, asking nothing; retried once with fresh lists when the mirror lost a file."""
        argv = ["apt-get", *OPTIONS, *words]
        env = {**NONINTERACTIVE, **(env or {})}
        base.lend_debs(self.release, self.directory / "archives")
        try:
            result = self.run(argv, check=False, timeout=timeout, env=env, stream=stream)
            if result.code and re.search(r"404 |Unable to fetch some archives|Failed to fetch", result.stderr):
                self.run("rm -f /var/lib/apt/lists/*_InRelease && apt-get update", timeout=300)
                result = self.run(argv, check=False, timeout=timeout, env=env, stream=stream)
        finally:
            base.take_debs(self.release, self.directory / "archives")
        if check and result.code:
            from .box import CommandFailed
            raise CommandFailed(self, argv, result)
        return result

    def apt_install(self, *packages, timeout=900, check=True, stream=False, recommends=True):
        extra = [] if recommends else ["--no-install-recommends"]
        return self.apt("install", *extra, *packages, timeout=timeout, check=check, stream=stream)

    def apt_purge(self, *packages, timeout=300, check=True):
        return self.apt("purge", *packages, timeout=timeout, check=check)

    def installed(self, package):
        """The installed version of a package, or None."""
        shown = self.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package], check=False)
        status, _, version = shown.stdout.partition(" ")
        return version if shown.code == 0 and status == "installed" else None
