# SPDX-License-Identifier: Apache-2.0
"""Command line of the container library; the Makefile calls it (PYTHONPATH=tests python3 -m container.cli ...)."""

import argparse
import pathlib
import sys

from . import base, debs, demo, host
from .box import Box, collect_dead, exit_on_signals

ROOT = pathlib.Path(__file__).resolve().parents[2]


def command_demo(args):
    return demo.demo(args.source, args.release)


def command_shell(args):
    box = Box.attach(args.name)
    if not box:
        raise host.ContainerError(f"no box named {args.name}; `make demo` makes dstack-demo")
    if not box.running:
        box.start()
    box.shell()


def command_rm(args):
    box = Box.attach(args.name)
    if box:
        box.destroy()
    print(f"{args.name} removed" if box else f"there is no box named {args.name}")


def command_gc(args):
    for name in collect_dead():
        print(f"removed {name}")
    with host.locked("boxes"):
        base.prune(0 if args.all else 30 * 86400)


def command_build(args):
    key = debs.build_debs(args.release, args.source, args.out, options="" if args.check else "nocheck")
    for path in sorted(pathlib.Path(args.out).glob("*.deb")):
        print(path)
    host.say(f"build key {key}")


def command_base(args):
    print(base.base(args.release)[0])


def command_list(_):
    for directory in sorted(host.RUNS.glob("*/")):
        box = Box.load(directory)
        print(f"{box.name}\t{box.release}\t{'running' if box.running else 'stopped'}\t{'kept' if box.keep else ''}")


def parser():
    top = argparse.ArgumentParser(prog="python3 -m container.cli", description=__doc__)
    sub = top.add_subparsers(dest="command", required=True)

    def add(name, function, text, *arguments):
        command = sub.add_parser(name, help=text)
        command.set_defaults(function=function)
        for flags, options in arguments:
            command.add_argument(*flags, **options)
    release = (["release"], {"choices": sorted(base.RELEASES)})
    source = (["--source"], {"default": str(ROOT), "help": "source tree (default: this one)"})
    name = (["name"], {"nargs": "?", "default": demo.NAME})
    add("demo", command_demo, "a box that stays, with the packages built from here installed", source,
        (["--release"], {"choices": sorted(base.RELEASES), "default": "bookworm"}))
    add("shell", command_shell, "a root shell in a kept box", name)
    add("rm", command_rm, "remove a kept box", name)
    add("gc", command_gc, "remove what dead runs left, and outdated roots",
        (["--all"], {"action": "store_true", "help": "also every cached root that no box uses"}))
    add("list", command_list, "boxes on this machine")
    add("base", command_base, "make sure a release's root is cached, print its path", release)
    add("build", command_build, "build the packages for a release into OUT, with an apt index", release,
        (["out"], {}), source, (["--check"], {"action": "store_true", "help": "run the package's own tests too"}))
    return top


def main():
    args = parser().parse_args()
    exit_on_signals()
    try:
        host.require_tools()
        return args.function(args) or 0
    except host.ContainerError as error:
        print(f"container: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
