"""What tests do with a server, in few words."""

import os
import threading
import unittest
import uuid

from ma.streaming.api.v1 import api_pb2
from ma.streaming.open_data.v1 import open_data_pb2
from stream_api import StreamApi

SECONDS = 10
ADDRESS = os.environ.get("STREAM_API_ADDRESS", "")


@unittest.skipUnless(ADDRESS, "STREAM_API_ADDRESS names no server")
class ServerTest(unittest.TestCase):
    """A test with a client of its own and a data source that nobody else uses."""

    def setUp(self):
        self.api = StreamApi(ADDRESS)
        self.addCleanup(self.api.close)
        self.data_source = f"Car-{uuid.uuid4().hex[:12]}"

    def create_session(self, **fields):
        response = self.api.session_management_service_stub.CreateSession(
            api_pb2.CreateSessionRequest(data_source=self.data_source, **fields), timeout=SECONDS)
        self.assertTrue(response.success)
        return response.session_key

    def connect(self, **details):
        request = api_pb2.NewConnectionRequest(details=api_pb2.ConnectionDetails(data_source=self.data_source, **details))
        return self.api.connection_manager_service_stub.NewConnection(request, timeout=SECONDS).connection

    def close(self, connection):
        request = api_pb2.CloseConnectionRequest(connection=connection)
        return self.api.connection_manager_service_stub.CloseConnection(request, timeout=SECONDS).success

    def detail(self, packet, stream="", session_key=""):
        return api_pb2.DataPacketDetails(message=packet, data_source=self.data_source, stream=stream, session_key=session_key)

    def write(self, packet, stream="", session_key=""):
        request = api_pb2.WriteDataPacketRequest(detail=self.detail(packet, stream, session_key))
        self.api.packet_writer_service_stub.WriteDataPacket(request, timeout=SECONDS)

    def read(self, connection, count):
        """The next so many packets of a read that is then given up."""
        stream = self.api.packet_reader_service_stub.ReadPackets(api_pb2.ReadPacketsRequest(connection=connection), timeout=2 * SECONDS)
        packets = []
        while len(packets) < count:
            packets.extend(next(stream).response)
        stream.cancel()
        return packets

    def in_thread(self, target, *arguments):
        """A thread that ends with the test; what it raises fails the test."""
        failures = []

        def run():
            try:
                target(*arguments)
            except BaseException as failure:
                failures.append(failure)

        def joined():
            thread.join(2 * SECONDS)
            self.assertFalse(thread.is_alive(), "the thread has not ended")
            if failures:
                raise failures[0]

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(joined)
        return thread


def packet_of(kind, content, session_key="", is_essential=False, identifier=0):
    return open_data_pb2.Packet(
        type=kind, session_key=session_key, is_essential=is_essential, content=content.SerializeToString(), id=identifier)


def periodic(parameters, *columns, start_time=1_000, interval=10, session_key=""):
    """A periodic packet whose columns are lists of (value, status)."""
    content = open_data_pb2.PeriodicDataPacket(
        data_format=open_data_pb2.SampleDataFormat(parameter_identifiers=open_data_pb2.ParameterList(parameter_identifiers=parameters)),
        start_time=start_time, interval=interval, columns=[column_of(column) for column in columns])
    return packet_of("PeriodicData", content, session_key)


def column_of(samples, kind=open_data_pb2.SampleColumn):
    return kind(double_samples=open_data_pb2.DoubleSampleList(
        samples=[open_data_pb2.DoubleSample(value=value, status=status) for value, status in samples]))


def json_that_parses():
    """JSON that is also a message: an unknown group, field 15, and an unknown or text field 4 of 125 blanks."""
    return b'{"' + (b"a" + b'":"').ljust(98, b"x") + b'|"}' + 125 * b" "
