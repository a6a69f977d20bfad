"""Data packets as rows: what every parameter of a packet was at each of its times."""

from __future__ import annotations

import datetime
import enum
import itertools
import json
import threading
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Type, TypeVar, Union

from google.protobuf.message import DecodeError, Message

from ma.streaming.api.v1 import api_pb2
from ma.streaming.open_data.v1 import open_data_pb2

if TYPE_CHECKING:
    from .client import StreamApi

Value = Union[float, int, bool, str]
ParametersOf = Callable[[int], Sequence[str]]
_Content = TypeVar("_Content", bound=Message)


class DataStatus(enum.IntEnum):
    """Whether a value can be used."""

    UNSPECIFIED = 0
    """The writer does not say."""
    VALID = 1
    MISSING = 2
    """There was none; the value means nothing."""
    ERROR = 3
    """Something was wrong with it."""


class Sample(NamedTuple):
    """A value, as it was written, and what its status says about it."""

    value: Value
    status: DataStatus

    @property
    def is_usable(self) -> bool:
        """Its status is VALID, or its writer sets none."""
        return self.status in (DataStatus.VALID, DataStatus.UNSPECIFIED)


class Row(NamedTuple):
    """The samples of one time, by parameter, in the order of the packet's data format."""

    timestamp: int
    """Nanoseconds since 1970-01-01T00:00:00Z."""
    samples: Mapping[str, Sample]

    @property
    def time(self) -> datetime.datetime:
        """The timestamp in UTC, to the microsecond."""
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=self.timestamp // 1000)


class MalformedPacketError(ValueError):
    """A packet's content is not a message of its type, or does not fit its data format."""


class DataFormats:
    """The identifiers behind the data format ids of one data source; each id is asked for once.

    An instance may be used by several threads, and given to :func:`decode_rows`.
    """

    def __init__(self, api: StreamApi, data_source: str, timeout: float = 10) -> None:
        self._stub = api.data_format_manager_service_stub
        self._data_source = data_source
        self._timeout = timeout
        self._parameters: Dict[int, List[str]] = {}
        self._events: Dict[int, str] = {}
        self._lock = threading.Lock()

    def __call__(self, identifier: int) -> Sequence[str]:
        return self.parameters(identifier)

    def parameters(self, identifier: int) -> Sequence[str]:
        """The parameters of a format, in order; none when nobody registered the id."""
        with self._lock:
            known = self._parameters.get(identifier)
        if known is None:
            request = api_pb2.GetParametersListRequest(data_source=self._data_source, data_format_identifier=identifier)
            known = list(self._stub.GetParametersList(request, timeout=self._timeout).parameters)
            if known:
                with self._lock:
                    self._parameters[identifier] = known
        return known

    def event(self, identifier: int) -> str:
        """The event of a format; empty when nobody registered the id."""
        with self._lock:
            known = self._events.get(identifier)
        if known is None:
            request = api_pb2.GetEventRequest(data_source=self._data_source, data_format_identifier=identifier)
            known = self._stub.GetEvent(request, timeout=self._timeout).event
            if known:
                with self._lock:
                    self._events[identifier] = known
        return known


def decode_rows(packet: open_data_pb2.Packet, parameters_of: ParametersOf) -> Iterator[Row]:
    """The rows of a PeriodicData, RowData or SynchroData packet, by time; a packet of another type has none.

    Columns of a periodic packet may differ in length: the later rows have no sample of a parameter whose column has ended. Where a data
    format names a parameter twice, the second column is ``name#2``, the third ``name#3``. The packet is checked whole before its first row
    comes.

    :param packet: as it was read.
    :param parameters_of: the parameters of a data format id, such as a :class:`DataFormats`; asked when the packet has no names of its own.
    :raises MalformedPacketError: the content is not a message of the packet's type, or does not fit its format.
    """
    if packet.type == "PeriodicData":
        periodic = parse_content(open_data_pb2.PeriodicDataPacket, packet)
        return _of_columns(periodic, parameters_of, itertools.count(periodic.start_time, periodic.interval))
    if packet.type == "SynchroData":
        synchro = parse_content(open_data_pb2.SynchroDataPacket, packet)
        gaps = len(synchro.intervals)
        for number, column in enumerate(synchro.columns):
            count = len(_samples(column))
            if gaps not in (count, max(0, count - 1)):
                raise MalformedPacketError(f"column {number} has {count} samples, which takes {max(0, count - 1)} intervals; there are {gaps}")
        return _of_columns(synchro, parameters_of, itertools.accumulate(synchro.intervals, initial=synchro.start_time))
    if packet.type == "RowData":
        return _of_rows(parse_content(open_data_pb2.RowDataPacket, packet), parameters_of)
    return iter(())


def parse_content(message: Type[_Content], packet: open_data_pb2.Packet) -> _Content:
    """The content of a packet as a message.

    :raises MalformedPacketError: the content is not such a message, or it is JSON.
    """
    if _is_json(packet.content):
        raise MalformedPacketError(f"the content of a packet of type {packet.type} is JSON, not a {message.DESCRIPTOR.name}; json.loads reads it")
    try:
        return message.FromString(packet.content)
    except DecodeError as error:
        raise MalformedPacketError(f"the content of a packet of type {packet.type} is not a {message.DESCRIPTOR.name}: {error}") from error


def _is_json(content: bytes) -> bool:
    # A message may begin with the same byte, which is also the tag of an unknown group, field 15.
    if not content.startswith(b"{"):
        return False
    try:
        json.loads(content.decode("utf-8"), parse_int=str, parse_constant=_refuse)
        return True
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _of_columns(packet, parameters_of: ParametersOf, times: Iterator[int]) -> Iterator[Row]:
    parameters = _parameters(packet.data_format, parameters_of)
    if len(packet.columns) != len(parameters):
        raise MalformedPacketError(f"{len(packet.columns)} columns for the {len(parameters)} parameters of its data format")
    columns = [_samples(column) for column in packet.columns]
    length = max(map(len, columns), default=0)
    return (
        Row(time, {parameter: _sample(column[i]) for parameter, column in zip(parameters, columns) if i < len(column)})
        for i, time in zip(range(length), times))


def _of_rows(packet: open_data_pb2.RowDataPacket, parameters_of: ParametersOf) -> Iterator[Row]:
    parameters = _parameters(packet.data_format, parameters_of)
    if len(packet.rows) != len(packet.timestamps):
        raise MalformedPacketError(f"{len(packet.rows)} rows with {len(packet.timestamps)} timestamps")
    rows = [_samples(row) for row in packet.rows]
    for number, row in enumerate(rows):
        if len(row) != len(parameters):
            raise MalformedPacketError(f"row {number} has {len(row)} samples for the {len(parameters)} parameters of its data format")
    return (Row(time, dict(zip(parameters, map(_sample, row)))) for time, row in zip(packet.timestamps, rows))


def _parameters(data_format: open_data_pb2.SampleDataFormat, parameters_of: ParametersOf) -> Sequence[str]:
    kind = data_format.WhichOneof("format")
    if kind == "parameter_identifiers":
        return _distinct(data_format.parameter_identifiers.parameter_identifiers)
    if kind is None:
        raise MalformedPacketError("the packet names no data format")
    parameters = parameters_of(data_format.data_format_identifier)
    if not parameters:
        raise MalformedPacketError(f"unknown data format {data_format.data_format_identifier}")
    return _distinct(parameters)


def _distinct(parameters: Sequence[str]) -> Sequence[str]:
    """Each name once: the second "speed" is "speed#2", or "speed#3" where another parameter is called "speed#2"."""
    taken = set(parameters)
    if len(taken) == len(parameters):
        return parameters
    numbers: Dict[str, Iterator[int]] = {}
    names = []
    for name in parameters:
        if name in numbers:
            names.append(next(free for number in numbers[name] if (free := f"{name}#{number}") not in taken))
        else:
            numbers[name] = itertools.count(2)
            names.append(name)
    return names


def _samples(column_or_row):
    kind = column_or_row.WhichOneof("list")
    return getattr(column_or_row, kind).samples if kind else ()


def _sample(sample) -> Sample:
    # A status of a later version of the protocol stays the number it is.
    try:
        status = DataStatus(sample.status)
    except ValueError:
        status = sample.status
    return Sample(sample.value, status)
