"""The telemetry Stream API: the clients of its five services on one channel, and data packets decoded into rows."""

from .client import StreamApi
from .rows import DataFormats, DataStatus, MalformedPacketError, Row, Sample, decode_rows

__all__ = ["DataFormats", "DataStatus", "MalformedPacketError", "Row", "Sample", "StreamApi", "decode_rows"]
