using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using MA.Streaming.API;
using MA.Streaming.Proto.Client.Remote;

namespace MA.Streaming.Tool;

/// <summary><c>streamapi sessions</c>: what a server knows of the sessions of a data source, or of one session.</summary>
internal static class SessionsCommand
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { WriteIndented = true };

    public static Command Create()
    {
        var command = new Command(
            "sessions",
            """
            Lists the sessions of a data source, oldest first, or tells everything about one session.

            The protocol has no list of data sources, so one has to be named: streamapi sessions Car1. Exit code 1 means that the server
            cannot be reached, or does not know the session.
            """);
        var dataSource = new Argument<string?>("data-source") { Arity = ArgumentArity.ZeroOrOne, Description = "The data source whose sessions to list." };
        var session = new Option<string?>("--session") { HelpName = "KEY", Description = "Tell everything about this session instead." };
        var json = new Option<bool>("--json") { Description = "Say it as JSON: a list of sessions, or one." };
        command.Add(dataSource);
        command.Add(session);
        var server = new RemoteServer(command);
        command.Add(json);
        command.Validators.Add(result =>
        {
            if (string.IsNullOrEmpty(result.GetValue(dataSource)) == string.IsNullOrEmpty(result.GetValue(session))) result.AddError("give a data source, or --session KEY");
        });
        command.SetAction((parsed, _) => server.AskAsync(parsed, async (api, stop) =>
        {
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(session) is not { Length: > 0 } key)
            {
                var known = await ListAsync(api, parsed.GetValue(dataSource)!, stop).ConfigureAwait(false);
                await output.WriteLineAsync(parsed.GetValue(json) ? JsonSerializer.Serialize(known, Json) : InWords(known, parsed.GetValue(dataSource)!)).ConfigureAwait(false);
                return ExitCode.Done;
            }

            if (await FindAsync(api, key, stop).ConfigureAwait(false) is not { } one)
            {
                await parsed.InvocationConfiguration.Error.WriteLineAsync($"streamapi: {api.Address} knows no session '{key}'").ConfigureAwait(false);
                return ExitCode.Failed;
            }

            await output.WriteLineAsync(parsed.GetValue(json) ? JsonSerializer.Serialize(one, Json) : InWords(one)).ConfigureAwait(false);
            return ExitCode.Done;
        }));
        return command;
    }

    /// <summary>One session; null when the server does not know it.</summary>
    public static async Task<KnownSession?> FindAsync(RemoteStreamingApi api, string key, CancellationToken stop)
    {
        var info = await api.GetSessionManagementClient().GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = key }, cancellationToken: stop).ConfigureAwait(false);
        return info.Success ? KnownSession.Of(key, info) : null;
    }

    private static async Task<List<KnownSession>> ListAsync(RemoteStreamingApi api, string dataSource, CancellationToken stop)
    {
        var keys = await api.GetSessionManagementClient().GetCurrentSessionsAsync(new GetCurrentSessionsRequest { DataSource = dataSource }, cancellationToken: stop).ConfigureAwait(false);
        var sessions = new List<KnownSession>();
        foreach (var key in keys.SessionKeys)
        {
            if (await FindAsync(api, key, stop).ConfigureAwait(false) is { } session) sessions.Add(session);
        }

        return sessions;
    }

    private static string InWords(List<KnownSession> sessions, string dataSource)
    {
        if (sessions.Count == 0) return $"no sessions of data source '{dataSource}'";
        string[] head = ["key", "identifier", "type", "state", "started (UTC)", "lasted", "streams"];
        var rows = sessions.Select(session => new[]
        {
            session.Key, session.Identifier, session.Type, session.IsComplete ? "ended" : "live", Moment(session.Started), Lasted(session), $"{session.Streams.Count}",
        }).Prepend(head).ToList();
        var widths = head.Select((_, column) => rows.Max(row => row[column].Length)).ToList();
        return string.Join(Environment.NewLine, rows.Select(row => string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd()));
    }

    private static string InWords(KnownSession session)
    {
        var lines = new List<(string Name, string Value)>
        {
            ("key", session.Key),
            ("data source", session.DataSource),
            ("identifier", session.Identifier),
            ("type", $"{session.Type}, version {session.Version}"),
            ("state", session.IsComplete ? "ended" : "live"),
            ("started (UTC)", Moment(session.Started)),
            ("ended (UTC)", Moment(session.Ended)),
            ("lasted", Lasted(session)),
            ("local time", session.UtcOffset == TimeSpan.Zero ? "UTC" : $"UTC {(session.UtcOffset < TimeSpan.Zero ? '-' : '+')}{session.UtcOffset:hh\\:mm}"),
            ("streams", session.Streams.Count == 0 ? "the main stream only" : string.Join(", ", session.Streams)),
            ("associated", session.AssociateSessionKeys.Count == 0 ? "with none" : string.Join(", ", session.AssociateSessionKeys)),
            ("starts at", $"{session.MainOffset} in the main stream, {session.EssentialsOffset} in the essentials"),
        };
        lines.AddRange(session.Offsets.OrderBy(offset => offset.Key, StringComparer.Ordinal).Select(offset => ("", $"{offset.Value} in {offset.Key}")));
        lines.AddRange(session.Details.OrderBy(detail => detail.Key, StringComparer.Ordinal).Select(detail => ("detail", $"{detail.Key} = {detail.Value}")));
        var width = lines.Max(line => line.Name.Length);
        return string.Join(Environment.NewLine, lines.Select(line => $"{line.Name.PadRight(width)}  {line.Value}".TrimEnd()));
    }

    private static string Moment(DateTimeOffset? time) => time?.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture) ?? "-";

    private static string Lasted(KnownSession session)
    {
        if (session.Started is not { } started) return "-";
        var time = (session.Ended ?? TimeProvider.System.GetUtcNow()) - started;
        return time < TimeSpan.Zero ? "-" : string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours}:{time:mm\\:ss}");
    }

    /// <summary>A session as the command tells it; the names are those of its JSON.</summary>
    internal sealed record KnownSession(
        string Key,
        string DataSource,
        string Identifier,
        string Type,
        uint Version,
        bool IsComplete,
        DateTimeOffset? Started,
        DateTimeOffset? Ended,
        TimeSpan UtcOffset,
        IReadOnlyList<string> Streams,
        IReadOnlyList<string> AssociateSessionKeys,
        long MainOffset,
        long EssentialsOffset,
        IReadOnlyDictionary<string, long> Offsets,
        IReadOnlyDictionary<string, string> Details)
    {
        public static KnownSession Of(string key, GetSessionInfoResponse info) => new(
            key,
            info.DataSource,
            info.Identifier,
            info.Type,
            info.Version,
            info.IsComplete,
            info.CreationTime?.ToDateTimeOffset(),
            info.TerminationTime?.ToDateTimeOffset(),
            info.UtcOffset?.ToTimeSpan() ?? TimeSpan.Zero,
            [.. info.Streams],
            [.. info.AssociateSessionKeys],
            info.MainOffset,
            info.EssentialsOffset,
            info.TopicPartitionOffsets.ToDictionary(),
            info.Details.ToDictionary());
    }
}
