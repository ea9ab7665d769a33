#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tap.py DIRECTORY: runs Python's unittest tests of a directory and prints TAP."""

import sys
import unittest


class TapResult(unittest.TestResult):
    number = 0

    def line(self, ok, test, tail=""):
        self.number += 1
        print(f"{'ok' if ok else 'not ok'} {self.number} - {test.id()}{tail}", flush=True)

    def addSuccess(self, test):
        self.line(True, test)

    def addSkip(self, test, reason):
        self.line(True, test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line(False, test)
        print(self.failures[-1][1], flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        self.line(False, test)
        print(self.errors[-1][1], flush=True)


def main():
    suite = unittest.defaultTestLoader.discover(sys.argv[1])
    result = TapResult()
    suite.run(result)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
