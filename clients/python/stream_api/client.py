"""The five services of a Stream API server."""

from __future__ import annotations

import ipaddress
from typing import Optional

import grpc

from ma.streaming.api.v1 import api_pb2_grpc

# A response holds up to 3.5 MiB of packets; the library's own limit is 4 MiB for all of it.
MESSAGE_BYTES_MAX = 16 << 20


class StreamApi:
    """The stubs of the five services, on one channel that all threads may share.

    It connects with the first call, and again after a loss; a peer that no longer answers is noticed after about 30 seconds.

    A proxy that the environment names (``http_proxy``, ``https_proxy``, ``grpc_proxy``) is used, unless the server is on this machine.

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
        if _is_loopback(address):
            options.append(("grpc.enable_http_proxy", 0))
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


def _is_loopback(address: str) -> bool:
    """Whether host:port, [host]:port, or one of them behind a scheme such as dns:///, names this machine."""
    host = address.rpartition("/")[2]
    for scheme in ("ipv4:", "ipv6:", "dns:"):
        if host.startswith(scheme):
            host = host[len(scheme):]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] if host.count(":") == 1 else host
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
