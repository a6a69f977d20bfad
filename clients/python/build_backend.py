"""Builds with setuptools. Where no protoc is installed, the build first fetches one: the package grpcio-tools."""

from setuptools.build_meta import *  # noqa: F403  The hooks of a build backend.

import generate


def get_requires_for_build_wheel(config_settings=None):
    # The hook of setuptools runs setup.py, which needs the compiler.
    return [] if generate.can_generate() else ["grpcio-tools"]


get_requires_for_build_editable = get_requires_for_build_wheel
