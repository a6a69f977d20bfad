"""Sessions of a Stream API, written to a file for analysis."""

from .atlas_session_writer import AtlasSessionWriter

__all__ = ["AtlasSessionWriter"]
