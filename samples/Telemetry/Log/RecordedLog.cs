using System.Globalization;
using System.Text.RegularExpressions;
using Google.Protobuf;
using MA.Streaming.OpenData;

namespace Telemetry.Log;

/// <summary>
/// A recorded log as telemetry: each file a stream of row packets (logged times are never quite regular), raw CAN frames as they
/// are, laps as markers. Merged by time while it is read, so that its size does not matter.
/// </summary>
public sealed partial class RecordedLog : ITelemetrySource
{
    private const string LapStream = "Laps";
    private const int WatchedMax = 10;

    // What a driver would look at first.
    private static readonly string[] Telling =
    [
        "speed|vcar", "rpm|nengine", "gear", "thro|tps|accelpos", "brake", "steer", "accel|^glat|^glong", "yaw|gyro", "boost", "temp",
    ];

    private readonly IReadOnlyList<LogFile> _files;
    private readonly IReadOnlyList<LogLap> _laps;
    private readonly LogParameters _parameters;
    private readonly Dictionary<LogFile, SampleGroup> _groups;

    private RecordedLog(string directory, LogParameters parameters, IReadOnlyList<LogFile> files, IReadOnlyList<LogLap> laps, TimeSpan length)
    {
        _parameters = parameters;
        _files = files;
        _laps = laps;
        Length = length;
        var name = parameters.Name is { Length: > 0 } given ? given : new DirectoryInfo(directory).Name;
        DataSource = TopicName(name);
        SessionIdentifier = name;
        var byIdentifier = parameters.Parameters!.GroupBy(p => p.Identifier).ToDictionary(g => g.Key, g => g.First(), StringComparer.Ordinal);
        _groups = files.Where(f => !f.IsCan).ToDictionary(f => f, f =>
        {
            var rate = f.Columns.Max(c => byIdentifier.GetValueOrDefault(c)?.RateHz ?? 0);
            return new SampleGroup(f.BaseName, TopicName(f.BaseName), SampleLayout.Row, rate, f.Columns);
        });

        var all = files.SelectMany(f => f.Columns).Distinct(StringComparer.Ordinal).ToList();
        var telling = Telling.Select(pattern => all.Find(p => Regex.IsMatch(p, pattern, RegexOptions.IgnoreCase))).OfType<string>();
        Watched = [.. telling.Concat(all).Distinct().Take(WatchedMax)];
        SpeedParameter = all.Find(p => SpeedName().IsMatch(p)) ?? all.Find(p => p.Contains("speed", StringComparison.OrdinalIgnoreCase));
        MetresPerSecond = SpeedParameter is null ? 0 : Factor(byIdentifier.GetValueOrDefault(SpeedParameter)?.Unit);
        Configuration = Configure(byIdentifier);
    }

    public string DataSource { get; }

    public string SessionIdentifier { get; }

    public IReadOnlyDictionary<string, string> SessionDetails
    {
        get
        {
            var details = new Dictionary<string, string> { ["Files"] = string.Join(", ", _files.Select(f => Path.GetFileName(f.FullPath))) };
            if (_parameters.Vehicle is { Length: > 0 } vehicle) details["Vehicle"] = vehicle;
            if (_parameters.Venue is { Length: > 0 } venue) details["Venue"] = venue;
            return details;
        }
    }

    public DateTimeOffset Start => _parameters.Start;

    public TimeSpan Length { get; }

    public IReadOnlyList<string> Streams =>
        [.. _files.Select(f => TopicName(f.BaseName)), .. _laps.Count > 0 ? [LapStream] : Array.Empty<string>()];

    public IReadOnlyList<SampleGroup> Groups => [.. _groups.Values];

    public IReadOnlyList<string> Events => [];

    public ConfigurationPacket Configuration { get; }

    public IReadOnlyList<string> Watched { get; }

    public string? SpeedParameter { get; }

    public double MetresPerSecond { get; }

    public IReadOnlyList<string> SpeedPatterns { get; } = ["(?i)speed|rpm", "^vCar", "^n"];

    /// <summary>Opens a log and reads it once from end to end, so that a mistake in it is told before anything is written.</summary>
    /// <exception cref="LogException">Names file, line and column.</exception>
    public static RecordedLog Open(string directory)
    {
        if (!Directory.Exists(directory)) throw new LogException($"{directory}: there is no such directory");
        var parameters = LogParameters.Load(directory);
        var laps = LogLaps.Load(directory);
        var files = Files(directory, parameters).Select(LogFile.Open).ToList();
        CheckColumns(directory, parameters, files);

        long last = 0;
        foreach (var file in files)
        {
            foreach (var row in file.Rows()) last = Math.Max(last, row.Nanoseconds);
        }

        return new(directory, parameters, files, laps, TimeSpan.FromTicks(last / 100));
    }

    public IEnumerable<TelemetryPacket> Play(DataFormats formats)
    {
        var start = (ulong)(Start - DateTimeOffset.UnixEpoch).Ticks * 100;
        var open = new List<(LogFile File, IEnumerator<LogRow> Rows, RowBatch? Batch)>();
        var heads = new PriorityQueue<int, (long Time, int File)>();
        try
        {
            foreach (var file in _files)
            {
                var group = _groups.GetValueOrDefault(file);
                open.Add((file, file.Rows().GetEnumerator(), group is null ? null : new RowBatch(group, formats.Of(group), start)));
                if (open[^1].Rows.MoveNext()) heads.Enqueue(open.Count - 1, (open[^1].Rows.Current.Nanoseconds, open.Count - 1));
            }

            var lap = 0;
            while (heads.TryDequeue(out var index, out var head))
            {
                while (lap < _laps.Count && _laps[lap].EndMs!.Value * 1e6 <= head.Time) yield return Marker(_laps[lap++], start);

                var (file, rows, batch) = open[index];
                var row = rows.Current;
                LogRow? next = rows.MoveNext() ? rows.Current : null;
                if (next is { } following) heads.Enqueue(index, (following.Nanoseconds, index));
                if (row.Frame is { } frame)
                {
                    yield return Can(TopicName(file.BaseName), frame, row.Nanoseconds, start);
                    continue;
                }

                batch!.Add(row);
                if (batch.IsFullBefore(next)) yield return batch.Take();
            }

            while (lap < _laps.Count) yield return Marker(_laps[lap++], start);
        }
        finally
        {
            foreach (var (_, rows, _) in open) rows.Dispose();
        }
    }

    [GeneratedRegex("^(vcar|v?speed|vehicle_?speed|gps_?speed)$", RegexOptions.IgnoreCase)]
    private static partial Regex SpeedName();

    [GeneratedRegex("[^a-zA-Z0-9_-]")]
    private static partial Regex NotInTopics();

    // What is legal in the name of a topic, and is not one of the broker's own.
    private static string TopicName(string name)
    {
        var legal = NotInTopics().Replace(name, "_");
        if (legal.Length > 100) legal = legal[..100];
        var isTaken = legal is LapStream || legal.EndsWith("essential", StringComparison.Ordinal) || legal.StartsWith("__", StringComparison.Ordinal);
        return isTaken ? $"log-{legal}-" : legal;
    }

    private static double Factor(string? unit) => unit?.ToUpperInvariant() switch
    {
        "MPH" => 0.44704,
        "M/S" => 1,
        "KN" or "KT" or "KTS" => 0.514444,
        _ => 1 / 3.6,
    };

    private static List<string> Files(string directory, LogParameters parameters)
    {
        var found = Directory.EnumerateFiles(directory)
            .Where(f => f.EndsWith(".csv", StringComparison.OrdinalIgnoreCase) || f.EndsWith(".csv.gz", StringComparison.OrdinalIgnoreCase))
            .Order(StringComparer.Ordinal)
            .ToList();
        var declared = (parameters.Files?.Keys ?? []).Concat(parameters.Parameters!.Select(p => p.File).OfType<string>());
        foreach (var name in declared)
        {
            if (!found.Exists(f => LogFile.WithoutEndings(Path.GetFileName(f)) == LogFile.WithoutEndings(name)))
                throw new LogException($"{Path.Combine(directory, name)}: there is no such file; {LogParameters.FileName} names it");
        }

        var twice = found.GroupBy(f => TopicName(LogFile.WithoutEndings(Path.GetFileName(f)))).FirstOrDefault(g => g.Count() > 1);
        if (twice is not null) throw new LogException($"{string.Join(" and ", twice)}: two files of one name");
        if (found.Count == 0) throw new LogException($"{directory}: there is no *.csv or *.csv.gz");
        return found;
    }

    private static void CheckColumns(string directory, LogParameters parameters, List<LogFile> files)
    {
        foreach (var parameter in parameters.Parameters!)
        {
            if (parameter.File is { Length: > 0 } name)
            {
                var file = files.First(f => f.BaseName == LogFile.WithoutEndings(name));
                if (!file.Columns.Contains(parameter.Identifier))
                {
                    var why = $"the column is missing; {LogParameters.FileName} says it is in this file";
                    throw LogException.At(file.FullPath, 1, parameter.Identifier, why);
                }
            }
            else if (!files.Exists(f => f.Columns.Contains(parameter.Identifier)))
            {
                throw new LogException($"{directory}: no file has a column {parameter.Identifier}, which {LogParameters.FileName} lists");
            }
        }

        var empty = files.Find(f => !f.IsCan && f.Columns.Count == 0);
        if (empty is not null) throw LogException.At(empty.FullPath, 1, null, "there is no column but the time");
    }

    private static TelemetryPacket Can(string stream, CanFrame frame, long nanoseconds, ulong start)
    {
        var content = new RawCANDataPacket
        {
            Timestamp = start + (ulong)nanoseconds,
            CanId = frame.Id,
            Payload = UnsafeByteOperations.UnsafeWrap(frame.Payload),
            Type = CanType.Receive,
        };
        return new(stream, "RawCANData", content.ToByteString(), TimeSpan.FromTicks(nanoseconds / 100), []);
    }

    private TelemetryPacket Marker(LogLap lap, ulong start)
    {
        var content = new MarkerPacket
        {
            Type = "Lap",
            Label = string.Create(CultureInfo.InvariantCulture, $"Lap {lap.Lap}"),
            Value = lap.Lap,
            Timestamp = start + (ulong)Math.Round(lap.StartMs!.Value * 1e6),
            EndTime = start + (ulong)Math.Round(lap.EndMs!.Value * 1e6),
            Description = lap.Kind ?? "",
            Source = DataSource,
        };
        return new(LapStream, "Marker", content.ToByteString(), TimeSpan.FromMilliseconds(lap.EndMs.Value), []);
    }

    private ConfigurationPacket Configure(Dictionary<string, LogParameter> byIdentifier)
    {
        var configuration = new ConfigurationPacket
        {
            ConfigId = DataSource,
            GroupDefinitions =
            {
                _groups.Values.Select(g => new GroupDefinition { Identifier = g.Name, Name = g.Name, ApplicationName = DataSource }),
            },
            PacketNumber = 1,
            TotalPacketNumber = 1,
        };
        foreach (var group in _groups.Values)
        {
            foreach (var identifier in group.Parameters)
            {
                // A column that parameters.json does not list is a parameter without unit and range.
                var known = byIdentifier.GetValueOrDefault(identifier) ?? new LogParameter { Identifier = identifier };
                var min = known.DeclaredMin ?? known.Min ?? 0;
                var max = known.DeclaredMax ?? known.Max ?? 0;
                configuration.ParameterDefinitions.Add(new ParameterDefinition
                {
                    Identifier = identifier,
                    Name = known.Name ?? identifier,
                    Description = string.Create(CultureInfo.InvariantCulture, $"from {group.Name}; measured {known.Min} to {known.Max}"),
                    ApplicationName = DataSource,
                    Groups = { group.Name },
                    Units = known.Unit ?? "",
                    DataType = DataType.Float64,
                    FormatString = "%.3f",
                    MinValue = min,
                    MaxValue = max,
                    WarningMinValue = min,
                    WarningMaxValue = max,
                    Frequencies = { known.RateHz is > 0 ? [known.RateHz.Value] : Array.Empty<double>() },
                    IncludesRowData = true,
                });
            }
        }

        return configuration;
    }
}
