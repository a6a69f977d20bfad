#!/usr/bin/env python3
"""Generates the packages ma.streaming.api.v1 and ma.streaming.open_data.v1, with their types, from api.proto and open_data.proto.

Needs Python itself and one of two compilers: protoc with grpc_python_plugin on the PATH (Debian: protobuf-compiler and
protobuf-compiler-grpc), or the Python package grpcio-tools.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
API, OPEN_DATA = "ma/streaming/api/v1/api.proto", "ma/streaming/open_data/v1/open_data.proto"

# The oldest packages that run code of protoc 3.21 and of the plugin of gRPC 1.51. Code of a newer generator names newer ones.
REQUIREMENTS = {"protobuf": "4.21", "grpcio": "1.51"}

# Debian's protoc comes without the files of the well-known types. Generated code takes the types from the protobuf package, so
# only names and numbers count here.
WELL_KNOWN_TYPES = {
    "any": "message Any { string type_url = 1; bytes value = 2; }",
    "duration": "message Duration { int64 seconds = 1; int32 nanos = 2; }",
    "timestamp": "message Timestamp { int64 seconds = 1; int32 nanos = 2; }",
}

# The plugin of gRPC writes no types.
CALLS = '''\
"""The stubs of the services. Generated."""

from typing import Generic, Iterable, Iterator, Optional, Sequence, Tuple, TypeVar, Union

import grpc

from ma.streaming.api.v1 import api_pb2

_Request = TypeVar("_Request", contravariant=True)
_Response = TypeVar("_Response", covariant=True)
_Metadata = Sequence[Tuple[str, Union[str, bytes]]]

class ResponseStream(grpc.RpcError, grpc.Call, grpc.Future, Generic[_Response]):
    """The responses of a call, as they come; also the call itself: cancel(), code(), trailing_metadata()."""

    def __iter__(self) -> Iterator[_Response]: ...
    def __next__(self) -> _Response: ...
'''
CALL = '''
class {name}(Generic[_Request, _Response]):
    def __call__(
        self, {argument}, timeout: Optional[float] = ..., metadata: Optional[_Metadata] = ...,
        credentials: Optional[grpc.CallCredentials] = ..., wait_for_ready: Optional[bool] = ...,
        compression: Optional[grpc.Compression] = ...) -> {result}: ...
'''
CALL_OF_ONE_RESPONSE = '''\
    def with_call(
        self, {argument}, timeout: Optional[float] = ..., metadata: Optional[_Metadata] = ...,
        credentials: Optional[grpc.CallCredentials] = ..., wait_for_ready: Optional[bool] = ...,
        compression: Optional[grpc.Compression] = ...) -> Tuple[_Response, grpc.Call]: ...
    def future(
        self, {argument}, timeout: Optional[float] = ..., metadata: Optional[_Metadata] = ...,
        credentials: Optional[grpc.CallCredentials] = ..., wait_for_ready: Optional[bool] = ...,
        compression: Optional[grpc.Compression] = ...) -> grpc.Future: ...
'''


def can_generate() -> bool:
    """Whether a compiler is there."""
    return _compiler() is not None


def generate(out: pathlib.Path, proto: pathlib.Path = PROTO) -> None:
    """Writes the package ma into the folder out."""
    compiler = _compiler()
    if compiler is None:
        sys.exit("generate.py: no compiler: install protoc and grpc_python_plugin (Debian: protobuf-compiler, protobuf-compiler-grpc), "
                 "or the Python package grpcio-tools")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        types = pathlib.Path(folder, "google", "protobuf")
        types.mkdir(parents=True)
        for name, message in WELL_KNOWN_TYPES.items():
            types.joinpath(f"{name}.proto").write_text(f'syntax = "proto3"; package google.protobuf; {message}\n', encoding="utf-8")
        subprocess.run(
            [*compiler, f"--proto_path={proto}", f"--proto_path={folder}", f"--python_out={out}", f"--pyi_out={out}",
             f"--grpc_python_out={out}", API, OPEN_DATA],
            check=True)
    _generated(out, API, "_grpc.pyi").write_text(_stub_types((proto / API).read_text(encoding="utf-8")), encoding="utf-8")
    for package in {parent for file in (API, OPEN_DATA) for parent in pathlib.PurePosixPath(file).parents if parent.name}:
        (out / package / "__init__.py").touch()
    (out / "ma" / "py.typed").touch()


def requirements(out: pathlib.Path) -> list[str]:
    """The packages that the generated code needs, with the oldest versions that run it."""
    protobuf = re.search(r"^# Protobuf Python Version: ([\d.]+)", _generated(out, API, ".py").read_text(encoding="utf-8"), re.MULTILINE)
    grpc = re.search(r"^GRPC_GENERATED_VERSION = '([\d.]+)'", _generated(out, API, "_grpc.py").read_text(encoding="utf-8"), re.MULTILINE)
    found = {**REQUIREMENTS, **{name: match[1] for name, match in (("protobuf", protobuf), ("grpcio", grpc)) if match}}
    return [f"{name}>={version}" for name, version in found.items()]


def _compiler() -> list[str] | None:
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if protoc and plugin:
        return [protoc, f"--plugin=protoc-gen-grpc_python={plugin}"]
    return [sys.executable, "-m", "grpc_tools.protoc"] if importlib.util.find_spec("grpc_tools") else None


def _generated(out: pathlib.Path, proto: str, suffix: str) -> pathlib.Path:
    return out / proto.replace(".proto", f"_pb2{suffix}")


def _stub_types(proto: str) -> str:
    request, stream = "request: _Request", "request_iterator: Iterable[_Request]"
    parts = [
        CALLS,
        CALL.format(name="OneToOne", argument=request, result="_Response") + CALL_OF_ONE_RESPONSE.format(argument=request),
        CALL.format(name="OneToMany", argument=request, result="ResponseStream[_Response]"),
        CALL.format(name="ManyToOne", argument=stream, result="_Response") + CALL_OF_ONE_RESPONSE.format(argument=stream),
    ]
    for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", proto, re.MULTILINE | re.DOTALL):
        parts.append(f"\nclass {service}Stub:\n    def __init__(self, channel: grpc.Channel) -> None: ...\n")
        for rpc, many_requests, of, many_responses, to in re.findall(
                r"^  rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\);", body, re.MULTILINE):
            kind = f"{'Many' if many_requests else 'One'}To{'Many' if many_responses else 'One'}"
            parts.append(f"    {rpc}: {kind}[api_pb2.{of}, api_pb2.{to}]\n")
    return "".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--proto", type=pathlib.Path, default=PROTO, help="the folder that the imports start from")
    arguments.add_argument("--out", type=pathlib.Path, default=HERE, help="the folder that gets the package ma")
    given = arguments.parse_args()
    generate(given.out, given.proto)


if __name__ == "__main__":
    main()
