using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using MA.Streaming.API;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Packets;

/// <summary>
/// Decides which packets a ReadDataPackets delivers. Patterns are compiled once a read; the verdict on a data format is computed once,
/// not once a packet; a packet's format is read without decoding its samples.
/// </summary>
internal sealed class PacketFilter
{
    public const int PatternsMax = 1_000;
    public const int PatternLengthMax = 1_000;
    private const int InlineVerdictsMax = 10_000;
    private static readonly TimeSpan MatchTimeout = TimeSpan.FromMilliseconds(100);

    private readonly string _dataSource;
    private readonly Rule _parameters;
    private readonly Rule _events;
    private readonly bool _includeMarkers;
    private readonly ILogger _logger;
    private readonly Telemetry _telemetry;
    private bool _warnedContent;
    private bool _warnedFormat;

    public PacketFilter(DataPacketRequest request, string dataSource, IFormatLookup formats, ILogger logger, Telemetry telemetry)
    {
        _dataSource = dataSource;
        _logger = logger;
        _telemetry = telemetry;
        _includeMarkers = request.IncludeMarkers;
        _parameters = new ParameterRule(
            formats,
            dataSource,
            Patterns.Of(request.IncludeParameters, "include_parameters"),
            Patterns.Of(request.ExcludeParameters, "exclude_parameters"));
        _events = new EventRule(
            formats, dataSource, Patterns.Of(request.IncludeEvents, "include_events"), Patterns.Of(request.ExcludeEvents, "exclude_events"));
    }

    /// <summary>Whether an encoded packet of this stream is delivered; completes at once unless its format has to be looked up.</summary>
    public ValueTask<bool> PassesAsync(ReadOnlyMemory<byte> packet, string stream, CancellationToken cancellationToken)
    {
        if (!PacketView.TryRead(packet.Span, out var view))
        {
            _telemetry.Skipped("not a packet");
            return new(false);
        }

        var isEvent = view.Type.SequenceEqual("Event"u8);
        if (!isEvent && !IsData(view.Type)) return new(_includeMarkers && view.Type.SequenceEqual("Marker"u8));

        var rule = isEvent ? _events : _parameters;
        var format = FormatView.Of(view.Content);
        switch (format.Kind)
        {
            case FormatKind.Id:
                if (rule.ById.TryGetValue(format.Id, out var known)) return new(known);
                return ResolveAsync(rule, format.Id, view.Type, stream, cancellationToken);
            case FormatKind.Inline:
                return new(rule.PassesInline(format.Inline) ?? Unreadable(rule, view.Type, stream));
            case FormatKind.Json:
                return new(rule.PassesJson(view.Content) ?? Unreadable(rule, view.Type, stream));
            default:
                return new(Unreadable(rule, view.Type, stream));
        }
    }

    private static bool IsData(ReadOnlySpan<byte> type) =>
        type.SequenceEqual("PeriodicData"u8) || type.SequenceEqual("RowData"u8) || type.SequenceEqual("SynchroData"u8);

    private bool Unreadable(Rule rule, ReadOnlySpan<byte> type, string stream)
    {
        if (rule.TakesAll) return true;
        _telemetry.Skipped("unreadable content");
        if (_warnedContent) return false;
        _warnedContent = true;
        _logger.UnreadableContent(_dataSource, Encoding.UTF8.GetString(type), stream);
        return false;
    }

    private ValueTask<bool> ResolveAsync(Rule rule, ulong id, ReadOnlySpan<byte> type, string stream, CancellationToken cancellationToken)
    {
        var resolving = rule.FindAsync(id, cancellationToken);
        if (resolving.IsCompletedSuccessfully)
        {
#pragma warning disable RS0030 // Completed.
            return new(Judge(rule, id, resolving.GetAwaiter().GetResult(), type, stream));
#pragma warning restore RS0030
        }

        return AwaitAsync(resolving, Encoding.UTF8.GetString(type));

        async ValueTask<bool> AwaitAsync(ValueTask<IReadOnlyList<string>?> task, string typeName)
        {
            var identifiers = await task.ConfigureAwait(false);
            return Judge(rule, id, identifiers, Encoding.UTF8.GetBytes(typeName), stream);
        }
    }

    private bool Judge(Rule rule, ulong id, IReadOnlyList<string>? identifiers, ReadOnlySpan<byte> type, string stream)
    {
        if (identifiers is not null)
        {
            // A format never changes, and there are no more of them than their catalogue holds.
            var verdict = rule.Passes(identifiers);
            rule.ById[id] = verdict;
            return verdict;
        }

        if (rule.TakesAll) return true;
        _telemetry.Skipped("unknown data format");
        if (_warnedFormat) return false;
        _warnedFormat = true;
        _logger.UnknownFormat(_dataSource, Encoding.UTF8.GetString(type), stream, id);
        return false;
    }

    /// <summary>An include list and an exclude list for identifiers of one kind, and the verdicts reached with them.</summary>
    private abstract class Rule(Patterns? include, Patterns? exclude)
    {
        private readonly Dictionary<ulong, LinkedListNode<InlineVerdict>> _inline = [];
        private readonly LinkedList<InlineVerdict> _inlineByUse = new();
        private readonly Dictionary<string, bool> _identifiers = new(StringComparer.Ordinal);

        /// <summary>No list of this kind was given.</summary>
        public bool TakesAll { get; } = include is null && exclude is null;

        public Dictionary<ulong, bool> ById { get; } = [];

        /// <summary>The identifiers behind a format id; null where there is none of this kind.</summary>
        public abstract ValueTask<IReadOnlyList<string>?> FindAsync(ulong id, CancellationToken cancellationToken);

        public bool Passes(IReadOnlyList<string> identifiers)
        {
            foreach (var identifier in identifiers)
            {
                if (Passes(identifier)) return true;
            }

            return false;
        }

        /// <summary>Null when the bytes are not a parameter list or an identifier.</summary>
        public bool? PassesInline(ReadOnlySpan<byte> inline)
        {
            var hash = XxHash3.HashToUInt64(inline);
            if (_inline.TryGetValue(hash, out var node) && inline.SequenceEqual(node.Value.Inline))
            {
                if (node != _inlineByUse.First)
                {
                    _inlineByUse.Remove(node);
                    _inlineByUse.AddFirst(node);
                }

                return node.Value.Passes;
            }

            var verdict = Judge(inline);
            if (verdict is not { } passes) return null;
            if (node is not null) _inlineByUse.Remove(node); // Two lists of one fingerprint take turns.
            if (_inline.Count >= InlineVerdictsMax && _inlineByUse.Last is { } oldest)
            {
                _inline.Remove(oldest.Value.Hash);
                _inlineByUse.RemoveLast();
            }

            _inline[hash] = _inlineByUse.AddFirst(new InlineVerdict(hash, inline.ToArray(), passes));
            return passes;
        }

        /// <summary>Null when the bytes are not a JSON object.</summary>
        public bool? PassesJson(ReadOnlySpan<byte> content)
        {
            try
            {
                var reader = new Utf8JsonReader(content);
                if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) return null;
                var passes = false;
                var any = false;
                while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
                {
                    any = true;
                    passes = passes || Passes(reader.GetString()!);
                    if (!reader.Read() || !reader.TrySkip()) return null;
                }

                while (reader.Read())
                {
                    // Reads to the end: nothing may follow the object.
                }

                return any ? passes : TakesAll;
            }
            catch (Exception exception) when (exception is JsonException or InvalidOperationException)
            {
                return null; // InvalidOperationException: a property name that is not UTF-8.
            }
        }

        /// <summary>The verdict on an inline format; null when the bytes are not one.</summary>
        protected abstract bool? Judge(ReadOnlySpan<byte> inline);

        protected bool Passes(string identifier)
        {
            if (TakesAll) return identifier.Length > 0;
            ref var known = ref CollectionsMarshal.GetValueRefOrNullRef(_identifiers, identifier);
            if (!System.Runtime.CompilerServices.Unsafe.IsNullRef(ref known)) return known;
            var excluded = exclude is null ? identifier.Length == 0 : exclude.Match(identifier);
            var verdict = !excluded && (include is null || include.Match(identifier));
            if (_identifiers.Count >= InlineVerdictsMax) _identifiers.Clear();
            return _identifiers[identifier] = verdict;
        }

        private readonly record struct InlineVerdict(ulong Hash, byte[] Inline, bool Passes);
    }

    private sealed class ParameterRule(IFormatLookup formats, string dataSource, Patterns? include, Patterns? exclude) : Rule(include, exclude)
    {
        public override ValueTask<IReadOnlyList<string>?> FindAsync(ulong id, CancellationToken cancellationToken) =>
            formats.FindParametersAsync(dataSource, id, cancellationToken);

        protected override bool? Judge(ReadOnlySpan<byte> inline)
        {
            var parameters = new WireReader(inline);
            var passes = false;
            var any = false;
            while (!parameters.IsAtEnd)
            {
                if (!parameters.TryReadTag(out var field, out var wireType)) return null;
                if (field == 1 && wireType == WireReader.Bytes)
                {
                    if (!parameters.TryReadBytes(out var identifier)) return null;
                    any = true;
                    passes = passes || Passes(Encoding.UTF8.GetString(identifier));
                }
                else if (!parameters.TrySkip(wireType))
                {
                    return null;
                }
            }

            return any ? passes : TakesAll;
        }
    }

    private sealed class EventRule(IFormatLookup formats, string dataSource, Patterns? include, Patterns? exclude) : Rule(include, exclude)
    {
        public override ValueTask<IReadOnlyList<string>?> FindAsync(ulong id, CancellationToken cancellationToken) =>
            formats.FindEventAsync(dataSource, id, cancellationToken);

        protected override bool? Judge(ReadOnlySpan<byte> inline) => Passes(Encoding.UTF8.GetString(inline));
    }

    /// <summary>A list of patterns; at least one.</summary>
    private sealed class Patterns(Regex[] regexes, string field)
    {
        public static Patterns? Of(IReadOnlyCollection<string> patterns, string field)
        {
            if (patterns.Count == 0) return null;
            if (patterns.Count > PatternsMax) throw Errors.InvalidArgument($"request.{field} has {patterns.Count} patterns; allowed are {PatternsMax}");
            return new([.. patterns.Select(pattern => Compile(pattern, field))], field);
        }

        public bool Match(string identifier)
        {
            foreach (var regex in regexes)
            {
                try
                {
                    if (regex.IsMatch(identifier)) return true;
                }
                catch (RegexMatchTimeoutException)
                {
                    throw Errors.InvalidArgument(
                        $"request.{field} '{regex}' takes more than {MatchTimeout.TotalMilliseconds} ms to match '{identifier}'; use a simpler pattern");
                }
            }

            return false;
        }

        private static Regex Compile(string pattern, string field)
        {
            if (pattern.Length > PatternLengthMax)
            {
                throw Errors.InvalidArgument(
                    $"request.{field} has a pattern of {pattern.Length} characters ('{pattern[..50]}…'); allowed are {PatternLengthMax}");
            }

            try
            {
                return new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.NonBacktracking, Regex.InfiniteMatchTimeout);
            }
            catch (NotSupportedException)
            {
                return new Regex(pattern, RegexOptions.CultureInvariant, MatchTimeout); // Lookarounds, backreferences.
            }
            catch (ArgumentException exception)
            {
                throw Errors.InvalidArgument($"request.{field} '{pattern}' is not a regular expression: {exception.Message}");
            }
        }
    }
}
