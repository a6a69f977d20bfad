using MA.Streaming.OpenData;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.UnitTests.House;

/// <summary>What the house rules forbid, one sample a rule, so that the tests of the rules can see them fail.</summary>
internal static partial class BadSamples
{
    internal interface ILonely;

    internal interface IShared;

    internal sealed class OnlyOne : ILonely;

    internal sealed class First : IShared;

    internal sealed class Second : IShared
    {
        public static object? GetFactory() => null;

        public static ILoggerFactory? LoggerFactory => null;
    }

#pragma warning disable CA1852 // The sample is a class that could be sealed.
    internal class Open;
#pragma warning restore CA1852

    internal class Base;

    internal sealed class Derived : Base;

    internal sealed class PacketDtoMapper;

    internal sealed class OpensFiles
    {
        public static void InASignature(FileInfo? file) => _ = file;

        public static Func<bool> InAClosure(string path) => () => File.Exists(path);

        public static IEnumerable<string> InAnIterator(string path)
        {
            yield return path;
            if (Directory.Exists(path)) yield return "folder";
        }
    }

    internal sealed class ParsesPackets
    {
        public static string TypeOf(byte[] value) => Packet.Parser.ParseFrom(value).Type;
    }

    internal static partial class Log
    {
        [LoggerMessage(EventId = 7, Level = LogLevel.Information, Message = "one")]
        public static partial void One(ILogger logger);
    }

    internal static partial class OtherLog
    {
        [LoggerMessage(EventId = 7, Level = LogLevel.Information, Message = "two")]
        public static partial void Two(ILogger logger);
    }
}
