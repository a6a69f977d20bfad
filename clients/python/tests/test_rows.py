"""Data packets as rows."""

import datetime
import unittest

from ma.streaming.open_data.v1 import open_data_pb2
from stream_api import DataStatus, MalformedPacketError, decode_rows

from .server import column_of, json_that_parses, packet_of, periodic

VALID, MISSING, ERROR, NOT_SAID = 1, 2, 3, 0
BY_ID = open_data_pb2.SampleDataFormat(data_format_identifier=7)
NAMES = open_data_pb2.SampleDataFormat(parameter_identifiers=open_data_pb2.ParameterList(parameter_identifiers=["a", "b"]))


def rows_of(packet, parameters=()):
    return [(row.timestamp, {name: tuple(sample) for name, sample in row.samples.items()}) for row in decode_rows(packet, lambda _: parameters)]


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def nothing(_):
    raise AssertionError("the packet has its own names")


class RowsTest(unittest.TestCase):
    def test_periodic_samples_stand_an_interval_apart(self):
        packet = periodic(["a", "b"], [(1, VALID), (2, ERROR), (3, NOT_SAID)], [(10, MISSING)], start_time=1_000, interval=250)
        rows = list(decode_rows(packet, nothing))
        self.assertEqual([row.timestamp for row in rows], [1_000, 1_250, 1_500])
        self.assertEqual(list(rows[0].samples), ["a", "b"])
        self.assertEqual(rows[0].samples["b"].status, DataStatus.MISSING)
        self.assertEqual(list(rows[1].samples), ["a"])
        self.assertEqual([row.samples["a"].is_usable for row in rows], [True, False, True])

    def test_synchro_samples_stand_their_gaps_apart(self):
        for gaps in ([5, 20], [5, 20, 99]):
            content = open_data_pb2.SynchroDataPacket(
                data_format=BY_ID, start_time=100, intervals=gaps, columns=[column_of([(1, VALID), (2, VALID), (3, VALID)])])
            self.assertEqual(
                rows_of(packet_of("SynchroData", content), ["a"]),
                [(100, {"a": (1, VALID)}), (105, {"a": (2, VALID)}), (125, {"a": (3, VALID)})])

    def test_row_samples_may_be_of_any_type(self):
        def row(**samples):
            return open_data_pb2.SampleRow(**samples)

        content = open_data_pb2.RowDataPacket(data_format=BY_ID, timestamps=[3, 4, 5, 6], rows=[
            row(double_samples=open_data_pb2.DoubleSampleList(samples=[open_data_pb2.DoubleSample(value=0.5, status=VALID)])),
            row(int32_samples=open_data_pb2.Int32SampleList(samples=[open_data_pb2.Int32Sample(value=-7, status=VALID)])),
            row(bool_samples=open_data_pb2.BoolSampleList(samples=[open_data_pb2.BoolSample(value=True, status=VALID)])),
            row(string_samples=open_data_pb2.StringSampleList(samples=[open_data_pb2.StringSample(value="on", status=VALID)]))])
        self.assertEqual(
            rows_of(packet_of("RowData", content), ["a"]),
            [(3, {"a": (0.5, VALID)}), (4, {"a": (-7, VALID)}), (5, {"a": (True, VALID)}), (6, {"a": ("on", VALID)})])

    def test_parameter_named_twice_loses_no_column(self):
        one = [(1, VALID)]
        for names, expected in {
                ("speed", "speed", "rpm"): ["speed", "speed#2", "rpm"],
                ("a", "a", "a", "a#2", "a#2"): ["a", "a#3", "a#4", "a#2", "a#2#2"],
                ("", "", "#2"): ["", "#3", "#2"],
        }.items():
            with self.subTest(names):
                (row,) = decode_rows(periodic(names, *[one] * len(names)), nothing)
                self.assertEqual(list(row.samples), expected)
                by_id = open_data_pb2.RowDataPacket(data_format=BY_ID, timestamps=[1], rows=[column_of(one * len(names), open_data_pb2.SampleRow)])
                (row,) = decode_rows(packet_of("RowData", by_id), lambda _: names)
                self.assertEqual(list(row.samples), expected)

    def test_sixty_thousand_columns_of_one_name_are_all_given(self):
        (row,) = decode_rows(periodic(["a"] * 60_000, *[[(1, VALID)]] * 60_000), nothing)
        self.assertEqual(len(row.samples), 60_000)
        self.assertIn("a#60000", row.samples)

    def test_encodings_mean_what_protobuf_says(self):
        group = b"\x7b\x08\x01\x7c"  # Field 15, a group with a number in it; it begins with a brace.
        two, by_id = NAMES.SerializeToString(), BY_ID.SerializeToString()
        one_name = open_data_pb2.SampleDataFormat(
            parameter_identifiers=open_data_pb2.ParameterList(parameter_identifiers=["c"])).SerializeToString()
        samples = b"".join(field(4, column_of([(value, VALID)]).SerializeToString()) for value in (1, 2))
        third = field(4, column_of([(3, VALID)]).SerializeToString())
        for why, content, expected in (
                ("a group before the format", group + field(1, two) + samples, {"a": 1, "b": 2}),
                ("a group inside the format", field(1, group + two + group) + samples, {"a": 1, "b": 2}),
                ("lists of a format given twice are one", field(1, two) + samples + field(1, one_name) + third, {"a": 1, "b": 2, "c": 3}),
                ("the last form of a format wins", field(1, by_id) + samples + field(1, two), {"a": 1, "b": 2}),
                ("the last form wins inside one too", field(1, two + by_id) + third, {"z": 3})):
            with self.subTest(why):
                (row,) = decode_rows(open_data_pb2.Packet(type="PeriodicData", content=content), lambda _: ["z"])
                self.assertEqual({name: sample.value for name, sample in row.samples.items()}, expected)

    def test_content_that_begins_with_a_brace_and_parses_as_json_is_json(self):
        packet = open_data_pb2.Packet(type="RowData", content=json_that_parses())
        open_data_pb2.RowDataPacket.FromString(packet.content)
        with self.assertRaisesRegex(MalformedPacketError, "is JSON, not a RowDataPacket"):
            decode_rows(packet, nothing)

    def test_time_is_utc(self):
        row = next(decode_rows(periodic(["a"], [(1, VALID)], start_time=1_742_137_200_123_456_789), nothing))
        self.assertEqual(row.time, datetime.datetime(2025, 3, 16, 15, 0, 0, 123_456, tzinfo=datetime.timezone.utc))

    def test_status_of_a_later_version_stays_a_number(self):
        self.assertEqual(rows_of(periodic(["a"], [(1, 9)])), [(1_000, {"a": (1, 9)})])

    def test_other_packets_have_no_rows(self):
        self.assertEqual(rows_of(packet_of("Marker", open_data_pb2.MarkerPacket(label="Lap"))), [])

    def test_packets_that_do_not_fit_are_refused_whole(self):
        one = column_of([(1, VALID)])
        row = column_of([(1, VALID)], open_data_pb2.SampleRow)
        for why, packet in {
            "1 columns for the 2 parameters": packet_of("PeriodicData", open_data_pb2.PeriodicDataPacket(data_format=NAMES, columns=[one])),
            "names no data format": packet_of("PeriodicData", open_data_pb2.PeriodicDataPacket(columns=[one])),
            "unknown data format 7": packet_of("PeriodicData", open_data_pb2.PeriodicDataPacket(data_format=BY_ID, columns=[one])),
            "has 1 samples, which takes 0 intervals; there are 3": packet_of("SynchroData", open_data_pb2.SynchroDataPacket(
                data_format=NAMES, intervals=[1, 2, 3], columns=[one, one])),
            "1 rows with 2 timestamps": packet_of("RowData", open_data_pb2.RowDataPacket(data_format=NAMES, timestamps=[1, 2], rows=[row])),
            "row 0 has 1 samples for the 2": packet_of("RowData", open_data_pb2.RowDataPacket(data_format=NAMES, timestamps=[1], rows=[row])),
            "is not a RowDataPacket": open_data_pb2.Packet(type="RowData", content=b"{speed}"),
            "is JSON, not a RowDataPacket": open_data_pb2.Packet(type="RowData", content=b'{"speed": 1}'),
            "is JSON, not a SynchroDataPacket": open_data_pb2.Packet(type="SynchroData", content=b'{"speed": [1.5e3, null]} \n'),
        }.items():
            with self.subTest(why), self.assertRaisesRegex(MalformedPacketError, why):
                decode_rows(packet, lambda _: [])
