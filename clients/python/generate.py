#!/usr/bin/env python3
"""Generates the modules ma.streaming.api.v1 and ma.streaming.open_data.v1 from api.proto and open_data.proto, and from nothing else.

Takes protoc and grpc_python_plugin from the PATH (Debian: protobuf-compiler, protobuf-compiler-grpc), or else the package grpcio-tools.
The two files import Google's well-known types; their definitions come from the installed protobuf package, so that no further files are
needed.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, timestamp_pb2

HERE = pathlib.Path(__file__).resolve().parent
FILES = ["ma/streaming/api/v1/api.proto", "ma/streaming/open_data/v1/open_data.proto"]


def compiler():
    """The command that runs protoc, with its plugin for services."""
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if protoc and plugin:
        return [protoc, f"--plugin=protoc-gen-grpc_python={plugin}"]
    if subprocess.run([sys.executable, "-c", "import grpc_tools"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "grpc_tools.protoc"]
    sys.exit("generate.py: needs protoc and grpc_python_plugin on the PATH, or the package grpcio-tools")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--proto", type=pathlib.Path, default=HERE.parent.parent / "proto", help="the folder the imports start from")
    arguments.add_argument("--out", type=pathlib.Path, default=HERE, help="the folder that gets the package ma")
    given = arguments.parse_args()

    known = descriptor_pb2.FileDescriptorSet()
    for module in (any_pb2, duration_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(known.file.add())
    with tempfile.TemporaryDirectory() as folder:
        types = pathlib.Path(folder, "well-known-types")
        types.write_bytes(known.SerializeToString())
        given.out.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*compiler(), f"--descriptor_set_in={types}", f"--proto_path={given.proto}", f"--python_out={given.out}",
             f"--grpc_python_out={given.out}", *FILES],
            check=True)
    for package in {parent for file in FILES for parent in pathlib.PurePath(file).parents if parent.name}:
        (given.out / package / "__init__.py").touch()


if __name__ == "__main__":
    main()
