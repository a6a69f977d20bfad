"""Writes one session into an SQLite file that any tool can open.

The name and the calls are those of the writer in the Stream API's Python guide. The file is an open one: README.md describes its tables.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import threading
import time
from typing import Callable, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

from ma.streaming.open_data.v1 import open_data_pb2
from stream_api.rows import DataStatus, MalformedPacketError, Value, decode_rows, parse_content

SCHEMA_VERSION = 2
_WAIT_SECONDS = 30
_TIMESTAMP_MAX = (1 << 63) - 1
_RANK = f"CASE {{}}.status WHEN {DataStatus.VALID:d} THEN 2 WHEN {DataStatus.UNSPECIFIED:d} THEN 1 ELSE 0 END"

# Each row names the writer, 1 for the first of the session, that added it last.
_OCCURRENCES = """
CREATE TABLE event_occurrence (
    id INTEGER PRIMARY KEY, event INTEGER NOT NULL REFERENCES event, timestamp INTEGER NOT NULL, raw_values TEXT NOT NULL,
    writer INTEGER NOT NULL);
CREATE INDEX event_occurrence_by_time ON event_occurrence (event, timestamp);
CREATE TABLE marker (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, timestamp INTEGER NOT NULL, end_time INTEGER, label TEXT NOT NULL,
    type TEXT NOT NULL, description TEXT, source TEXT, value INTEGER, writer INTEGER NOT NULL);
CREATE INDEX marker_by_time ON marker (session, timestamp);
"""
_SCHEMA = f"""
CREATE TABLE session (
    id INTEGER PRIMARY KEY, identifier TEXT NOT NULL, data_source TEXT NOT NULL, is_closed INTEGER NOT NULL DEFAULT 0,
    writers INTEGER NOT NULL DEFAULT 0, UNIQUE (identifier, data_source));
CREATE TABLE session_detail (
    session INTEGER NOT NULL REFERENCES session, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (session, name)) WITHOUT ROWID;
CREATE TABLE parameter (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, identifier TEXT NOT NULL, name TEXT, application_name TEXT,
    description TEXT, groups TEXT, units TEXT, data_type TEXT, format_string TEXT, min_value REAL, max_value REAL, warning_min_value REAL,
    warning_max_value REAL, UNIQUE (session, identifier));
CREATE TABLE event (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, identifier TEXT NOT NULL, name TEXT, application_name TEXT,
    description TEXT, groups TEXT, priority TEXT, units TEXT, UNIQUE (session, identifier));
CREATE TABLE parameter_group (
    session INTEGER NOT NULL REFERENCES session, identifier TEXT NOT NULL, parent TEXT NOT NULL, name TEXT, application_name TEXT,
    description TEXT, PRIMARY KEY (session, identifier, parent)) WITHOUT ROWID;
CREATE TABLE sample (
    parameter INTEGER NOT NULL REFERENCES parameter, timestamp INTEGER NOT NULL, value, status INTEGER NOT NULL,
    PRIMARY KEY (parameter, timestamp)) WITHOUT ROWID;
{_OCCURRENCES}
CREATE VIEW parameter_sample AS
    SELECT session.identifier AS session, parameter.identifier AS parameter, sample.timestamp, sample.value, sample.status
    FROM sample JOIN parameter ON parameter.id = sample.parameter JOIN session ON session.id = parameter.session;
"""
# Version 1 kept one event, and one marker of a type and label, a time.
_UPGRADE = f"""
ALTER TABLE session ADD COLUMN writers INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event_occurrence RENAME TO old_event_occurrence;
ALTER TABLE marker RENAME TO old_marker;
{_OCCURRENCES}
INSERT INTO event_occurrence (event, timestamp, raw_values, writer) SELECT event, timestamp, raw_values, 0 FROM old_event_occurrence;
INSERT INTO marker (session, timestamp, end_time, label, type, description, source, value, writer)
    SELECT session, timestamp, end_time, label, type, description, source, value, 0 FROM old_marker;
DROP TABLE old_event_occurrence;
DROP TABLE old_marker
"""


class AtlasSessionWriter:
    """Writes one session. Several threads may share it, and several writers, of different sessions or the same, the file.

    A call writes everything or, when it raises, nothing. Readers of the file see it at once; it survives a loss of power when :meth:`flush`
    or :meth:`close_session` has returned.

    Of two samples of one parameter and time the better one stays: VALID before UNSPECIFIED, and that before all others; of two equally good
    ones the later. All events and markers stay. After a failure a program may start over from the first packet with a new writer of the same
    session: that writer adds nothing a second time that an earlier one has added.

    :param data_source: the session's data source, noted in the file.
    :param database: the path of the file, made when it is not there; a file may hold many sessions.
    :param session_identifier: the name of the session. A session of that name and data source that is in the file is continued.
    """

    def __init__(self, data_source: str, database: str, session_identifier: str) -> None:
        self._lock = threading.RLock()
        self._ids: Dict[Tuple[str, str], int] = {}
        self._file: Optional[sqlite3.Connection] = sqlite3.connect(database, check_same_thread=False, isolation_level=None, timeout=_WAIT_SECONDS)
        try:
            # Two more files beside this one while it is open; a commit does not wait for the disk.
            _use_write_ahead_log(self._file)
            self._file.execute("PRAGMA synchronous = NORMAL")
            with self._writing() as file:
                self._make_tables(file, database)
                file.execute("INSERT OR IGNORE INTO session (identifier, data_source) VALUES (?, ?)", (session_identifier, data_source))
                self._session: int = file.execute(
                    "SELECT id FROM session WHERE identifier = ? AND data_source = ?", (session_identifier, data_source)).fetchone()[0]
                file.execute("UPDATE session SET is_closed = 0, writers = writers + 1 WHERE id = ?", (self._session,))
                self._writer: int = file.execute("SELECT writers FROM session WHERE id = ?", (self._session,)).fetchone()[0]
        except BaseException:
            self._file.close()
            raise

    def add_configration(self, config_packet: open_data_pb2.ConfigurationPacket) -> None:
        """Adds the parameters, events and groups of a configuration, or of a part of one; those that are there are replaced."""
        with self._writing() as file:
            for definition in config_packet.parameter_definitions:
                file.execute(
                    "UPDATE parameter SET name = ?, application_name = ?, description = ?, groups = ?, units = ?, data_type = ?, format_string = ?,"
                    " min_value = ?, max_value = ?, warning_min_value = ?, warning_max_value = ? WHERE id = ?",
                    (definition.name, definition.application_name, definition.description, json.dumps(list(definition.groups)), definition.units,
                     _name(open_data_pb2.DataType, definition.data_type, "DATA_TYPE_"), definition.format_string, definition.min_value,
                     definition.max_value, definition.warning_min_value, definition.warning_max_value, self._parameter(definition.identifier)))
            for definition in config_packet.event_definitions:
                file.execute(
                    "UPDATE event SET name = ?, application_name = ?, description = ?, groups = ?, priority = ?, units = ? WHERE id = ?",
                    (definition.name, definition.application_name, definition.description, json.dumps(list(definition.groups)),
                     _name(open_data_pb2.EventPriority, definition.priority, "EVENT_PRIORITY_"), json.dumps(list(definition.units)),
                     self._event(definition.identifier)))
            self._add_groups(config_packet.group_definitions, "")

    add_configuration = add_configration

    def add_details(self, details: Mapping[str, str]) -> None:
        """Adds what is worth knowing about the session, by name."""
        with self._writing() as file:
            file.executemany(
                "INSERT OR REPLACE INTO session_detail VALUES (?, ?, ?)", [(self._session, name, value) for name, value in details.items()])

    def add_data(
            self, parameter_identifier: str, timestamps: Iterable[int], values: Iterable[Value], statuses: Optional[Iterable[int]] = None) -> None:
        """Adds samples of one parameter, configured or not.

        :param timestamps: nanoseconds since 1970-01-01T00:00:00Z.
        :param values: numbers, texts or booleans, which are kept as 0 and 1.
        :param statuses: of :class:`stream_api.DataStatus`; left out, all are VALID.
        """
        times, data = list(timestamps), list(values)
        states = [int(DataStatus.VALID)] * len(times) if statuses is None else [int(status) for status in statuses]
        if not len(times) == len(data) == len(states):
            raise ValueError(f"{len(times)} timestamps, {len(data)} values and {len(states)} statuses")
        with self._writing():
            self._insert_samples((self._parameter(parameter_identifier), *sample) for sample in zip(times, data, states))

    def add_event(self, event_identifier: str, timestamp: int, raw_values: Iterable[float] = ()) -> None:
        """Adds an event that happened, configured or not."""
        with self._writing():
            self._insert_once(
                "event_occurrence",
                {"event": self._event(event_identifier), "timestamp": _checked(timestamp), "raw_values": _numbers(raw_values)})

    def add_marker(
            self, label: str, timestamp: int, end_time: int = 0, type: str = "", description: str = "", source: str = "", value: int = 0) -> None:
        """Adds a marker, a lap for instance; one without an end time is a point."""
        with self._writing():
            self._insert_once("marker", {
                "session": self._session, "timestamp": _checked(timestamp), "end_time": _checked(end_time) or None, "label": label,
                "type": type, "description": description, "source": source, "value": value})

    def add_packet(self, packet: open_data_pb2.Packet, formats: Callable[[int], Sequence[str]]) -> bool:
        """Adds what a packet of any kind holds; false when it is of a kind that a session file has no place for.

        :param packet: as it was read.
        :param formats: a :class:`stream_api.DataFormats`; asked when the packet names its data format by id.
        :raises MalformedPacketError: the content is not a message of the packet's type, or does not fit its format.
        """
        if packet.type in ("PeriodicData", "RowData", "SynchroData"):
            rows = list(decode_rows(packet, formats))
            with self._writing():
                self._insert_samples(
                    (self._parameter(parameter), row.timestamp, sample.value, int(sample.status))
                    for row in rows for parameter, sample in row.samples.items())
            return True
        message = {
            "Configuration": open_data_pb2.ConfigurationPacket,
            "Event": open_data_pb2.EventPacket,
            "Marker": open_data_pb2.MarkerPacket,
            "NewSession": open_data_pb2.NewSessionPacket,
            "SessionInfo": open_data_pb2.SessionInfoPacket,
        }.get(packet.type)
        if message is None:
            return False
        content = parse_content(message, packet)
        if packet.type == "Configuration":
            self.add_configration(content)
        elif packet.type == "Marker":
            self.add_marker(
                content.label, content.timestamp, content.end_time, content.type, content.description, content.source, content.value)
        elif packet.type in ("NewSession", "SessionInfo"):
            self.add_details((content.session_info if packet.type == "NewSession" else content).details)
        else:
            self.add_event(self._event_identifier(content.data_format, formats), content.timestamp, content.raw_values)
        return True

    def flush(self) -> None:
        """Returns when everything added so far is on the disk."""
        self._save(is_closed=False)

    def close_session(self) -> None:
        """Notes that the session is complete, and closes the file. A second call does nothing."""
        with self._lock:
            if self._file is None:
                return
            self._save(is_closed=True)
            self._file.close()
            self._file = None

    def __enter__(self) -> AtlasSessionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_session()

    def _save(self, is_closed: bool) -> None:
        with self._lock:
            # A commit that waits for the disk takes those before it along.
            self._open().execute("PRAGMA synchronous = FULL")
            with self._writing() as file:
                file.execute("UPDATE session SET is_closed = ? WHERE id = ?", (is_closed, self._session))
            self._open().execute("PRAGMA synchronous = NORMAL")

    def _open(self) -> sqlite3.Connection:
        if self._file is None:
            raise ValueError("the session is closed")
        return self._file

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Alone, and whole or not at all."""
        with self._lock:
            file = self._open()
            if file.in_transaction:
                yield file
                return
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
                file.execute("COMMIT")
            except BaseException:
                # Ids given meanwhile go with it.
                self._ids.clear()
                file.execute("ROLLBACK")
                raise

    @staticmethod
    def _make_tables(file: sqlite3.Connection, database: str) -> None:
        version = file.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not file.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in filter(str.strip, _SCHEMA.split(";")):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version == 1:
            for statement in filter(str.strip, _UPGRADE.split(";")):
                file.execute(statement)
            file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise ValueError(f"{database} is not a session file of version {SCHEMA_VERSION}, which this writer knows: its version is {version}")

    def _parameter(self, identifier: str) -> int:
        return self._id("parameter", identifier)

    def _event(self, identifier: str) -> int:
        return self._id("event", identifier)

    def _id(self, table: str, identifier: str) -> int:
        known = self._ids.get((table, identifier))
        if known is None:
            file = self._open()
            file.execute(f"INSERT OR IGNORE INTO {table} (session, identifier) VALUES (?, ?)", (self._session, identifier))
            known = file.execute(f"SELECT id FROM {table} WHERE session = ? AND identifier = ?", (self._session, identifier)).fetchone()[0]
            self._ids[table, identifier] = known
        return known

    def _insert_samples(self, samples: Iterable[tuple]) -> None:
        self._open().executemany(
            "INSERT INTO sample VALUES (?, ?, ?, ?)"
            " ON CONFLICT (parameter, timestamp) DO UPDATE SET value = excluded.value, status = excluded.status"
            f" WHERE {_RANK.format('excluded')} >= {_RANK.format('sample')}",
            [(parameter, _checked(timestamp), value, status) for parameter, timestamp, value, status in samples])

    def _insert_once(self, table: str, row: Mapping[str, object]) -> None:
        # An equal row of an earlier writer becomes this writer's: it is the same event or marker, read again.
        equal = " AND ".join(f"{column} IS :{column}" for column in row)
        taken = self._open().execute(
            f"UPDATE {table} SET writer = :writer WHERE id = (SELECT id FROM {table} WHERE {equal} AND writer <> :writer LIMIT 1)",
            {**row, "writer": self._writer})
        if taken.rowcount == 0:
            self._open().execute(
                f"INSERT INTO {table} ({', '.join(row)}, writer) VALUES ({', '.join(f':{column}' for column in row)}, :writer)",
                {**row, "writer": self._writer})

    def _add_groups(self, groups: Iterable[open_data_pb2.GroupDefinition], parent: str) -> None:
        for group in groups:
            self._open().execute(
                "INSERT OR REPLACE INTO parameter_group VALUES (?, ?, ?, ?, ?, ?)",
                (self._session, group.identifier, parent, group.name, group.application_name, group.description))
            self._add_groups(group.groups, group.identifier)

    @staticmethod
    def _event_identifier(data_format: open_data_pb2.EventDataFormat, formats: Callable[[int], Sequence[str]]) -> str:
        if data_format.WhichOneof("format") == "event_identifier":
            return data_format.event_identifier
        known = getattr(formats, "event", lambda _: "")(data_format.data_format_identifier)
        if not known:
            raise MalformedPacketError(f"unknown data format {data_format.data_format_identifier}")
        return known


def _use_write_ahead_log(file: sqlite3.Connection) -> None:
    # SQLite does not wait for others by itself here.
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _numbers(values: Iterable[float]) -> str:
    # JSON has no NaN and no infinities.
    return json.dumps([value if math.isfinite(value) else None for value in values])


def _checked(timestamp: int) -> int:
    if not 0 <= timestamp <= _TIMESTAMP_MAX:
        raise ValueError(f"timestamp {timestamp}: allowed are 0 to {_TIMESTAMP_MAX} nanoseconds since 1970")
    return timestamp


def _name(kind: object, value: int, prefix: str) -> str:
    name = kind.Name(value) if value in kind.values() else str(value)
    return name[len(prefix):] if name.startswith(prefix) else name
