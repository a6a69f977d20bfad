using MA.Streaming.OpenData;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.UnitTests.House;

/// <summary>What the house rules forbid, one sample a rule, so that the tests of the rules can see them fail.</summary>
internal static partial class BadSamples
{
    /// <summary>Sentences with a form that <see cref="PlainEnglish"/> bans.</summary>
    public static readonly string[] Riddles =
    [
        "Who gives up waiting is told.",
        "It waits. Whoever sets it must be short.",
        "What is filtered out is not decoded.",
        "**What is committed.** A position moves.",
        "Whose bytes these are is known.",
        "The one that comes first wins.",
        "Of those in a file the last counts.",
        "Which of them runs does not matter.",
        "It is kept for ever; who deletes it loses it.",
        "It ends: whoever waits is told.",
        "It is written twice, so who reads it finds one.",
        "The caller is to wait.",
        "These are to be removed.",
        "It has a thread of its own.",
        "Take keys of one's own.",
        "It wants nothing but bytes.",
        "Nobody knows that but the owner.",
        "To ask is to let go.",
        "To weigh a message costs more.",
    ];

    /// <summary>Sentences that look like those and are plain.</summary>
    public static readonly string[] PlainSentences =
    [
        "Who waits for whom?",
        "What does it cost? It costs nothing.",
        "Which of unary calls and client streams?",
        "The message says what is allowed.",
        "It shows who reads, and how far behind they are.",
        "A client that is cancelled gets nothing more.",
        "Next to it is the index.",
        "The way from the queue is to the journal.",
        "The closest it is to 100 is 99.",
        "The file belongs to one process, but others may read it.",
        "Nothing is lost, but it comes later.",
        "Nobody has run it yet.",
        "Its own log has its own folder.",
        "To see it, start three brokers.",
        "It stops the loop, whose owner awaits its end.",
    ];

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
