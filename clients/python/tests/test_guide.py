"""The flows of the Python guide, as it shows them, against a server."""

import contextlib
import os
import socket
import threading
import time
import unittest
from unittest import mock

import grpc
from google.protobuf import duration_pb2

from ma.streaming.api.v1 import api_pb2
from ma.streaming.open_data.v1 import open_data_pb2
from stream_api import DataFormats, DataStatus, StreamApi, decode_rows

from .server import ADDRESS, SECONDS, ServerTest, column_of, packet_of, periodic

VALID, MISSING, ERROR = open_data_pb2.DATA_STATUS_VALID, open_data_pb2.DATA_STATUS_MISSING, open_data_pb2.DATA_STATUS_ERROR


class StreamApiTest(unittest.TestCase):
    def test_attributes_are_the_channel_and_a_stub_a_service(self):
        with StreamApi() as api:
            self.assertIsInstance(api.channel, grpc.Channel)
            self.assertEqual(
                sorted(name for name in vars(api)),
                ["channel", "connection_manager_service_stub", "data_format_manager_service_stub", "packet_reader_service_stub",
                 "packet_writer_service_stub", "session_management_service_stub"])

    def test_server_that_is_not_there_is_unavailable(self):
        with StreamApi("localhost:1") as api:
            with self.assertRaises(grpc.RpcError) as failure:
                api.session_management_service_stub.GetCurrentSessions(api_pb2.GetCurrentSessionsRequest(data_source="Car"), timeout=SECONDS)
        self.assertEqual(failure.exception.code(), grpc.StatusCode.UNAVAILABLE)


class ProxyTest(ServerTest):
    def test_proxy_of_the_environment_gets_no_call_to_this_machine(self):
        port = ADDRESS.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1", "ipv4:127.0.0.1", "dns:///localhost"):
            with self.subTest(host), proxy() as (environment, _), mock.patch.dict(os.environ, environment), StreamApi(f"{host}:{port}") as api:
                response = api.session_management_service_stub.GetCurrentSessions(
                    api_pb2.GetCurrentSessionsRequest(data_source=self.data_source), timeout=SECONDS)
                self.assertTrue(response.success)

    def test_proxy_of_the_environment_gets_calls_to_other_machines(self):
        with proxy() as (environment, listener), mock.patch.dict(os.environ, environment), StreamApi("stream-api.invalid:13579") as api:
            call = api.session_management_service_stub.GetCurrentSessions.future(
                api_pb2.GetCurrentSessionsRequest(data_source="Car"), timeout=SECONDS)
            connection, _ = listener.accept()
            with connection:
                self.assertTrue(connection.recv(1024).startswith(b"CONNECT stream-api.invalid:13579"))
            call.cancel()


@contextlib.contextmanager
def proxy():
    """The environment that names a proxy, which answers nothing, and the socket it listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        names = ("grpc_proxy", "http_proxy", "https_proxy")
        yield {**dict.fromkeys(names, address), "no_proxy": "", "no_grpc_proxy": ""}, listener


class SessionsTest(ServerTest):
    def test_session_from_creation_to_end(self):
        sessions = self.api.session_management_service_stub
        created = sessions.CreateSession(api_pb2.CreateSessionRequest(
            data_source=self.data_source, type="Practice", version=2, identifier="FP1", utc_offset=duration_pb2.Duration(seconds=-3_600),
            associate_session_key=["parent"], details={"driver": "A"}), timeout=SECONDS)
        self.assertTrue(created.success)
        self.assertEqual(created.new_session.data_source, self.data_source)
        self.assertIn(f"{self.data_source}:0", created.new_session.topic_partition_offsets)

        # Known at once: no sleep in between.
        key = created.session_key
        info = sessions.GetSessionInfo(api_pb2.GetSessionInfoRequest(session_key=key), timeout=SECONDS)
        self.assertTrue(info.success)
        self.assertEqual((info.data_source, info.identifier, info.type, info.version), (self.data_source, "FP1", "Practice", 2))
        self.assertEqual(info.utc_offset.seconds, -3_600)
        self.assertFalse(info.is_complete)

        self.assertTrue(sessions.UpdateSessionIdentifier(
            api_pb2.UpdateSessionIdentifierRequest(session_key=key, identifier="FP1 run 2"), timeout=SECONDS).success)
        self.assertTrue(sessions.AddAssociateSession(
            api_pb2.AddAssociateSessionRequest(session_key=key, associate_session_key="child"), timeout=SECONDS).success)
        self.assertTrue(sessions.UpdateSessionDetails(
            api_pb2.UpdateSessionDetailsRequest(session_key=key, details={"track": "Monza"}), timeout=SECONDS).success)
        listed = sessions.GetCurrentSessions(api_pb2.GetCurrentSessionsRequest(data_source=self.data_source), timeout=SECONDS)
        self.assertEqual(list(listed.session_keys), [key])

        ended = sessions.EndSession(api_pb2.EndSessionRequest(data_source=self.data_source, session_key=key), timeout=SECONDS)
        self.assertTrue(ended.success)
        self.assertGreater(ended.end_session.termination_time.seconds, 0)
        info = sessions.GetSessionInfo(api_pb2.GetSessionInfoRequest(session_key=key), timeout=SECONDS)
        self.assertTrue(info.is_complete)
        self.assertEqual(info.identifier, "FP1 run 2")
        self.assertEqual(list(info.associate_session_keys), ["parent", "child"])
        self.assertEqual(dict(info.details), {"driver": "A", "track": "Monza"})

    def test_session_nobody_knows_is_no_success(self):
        sessions = self.api.session_management_service_stub
        self.assertFalse(sessions.GetSessionInfo(api_pb2.GetSessionInfoRequest(session_key="nobody"), timeout=SECONDS).success)
        self.assertFalse(sessions.EndSession(api_pb2.EndSessionRequest(data_source=self.data_source, session_key="nobody"), timeout=SECONDS).success)

    def test_notifications_come_in_threads(self):
        sessions = self.api.session_management_service_stub
        started, stopped = [], []
        both = threading.Barrier(3)

        def listen(stream, seen):
            # The headers say that the subscription stands.
            stream.initial_metadata()
            both.wait(SECONDS)
            for notification in stream:
                self.assertEqual(notification.data_source, self.data_source)
                seen.append(notification.session_key)
                if len(seen) == 3:
                    stream.cancel()
                    return

        starts = sessions.GetSessionStartNotification(
            api_pb2.GetSessionStartNotificationRequest(data_source=self.data_source), timeout=2 * SECONDS)
        stops = sessions.GetSessionStopNotification(
            api_pb2.GetSessionStopNotificationRequest(data_source=self.data_source), timeout=2 * SECONDS)
        threads = [self.in_thread(listen, starts, started), self.in_thread(listen, stops, stopped)]
        both.wait(SECONDS)
        keys = [self.create_session(identifier=f"Run {run}") for run in range(3)]
        for key in keys:
            sessions.EndSession(api_pb2.EndSessionRequest(data_source=self.data_source, session_key=key), timeout=SECONDS)
        for thread in threads:
            thread.join(SECONDS)
        self.assertEqual(started, keys)
        self.assertEqual(stopped, keys)


class FormatsTest(ServerTest):
    def test_parameters_and_event_resolve_to_what_was_registered(self):
        formats = self.api.data_format_manager_service_stub
        parameters = ["vCar:Chassis", "nEngine:Controller"]
        request = api_pb2.GetParameterDataFormatIdRequest(data_source=self.data_source, parameters=parameters)
        identifier = formats.GetParameterDataFormatId(request, timeout=SECONDS).data_format_identifier
        self.assertEqual(formats.GetParameterDataFormatId(request, timeout=SECONDS).data_format_identifier, identifier)
        event = formats.GetEventDataFormatId(
            api_pb2.GetEventDataFormatIdRequest(data_source=self.data_source, event="Gear:Controller"), timeout=SECONDS).data_format_identifier

        self.assertEqual(list(formats.GetParametersList(api_pb2.GetParametersListRequest(
            data_source=self.data_source, data_format_identifier=identifier), timeout=SECONDS).parameters), parameters)
        self.assertEqual(formats.GetEvent(api_pb2.GetEventRequest(
            data_source=self.data_source, data_format_identifier=event), timeout=SECONDS).event, "Gear:Controller")

    def test_all_formats_are_the_definitions_among_the_essentials(self):
        formats = self.api.data_format_manager_service_stub
        identifiers = [formats.GetParameterDataFormatId(api_pb2.GetParameterDataFormatIdRequest(
            data_source=self.data_source, parameters=[f"p{number}"]), timeout=SECONDS).data_format_identifier for number in range(5)]
        connection = self.connect()
        found = []
        for response in self.api.packet_reader_service_stub.ReadEssentials(
                api_pb2.ReadEssentialsRequest(connection=connection), timeout=SECONDS):
            for packet in response.response:
                if packet.packet.type == "DataFormatDefinition":
                    found.append(open_data_pb2.DataFormatDefinitionPacket.FromString(packet.packet.content).identifier)
        self.assertTrue(self.close(connection))
        self.assertEqual(found, identifiers)


class WritingTest(ServerTest):
    def test_single_packets_are_read_back_by_session_and_stream(self):
        key = self.create_session()
        self.write(packet_of("Marker", open_data_pb2.MarkerPacket(label="main"), key))
        self.write(packet_of("Marker", open_data_pb2.MarkerPacket(label="chassis"), key), stream="Chassis")
        self.write(packet_of("Marker", open_data_pb2.MarkerPacket(label="other")), session_key="other")
        packets = self.read(self.connect(session_key=key), 2)
        self.assertEqual({(packet.stream, open_data_pb2.MarkerPacket.FromString(packet.packet.content).label) for packet in packets},
                         {("", "main"), ("Chassis", "chassis")})
        self.assertTrue(all(packet.submit_time.seconds > 0 for packet in packets))

    def test_batched_client_stream_is_answered_at_once_after_the_last_batch(self):
        key = self.create_session()
        last = []

        def batches():
            for batch in range(20):
                yield api_pb2.WriteDataPacketsRequest(details=[
                    self.detail(packet_of("Marker", open_data_pb2.MarkerPacket(value=batch * 50 + number), key), "Laps", key)
                    for number in range(50)])
            last.append(time.monotonic())

        response = self.api.packet_writer_service_stub.WriteDataPackets(batches(), timeout=10)
        self.assertLess(time.monotonic() - last[0], 5)
        self.assertEqual(response, api_pb2.WriteDataPacketsResponse())
        packets = self.read(self.connect(session_key=key, streams=["Laps"], exclude_main_stream=True), 1_000)
        self.assertEqual([open_data_pb2.MarkerPacket.FromString(packet.packet.content).value for packet in packets], list(range(1_000)))

    def test_client_stream_of_nothing_is_answered(self):
        response = self.api.packet_writer_service_stub.WriteDataPackets(iter(()), timeout=SECONDS)
        self.assertEqual(response, api_pb2.WriteDataPacketsResponse())

    def test_info_packets_of_each_kind_are_taken(self):
        writer = self.api.packet_writer_service_stub
        key = self.create_session()
        info = packet_of("SessionInfo", open_data_pb2.SessionInfoPacket(data_source=self.data_source, identifier="By packet"), key)
        writer.WriteInfoPacket(api_pb2.WriteInfoPacketRequest(message=info, type=api_pb2.INFO_TYPE_SESSION_INFO), timeout=SECONDS)
        status = packet_of("SystemStatusMessage", open_data_pb2.SystemStatusMessage(
            service="guide", data_source=self.data_source, type=open_data_pb2.SYSTEM_STATUS_TYPE_HEARTBEAT))
        writer.WriteInfoPackets(
            iter([api_pb2.WriteInfoPacketsRequest(message=status, type=api_pb2.INFO_TYPE_SYSTEM_STATUS)] * 3), timeout=SECONDS)

        # The packet is a session record like any other; an update by rpc waits for what is before it.
        sessions = self.api.session_management_service_stub
        sessions.UpdateSessionDetails(api_pb2.UpdateSessionDetailsRequest(session_key=key, details={"after": "it"}), timeout=SECONDS)
        self.assertEqual(sessions.GetSessionInfo(api_pb2.GetSessionInfoRequest(session_key=key), timeout=SECONDS).identifier, "By packet")

    def test_mistakes_are_named(self):
        with self.assertRaises(grpc.RpcError) as failure:
            self.api.packet_writer_service_stub.WriteDataPacket(api_pb2.WriteDataPacketRequest(
                detail=api_pb2.DataPacketDetails(data_source="Car 44", message=open_data_pb2.Packet(type="Marker"))), timeout=SECONDS)
        self.assertEqual(failure.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("data_source", failure.exception.details())

        good = self.detail(packet_of("Marker", open_data_pb2.MarkerPacket()))
        bad = api_pb2.DataPacketDetails(data_source=self.data_source)
        with self.assertRaises(grpc.RpcError) as failure:
            self.api.packet_writer_service_stub.WriteDataPackets(
                iter([api_pb2.WriteDataPacketsRequest(details=[good, good]), api_pb2.WriteDataPacketsRequest(details=[bad])]), timeout=SECONDS)
        self.assertEqual(failure.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(dict(failure.exception.trailing_metadata())["durable-packets"], "2")


class ReadingTest(ServerTest):
    def test_connection_is_echoed_closed_once_and_then_unknown(self):
        connections = self.api.connection_manager_service_stub
        connection = self.connect(session_key="key", streams=["one", "two"], stream_offsets=[-1, 5], main_offset=3, essentials_offset=0)
        details = connections.GetConnection(api_pb2.GetConnectionRequest(connection=connection), timeout=SECONDS).details
        self.assertEqual((details.session_key, list(details.streams), list(details.stream_offsets), details.main_offset),
                         ("key", ["one", "two"], [-1, 5], 3))
        self.assertTrue(self.close(connection))
        self.assertFalse(self.close(connection))
        self.assertFalse(connections.GetConnection(api_pb2.GetConnectionRequest(connection=connection), timeout=SECONDS).HasField("details"))

        with self.assertRaises(grpc.RpcError) as failure:
            next(self.api.packet_reader_service_stub.ReadPackets(api_pb2.ReadPacketsRequest(connection=connection), timeout=SECONDS))
        self.assertEqual(failure.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_three_reads_of_one_connection_each_get_their_packets(self):
        reader = self.api.packet_reader_service_stub
        key = self.create_session()
        self.write(packet_of("Configuration", open_data_pb2.ConfigurationPacket(config_id="one"), key, is_essential=True))
        self.write(periodic(["vCar"], [(1.5, VALID)], session_key=key))
        self.write(packet_of("Metadata", open_data_pb2.MetadataPacket(), key))
        connection = self.connect(session_key=key)

        essentials = [packet.packet.type for response in reader.ReadEssentials(
            api_pb2.ReadEssentialsRequest(connection=connection), timeout=SECONDS) for packet in response.response]
        self.assertEqual(essentials, ["Configuration"])
        self.assertEqual([packet.packet.type for packet in self.read(connection, 3)], ["Configuration", "PeriodicData", "Metadata"])
        data = reader.ReadDataPackets(
            api_pb2.ReadDataPacketsRequest(request=api_pb2.DataPacketRequest(connection=connection)), timeout=SECONDS)
        self.assertEqual([packet.packet.type for packet in next(data).response], ["PeriodicData"])
        self.assertTrue(self.close(connection))
        self.assertEqual(list(data), [])

    def test_offsets_start_where_they_say(self):
        for value in range(5):
            self.write(packet_of("Marker", open_data_pb2.MarkerPacket(value=value)))
        values = [open_data_pb2.MarkerPacket.FromString(packet.packet.content).value for packet in self.read(self.connect(main_offset=3), 2)]
        self.assertEqual(values, [3, 4])
        latest = self.connect(main_offset=-1)
        stream = self.api.packet_reader_service_stub.ReadPackets(api_pb2.ReadPacketsRequest(connection=latest), timeout=SECONDS)
        stream.initial_metadata()
        self.write(packet_of("Marker", open_data_pb2.MarkerPacket(value=9)))
        self.assertEqual(open_data_pb2.MarkerPacket.FromString(next(stream).response[0].packet.content).value, 9)
        stream.cancel()

    def test_filters_pick_parameters_events_and_markers(self):
        formats = self.api.data_format_manager_service_stub
        engine = formats.GetParameterDataFormatId(api_pb2.GetParameterDataFormatIdRequest(
            data_source=self.data_source, parameters=["nEngine:Controller"]), timeout=SECONDS).data_format_identifier
        by_id = open_data_pb2.PeriodicDataPacket(
            data_format=open_data_pb2.SampleDataFormat(data_format_identifier=engine), start_time=1, interval=1, columns=[column_of([(1, VALID)])])
        self.write(periodic(["vCar:Chassis"], [(1.5, VALID)]))
        self.write(packet_of("PeriodicData", by_id))
        self.write(packet_of("Event", open_data_pb2.EventPacket(data_format=open_data_pb2.EventDataFormat(event_identifier="Gear:Controller"))))
        self.write(packet_of("Event", open_data_pb2.EventPacket(data_format=open_data_pb2.EventDataFormat(event_identifier="Pit:Controller"))))
        self.write(packet_of("Marker", open_data_pb2.MarkerPacket(label="Lap 1", type="Lap")))

        def read(count, **filters):
            connection = self.connect()
            stream = self.api.packet_reader_service_stub.ReadDataPackets(api_pb2.ReadDataPacketsRequest(
                request=api_pb2.DataPacketRequest(connection=connection, **filters)), timeout=SECONDS)
            packets = []
            while len(packets) < count:
                packets.extend(next(stream).response)
            self.close(connection)
            packets.extend(packet for response in stream for packet in response.response)
            return [packet.packet.type for packet in packets]

        data, event, marker = "PeriodicData", "Event", "Marker"
        self.assertEqual(read(4), [data, data, event, event])
        self.assertEqual(read(5, include_markers=True), [data, data, event, event, marker])
        self.assertEqual(read(3, include_parameters=["^vCar"]), [data, event, event])
        self.assertEqual(read(3, exclude_parameters=["Controller$"]), [data, event, event])
        self.assertEqual(read(3, include_events=["Gear"]), [data, data, event])
        self.assertEqual(read(1, include_parameters=["nothing"], include_events=["Gear"]), [event])

    def test_bad_pattern_is_named(self):
        connection = self.connect()
        with self.assertRaises(grpc.RpcError) as failure:
            next(self.api.packet_reader_service_stub.ReadDataPackets(api_pb2.ReadDataPacketsRequest(
                request=api_pb2.DataPacketRequest(connection=connection, include_parameters=["("])), timeout=SECONDS))
        self.assertEqual(failure.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("include_parameters", failure.exception.details())

    def test_packets_of_each_kind_decode(self):
        key = self.create_session(identifier="FP1")
        formats = self.api.data_format_manager_service_stub
        rows = open_data_pb2.RowDataPacket(
            data_format=open_data_pb2.SampleDataFormat(data_format_identifier=formats.GetParameterDataFormatId(
                api_pb2.GetParameterDataFormatIdRequest(data_source=self.data_source, parameters=["vCar", "nEngine"]),
                timeout=SECONDS).data_format_identifier),
            timestamps=[100, 250],
            rows=[column_of([(71.5, VALID), (11_800, VALID)], open_data_pb2.SampleRow),
                  column_of([(72.5, VALID), (0, MISSING)], open_data_pb2.SampleRow)])
        gear = formats.GetEventDataFormatId(
            api_pb2.GetEventDataFormatIdRequest(data_source=self.data_source, event="Gear"), timeout=SECONDS).data_format_identifier
        written = [
            packet_of("NewSession", open_data_pb2.NewSessionPacket(
                data_source=self.data_source, session_info=open_data_pb2.SessionInfoPacket(identifier="FP1")), key),
            packet_of("Configuration", open_data_pb2.ConfigurationPacket(
                config_id="one", parameter_definitions=[open_data_pb2.ParameterDefinition(identifier="vCar", units="m/s", max_value=100)]), key, True),
            packet_of("RowData", rows, key),
            packet_of("Event", open_data_pb2.EventPacket(
                data_format=open_data_pb2.EventDataFormat(data_format_identifier=gear), timestamp=180, raw_values=[3, 4]), key),
            packet_of("Marker", open_data_pb2.MarkerPacket(timestamp=200, label="Lap 2", type="Lap", value=2), key),
            packet_of("EndOfSession", open_data_pb2.EndOfSessionPacket(data_source=self.data_source), key),
        ]
        for packet in written:
            self.write(packet, stream="Car")
        packets = [response.packet for response in self.read(self.connect(session_key=key, streams=["Car"]), len(written))]
        self.assertEqual(packets, written)

        known = DataFormats(self.api, self.data_source)
        new_session, configuration, row_data, event, marker, end = packets
        self.assertEqual(open_data_pb2.NewSessionPacket.FromString(new_session.content).session_info.identifier, "FP1")
        self.assertEqual(open_data_pb2.ConfigurationPacket.FromString(configuration.content).parameter_definitions[0].units, "m/s")
        self.assertEqual(
            [(row.timestamp, {name: tuple(sample) for name, sample in row.samples.items()}) for row in decode_rows(row_data, known)],
            [(100, {"vCar": (71.5, DataStatus.VALID), "nEngine": (11_800, DataStatus.VALID)}),
             (250, {"vCar": (72.5, DataStatus.VALID), "nEngine": (0, DataStatus.MISSING)})])
        event = open_data_pb2.EventPacket.FromString(event.content)
        self.assertEqual((known.event(event.data_format.data_format_identifier), event.timestamp, list(event.raw_values)), ("Gear", 180, [3, 4]))
        self.assertEqual(open_data_pb2.MarkerPacket.FromString(marker.content).label, "Lap 2")
        self.assertEqual(open_data_pb2.EndOfSessionPacket.FromString(end.content).data_source, self.data_source)

    def test_thread_a_session_on_one_channel_ends_when_its_connection_is_closed(self):
        runs = 20
        keys = [self.create_session(identifier=f"Run {run}") for run in range(runs)]
        connections = [self.connect(session_key=key) for key in keys]
        seen = {key: [] for key in keys}
        complete = threading.Semaphore(0)

        def follow(key, connection):
            for response in self.api.packet_reader_service_stub.ReadPackets(
                    api_pb2.ReadPacketsRequest(connection=connection), timeout=2 * SECONDS):
                # The guide asks for both after every message.
                details = self.api.connection_manager_service_stub.GetConnection(
                    api_pb2.GetConnectionRequest(connection=connection), timeout=SECONDS).details
                info = self.api.session_management_service_stub.GetSessionInfo(
                    api_pb2.GetSessionInfoRequest(session_key=details.session_key), timeout=SECONDS)
                self.assertTrue(info.success)
                seen[key].extend(open_data_pb2.MarkerPacket.FromString(packet.packet.content).value for packet in response.response)
                if len(seen[key]) == 10:
                    complete.release()

        threads = [self.in_thread(follow, key, connection) for key, connection in zip(keys, connections)]
        for value in range(10):
            self.api.packet_writer_service_stub.WriteDataPackets(iter([api_pb2.WriteDataPacketsRequest(details=[
                self.detail(packet_of("Marker", open_data_pb2.MarkerPacket(value=value), key), session_key=key) for key in keys])]), timeout=SECONDS)
        for _ in range(runs):
            self.assertTrue(complete.acquire(timeout=SECONDS), "a reader has not got its packets")
        self.assertTrue(all(thread.is_alive() for thread in threads))
        for connection in connections:
            self.assertTrue(self.close(connection))
        for thread in threads:
            thread.join(SECONDS)
            self.assertFalse(thread.is_alive())
        self.assertEqual(seen, {key: list(range(10)) for key in keys})

    def test_response_of_many_large_packets_is_taken(self):
        # With batched responses, more than the four mebibytes that the library takes by itself.
        content = open_data_pb2.MarkerPacket(description="x" * 1_000_000)
        for _ in range(8):
            self.write(packet_of("Marker", content))
        self.assertEqual(len(self.read(self.connect(), 8)), 8)
