#!/usr/bin/env python3
"""Runs the tests and writes one JSON object a line: the name of a test, how it ended, and why if it failed.

STREAM_API_ADDRESS names the server; without one the tests that need a server are skipped. Arguments: names of tests to run, else all.
"""

import faulthandler
import json
import pathlib
import sys
import unittest

SECONDS_MAX = 120


class Lines(unittest.TestResult):
    """One line a test, when it ends."""

    def _line(self, test, outcome, message=""):
        print(json.dumps({"test": test.id(), "outcome": outcome, "message": message}), file=sys.__stdout__, flush=True)

    def addSuccess(self, test):
        self._line(test, "passed")

    def addError(self, test, err):
        super().addError(test, err)
        self._line(test, "failed", self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line(test, "failed", self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._line(test, "failed", f"{subtest}\n{(self.failures + self.errors)[-1][1]}")

    def addSkip(self, test, reason):
        self._line(test, "skipped", reason)


def main():
    faulthandler.dump_traceback_later(SECONDS_MAX, exit=True)
    here = pathlib.Path(__file__).resolve().parent
    sys.path[:0] = [str(here.parent)]
    loader = unittest.defaultTestLoader
    tests = loader.loadTestsFromNames(sys.argv[1:]) if sys.argv[1:] else loader.discover(str(here), top_level_dir=str(here.parent))
    result = Lines()
    tests.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
