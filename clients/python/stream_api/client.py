"""The five services of a Stream API server."""

from __future__ import annotations

from typing import Optional

import grpc

from ma.streaming.api.v1 import api_pb2_grpc

# A response holds up to 3.5 MiB of packets; the library's own limit is 4 MiB for all of it.
MESSAGE_BYTES_MAX = 16 << 20


class StreamApi:
    """The stubs of the five services, on one channel that all threads may share.

    It connects with the first call, and again after a loss; a peer that no longer answers is noticed after about 30 seconds.

    :param address: host:port of the server.
    :param credentials: for a server behind TLS, such as ``grpc.ssl_channel_credentials()``.
    """

    def __init__(self, address: str = "localhost:13579", credentials: Optional[grpc.ChannelCredentials] = None) -> None:
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
            # A server that was away is looked for once a second, not once in two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self.channel = (
            grpc.insecure_channel(address, options) if credentials is None else grpc.secure_channel(address, credentials, options))
        self.connection_manager_service_stub = api_pb2_grpc.ConnectionManagerServiceStub(self.channel)
        self.session_management_service_stub = api_pb2_grpc.SessionManagementServiceStub(self.channel)
        self.data_format_manager_service_stub = api_pb2_grpc.DataFormatManagerServiceStub(self.channel)
        self.packet_reader_service_stub = api_pb2_grpc.PacketReaderServiceStub(self.channel)
        self.packet_writer_service_stub = api_pb2_grpc.PacketWriterServiceStub(self.channel)

    def close(self) -> None:
        """Closes the channel; calls that are open end with CANCELLED."""
        self.channel.close()

    def __enter__(self) -> StreamApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
