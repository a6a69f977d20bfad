using System.IO.Compression;
using Grpc.Net.Compression;

namespace MA.Streaming.Hosting;

/// <summary>
/// gzip whose empty message is an empty gzip member. <see cref="GZipStream"/> writes nothing when nothing was written, while the
/// message still says that it is compressed, which some clients cannot read.
/// </summary>
internal sealed class GzipProvider : ICompressionProvider
{
    // A header without name or time, one empty final block, checksum 0 and length 0.
    private static ReadOnlySpan<byte> EmptyMember => [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    public string EncodingName => "gzip";

    public Stream CreateCompressionStream(Stream stream, CompressionLevel? compressionLevel) =>
        new CompressingStream(stream, compressionLevel ?? CompressionLevel.Fastest);

    public Stream CreateDecompressionStream(Stream stream) => new GZipStream(stream, CompressionMode.Decompress, leaveOpen: true);

    private sealed class CompressingStream(Stream target, CompressionLevel level) : Stream
    {
        private GZipStream? _gzip;
        private bool _disposed;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => !_disposed;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Flush() => _gzip?.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (buffer.IsEmpty) return;
            _gzip ??= new GZipStream(target, level, leaveOpen: true);
            _gzip.Write(buffer);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing && !_disposed)
            {
                if (_gzip is null) target.Write(EmptyMember);
                else _gzip.Dispose();
                _disposed = true;
            }

            base.Dispose(disposing);
        }
    }
}
