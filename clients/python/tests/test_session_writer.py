"""Sessions written to a file."""

import contextlib
import pathlib
import sqlite3
import tempfile
import threading
import unittest

from ma.streaming.api.v1 import api_pb2
from ma.streaming.open_data.v1 import open_data_pb2
from stream_api import DataFormats, DataStatus, MalformedPacketError
from stream_reader_sqlrace.atlas_session_writer import AtlasSessionWriter

from .server import SECONDS, ServerTest, column_of, json_that_parses, packet_of, periodic

VALID = open_data_pb2.DATA_STATUS_VALID
LAYOUT_1 = pathlib.Path(__file__).resolve().parent / "layout-1.sql"
CONFIGURATION = open_data_pb2.ConfigurationPacket(
    config_id="one",
    parameter_definitions=[open_data_pb2.ParameterDefinition(
        identifier="vCar:Chassis", name="vCar", application_name="Chassis", groups=["Motion"], units="m/s",
        data_type=open_data_pb2.DATA_TYPE_FLOAT64, format_string="%.1f", min_value=0, max_value=110, warning_max_value=100)],
    event_definitions=[open_data_pb2.EventDefinition(identifier="Gear:Controller", name="Gear", priority=open_data_pb2.EVENT_PRIORITY_LOW)],
    group_definitions=[open_data_pb2.GroupDefinition(
        identifier="Car", name="The car", groups=[open_data_pb2.GroupDefinition(identifier="Motion", name="Motion")])])


class FileTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(pathlib.Path(folder.name, "sessions.sqlite"))

    def writer(self, session="FP1"):
        writer = AtlasSessionWriter("Car", self.path, session)
        self.addCleanup(writer.close_session)
        return writer

    def query(self, text, *values):
        with contextlib.closing(sqlite3.connect(self.path)) as file:
            return file.execute(text, values).fetchall()


class AtlasSessionWriterTest(FileTest):
    def test_configuration_is_kept(self):
        writer = self.writer()
        writer.add_configration(CONFIGURATION)
        writer.close_session()
        self.assertEqual(self.query("SELECT identifier, data_source, is_closed FROM session"), [("FP1", "Car", 1)])
        self.assertEqual(
            self.query("SELECT identifier, name, units, data_type, format_string, max_value, warning_max_value, groups FROM parameter"),
            [("vCar:Chassis", "vCar", "m/s", "FLOAT64", "%.1f", 110, 100, '["Motion"]')])
        self.assertEqual(self.query("SELECT identifier, name, priority FROM event"), [("Gear:Controller", "Gear", "LOW")])
        self.assertEqual(self.query("SELECT identifier, parent FROM parameter_group ORDER BY parent"), [("Car", ""), ("Motion", "Car")])

    def test_data_events_markers_and_details_are_kept(self):
        with self.writer() as writer:
            writer.add_data("vCar:Chassis", [100, 200, 300], [71.5, 72, float("nan")], [VALID, VALID, DataStatus.ERROR])
            writer.add_data("Mode", [150], ["wet"])
            writer.add_event("Gear:Controller", 160, [3, float("inf")])
            writer.add_marker("Lap 1", 100, 300, type="Lap", value=1)
            writer.add_marker("Puncture", 250)
            writer.add_details({"driver": "A"})
            writer.add_configration(CONFIGURATION)
        self.assertEqual(
            self.query("SELECT parameter, timestamp, value, status FROM parameter_sample WHERE session = 'FP1' ORDER BY timestamp"),
            [("vCar:Chassis", 100, 71.5, 1), ("Mode", 150, "wet", 1), ("vCar:Chassis", 200, 72, 1), ("vCar:Chassis", 300, None, 3)])
        self.assertEqual(self.query("SELECT identifier, name FROM parameter ORDER BY id"), [("vCar:Chassis", "vCar"), ("Mode", None)])
        self.assertEqual(self.query("SELECT timestamp, raw_values FROM event_occurrence"), [(160, "[3, null]")])
        self.assertEqual(
            self.query("SELECT label, timestamp, end_time, value FROM marker ORDER BY timestamp"), [("Lap 1", 100, 300, 1), ("Puncture", 250, None, 0)])
        self.assertEqual(self.query("SELECT name, value FROM session_detail"), [("driver", "A")])

    def test_of_two_samples_of_one_time_the_better_stays_else_the_later(self):
        not_said, valid, missing, error = DataStatus.UNSPECIFIED, DataStatus.VALID, DataStatus.MISSING, DataStatus.ERROR
        cases = {
            (valid, missing): 1, (missing, valid): 2, (valid, error): 1, (error, valid): 2, (valid, not_said): 1, (not_said, valid): 2,
            (not_said, missing): 1, (error, not_said): 2, (valid, valid): 2, (not_said, not_said): 2, (missing, error): 2, (error, missing): 2}
        with self.writer() as writer:
            for time, pair in enumerate(cases):
                for value, status in enumerate(pair, start=1):
                    writer.add_data("vCar", [time], [value], [status])
        self.assertEqual(
            dict(zip(cases, self.query("SELECT value, status FROM sample ORDER BY timestamp"))),
            {pair: (kept, pair[kept - 1]) for pair, kept in cases.items()})

    def test_events_and_markers_of_one_time_are_all_kept(self):
        with self.writer() as writer:
            for values in ([1], [2], [2]):
                writer.add_event("Gear", 100, values)
            for end, value in ((0, 1), (200, 1), (200, 1), (0, 2)):
                writer.add_marker("Lap 1", 100, end, type="Lap", value=value)
        self.assertEqual(self.query("SELECT raw_values FROM event_occurrence ORDER BY id"), [("[1]",), ("[2]",), ("[2]",)])
        self.assertEqual(self.query("SELECT end_time, value FROM marker ORDER BY id"), [(None, 1), (200, 1), (200, 1), (None, 2)])

    def test_reader_that_starts_over_adds_nothing_twice(self):
        for last in (2, 4):
            with self.writer() as writer:
                for number in range(last):
                    writer.add_data("vCar", [number], [number])
                    writer.add_event("Gear", 100, [number // 2])
                    writer.add_marker("Lap 1", 100, 200, type="Lap", value=number // 2)
                    writer.add_configration(CONFIGURATION)
        self.assertEqual(self.query("SELECT value FROM sample ORDER BY timestamp"), [(0,), (1,), (2,), (3,)])
        self.assertEqual(self.query("SELECT raw_values FROM event_occurrence ORDER BY id"), [("[0]",), ("[0]",), ("[1]",), ("[1]",)])
        self.assertEqual(self.query("SELECT value FROM marker ORDER BY id"), [(0,), (0,), (1,), (1,)])

    def test_file_of_version_1_is_continued(self):
        with contextlib.closing(sqlite3.connect(self.path)) as file:
            file.executescript(LAYOUT_1.read_text(encoding="utf-8"))
        with self.writer() as writer:
            writer.add_event("Gear", 100, [1])
            writer.add_event("Gear", 100, [2])
            writer.add_marker("Lap 1", 100, type="Lap", value=1)
            writer.add_marker("Lap 1", 100, 300, type="Lap", value=1)
            writer.add_data("vCar", [100, 110], [0, 2], [DataStatus.MISSING, DataStatus.VALID])
        self.assertEqual(self.query("SELECT raw_values FROM event_occurrence ORDER BY id"), [("[1]",), ("[2]",)])
        self.assertEqual(self.query("SELECT label, end_time, value FROM marker ORDER BY id"), [("Lap 1", None, 1), ("Lap 1", 300, 1)])
        self.assertEqual(self.query("SELECT timestamp, value FROM parameter_sample ORDER BY timestamp"), [(100, 1), (110, 2)])
        self.assertEqual(self.query("PRAGMA user_version"), [(2,)])

    def test_marker_in_json_is_refused_even_where_it_parses_as_a_marker(self):
        packet = open_data_pb2.Packet(type="Marker", content=json_that_parses())
        open_data_pb2.MarkerPacket.FromString(packet.content)
        with self.writer() as writer, self.assertRaisesRegex(MalformedPacketError, "JSON"):
            writer.add_packet(packet, lambda _: [])

    def test_parameter_named_twice_loses_no_column(self):
        with self.writer() as writer:
            writer.add_packet(periodic(["speed", "speed", "rpm"], [(1, VALID)], [(2, VALID)], [(3, VALID)]), lambda _: [])
        self.assertEqual(
            self.query("SELECT parameter, value FROM parameter_sample ORDER BY value"), [("speed", 1), ("speed#2", 2), ("rpm", 3)])

    def test_what_was_added_is_seen_before_the_end(self):
        writer = self.writer()
        writer.add_data("vCar", [100], [1])
        writer.flush()
        self.assertEqual(self.query("SELECT value FROM sample"), [(1,)])
        self.assertEqual(self.query("SELECT is_closed FROM session"), [(0,)])

    def test_session_in_the_file_is_continued(self):
        for run in range(2):
            with self.writer() as writer:
                writer.add_data("vCar", [run], [run])
        with self.writer("FP2") as writer:
            writer.add_data("vCar", [5], [5])
        self.assertEqual(self.query("SELECT session, timestamp FROM parameter_sample ORDER BY timestamp"), [("FP1", 0), ("FP1", 1), ("FP2", 5)])

    def test_call_that_fails_leaves_nothing(self):
        writer = self.writer()
        with self.assertRaises(ValueError):
            writer.add_data("vCar", [1, 2], [1])
        with self.assertRaises(ValueError):
            writer.add_data("vCar", [1, 1 << 63], [1, 2])
        writer.add_data("vCar", [7], [7])
        self.assertEqual(self.query("SELECT parameter, timestamp FROM parameter_sample"), [("vCar", 7)])

    def test_closed_session_takes_no_more(self):
        writer = self.writer()
        writer.close_session()
        writer.close_session()
        with self.assertRaisesRegex(ValueError, "closed"):
            writer.add_data("vCar", [1], [1])

    def test_file_that_is_none_is_refused_and_left_alone(self):
        with contextlib.closing(sqlite3.connect(self.path)) as file:
            file.execute("CREATE TABLE mine (id)")
        with self.assertRaisesRegex(ValueError, "not a session file"):
            AtlasSessionWriter("Car", self.path, "FP1")
        self.assertEqual(self.query("SELECT name FROM sqlite_master"), [("mine",)])

    def test_writers_in_threads_share_a_file(self):
        def write(session):
            with AtlasSessionWriter("Car", self.path, session) as writer:
                for time in range(50):
                    writer.add_data("vCar", [time], [time])

        # Two of them write the same session.
        names = ["FP1", "FP2", "FP3", "FP4", "FP4"]
        threads = [threading.Thread(target=write, args=[name], daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            self.assertFalse(thread.is_alive())
        self.assertEqual(
            self.query("SELECT session, count(*) FROM parameter_sample GROUP BY session ORDER BY session"),
            [("FP1", 50), ("FP2", 50), ("FP3", 50), ("FP4", 50)])

    def test_packets_of_each_kind_are_added_by_what_they_hold(self):
        class Formats:
            def __call__(self, identifier):
                return {7: ["vCar"]}.get(identifier, [])

            def event(self, identifier):
                return {8: "Gear"}.get(identifier, "")

        formats = Formats()
        by_id = open_data_pb2.SampleDataFormat(data_format_identifier=7)
        with self.writer() as writer:
            for packet in (
                    packet_of("NewSession", open_data_pb2.NewSessionPacket(session_info=open_data_pb2.SessionInfoPacket(details={"driver": "A"}))),
                    packet_of("Configuration", CONFIGURATION),
                    periodic(["vCar"], [(1, VALID), (2, VALID)], start_time=100, interval=10),
                    packet_of("SynchroData", open_data_pb2.SynchroDataPacket(data_format=by_id, start_time=200, columns=[column_of([(3, VALID)])])),
                    packet_of("RowData", open_data_pb2.RowDataPacket(
                        data_format=by_id, timestamps=[300], rows=[column_of([(4, VALID)], open_data_pb2.SampleRow)])),
                    packet_of("Event", open_data_pb2.EventPacket(data_format=open_data_pb2.EventDataFormat(data_format_identifier=8), timestamp=150)),
                    packet_of("Marker", open_data_pb2.MarkerPacket(timestamp=150, label="Lap 1"))):
                self.assertTrue(writer.add_packet(packet, formats), packet.type)
            self.assertFalse(writer.add_packet(open_data_pb2.Packet(type="CoverageCursorInfo"), formats))
            for packet in (
                    packet_of("Event", open_data_pb2.EventPacket(data_format=open_data_pb2.EventDataFormat(data_format_identifier=9))),
                    open_data_pb2.Packet(type="Marker", content=b"{}")):
                with self.assertRaises(MalformedPacketError):
                    writer.add_packet(packet, formats)
        self.assertEqual(
            self.query("SELECT timestamp, value FROM parameter_sample WHERE parameter = 'vCar' ORDER BY timestamp"),
            [(100, 1), (110, 2), (200, 3), (300, 4)])
        self.assertEqual(self.query("SELECT count(*) FROM event_occurrence UNION ALL SELECT count(*) FROM marker"), [(1,), (1,)])


class RecordingTest(ServerTest, FileTest):
    def setUp(self):
        ServerTest.setUp(self)
        FileTest.setUp(self)

    def test_session_is_read_into_a_file_until_it_ends(self):
        key = self.create_session(identifier="FP1")
        connection = self.connect(session_key=key)
        reader = self.api.packet_reader_service_stub
        formats = DataFormats(self.api, self.data_source)

        def record():
            with AtlasSessionWriter(self.data_source, self.path, "FP1") as writer:
                for response in reader.ReadPackets(api_pb2.ReadPacketsRequest(connection=connection), timeout=2 * SECONDS):
                    for packet in response.response:
                        if packet.packet.type == "EndOfSession":
                            self.close(connection)
                        else:
                            writer.add_packet(packet.packet, formats)

        recording = self.in_thread(record)
        self.write(packet_of("Configuration", CONFIGURATION, key, is_essential=True), "Chassis")
        for start in range(0, 1_000, 100):
            self.write(periodic(["vCar:Chassis"], [(start + i, VALID) for i in range(10)], start_time=start, interval=10, session_key=key), "Chassis")
        self.write(packet_of("Marker", open_data_pb2.MarkerPacket(timestamp=500, label="Lap 2", type="Lap", value=2), key), "Chassis")
        self.write(packet_of("EndOfSession", open_data_pb2.EndOfSessionPacket(data_source=self.data_source), key), "Chassis")
        recording.join(SECONDS)
        self.assertFalse(recording.is_alive())
        self.assertEqual(self.query("SELECT identifier, data_source, is_closed FROM session"), [("FP1", self.data_source, 1)])
        self.assertEqual(
            self.query("SELECT timestamp, value, status FROM parameter_sample ORDER BY timestamp"),
            [(start + 10 * i, start + i, 1) for start in range(0, 1_000, 100) for i in range(10)])
        self.assertEqual(self.query("SELECT units FROM parameter"), [("m/s",)])
        self.assertEqual(self.query("SELECT label, value FROM marker"), [("Lap 2", 2)])
