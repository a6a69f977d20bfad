"""Generates the package ma, and gives the wheel its version and its dependencies. All else is in pyproject.toml."""

import os
import pathlib
import re
import sys
import tempfile

from setuptools import setup

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

VERSION = "3.0.0-alpha.1"
FORM = re.compile(r"(\d+\.\d+\.\d+)(?:-(alpha|beta|rc)\.(\d+)(?:\.(\d+))?)?(?:\+.*)?")


def pep440(version: str) -> str:
    """A version of the NuGet packages in Python's form: 3.0.0-alpha.1 is 3.0.0a1, and 3.0.0-alpha.1.7, seven commits later, 3.0.0a1.post7."""
    match = FORM.fullmatch(version)
    if match is None:
        sys.exit(f"STREAM_API_VERSION = {version!r} is not allowed; expected a version of the NuGet packages, such as {VERSION}")
    release, kind, number, commits = match.groups()
    return release + (f"{'rc' if kind == 'rc' else kind[0]}{number}" if kind else "") + (f".post{commits}" if commits else "")


generate.generate(HERE)
# A folder "build" that stays would bring removed modules back.
with tempfile.TemporaryDirectory() as build:
    setup(
        version=pep440(os.environ.get("STREAM_API_VERSION") or VERSION), install_requires=generate.requirements(HERE),
        options={"build": {"build_base": build}})
