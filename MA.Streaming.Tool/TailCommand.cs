using System.CommandLine;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Proto.Client.Remote;

namespace MA.Streaming.Tool;

/// <summary><c>streamapi tail</c>: follows what is written to a data source or a session, decoded.</summary>
internal sealed class TailCommand
{
    private readonly Argument<string?> _dataSource = new("data-source") { Arity = ArgumentArity.ZeroOrOne, Description = "The data source to follow; not needed with --session." };
    private readonly Option<string?> _session = new("--session") { HelpName = "KEY", Description = "Only what belongs to this session, from its start on unless --from says otherwise." };
    private readonly Option<string[]> _streams = Several("--stream", "NAME", "Only this stream, with the main stream. May be given several times.");
    private readonly Option<string?> _from = new("--from") { HelpName = "PLACE", Description = "Where to begin: live (only what comes; the default) or start (everything there is; the default with --session)." };
    private readonly Option<string[]> _parameters = Several("--parameter", "PATTERN", "Only parameters that this regular expression matches. May be given several times.");
    private readonly Option<string[]> _notParameters = Several("--not-parameter", "PATTERN", "No parameters that this regular expression matches.");
    private readonly Option<string[]> _events = Several("--event", "PATTERN", "Only events that this regular expression matches.");
    private readonly Option<string[]> _notEvents = Several("--not-event", "PATTERN", "No events that this regular expression matches.");
    private readonly Option<bool> _packets = new("--packets") { Description = "A line for each packet of any type, with its place, size and type, instead of its values." };
    private readonly Option<int?> _count = ParsedOption.Number<int>("--count", "N", "Stop after so many lines.", "a whole number, 1 or more", count => count > 0);
    private readonly Option<double?> _idle = ParsedOption.Number<double>(
        "--idle", "SECONDS", "Stop when nothing has come for so long; for scripts that read what there is.", "more than 0, up to 86400", idle => idle is > 0 and <= 86_400);
    private readonly Option<bool> _json = new("--json") { Description = "A JSON object a line." };

    public static Command Create() => new TailCommand().Build();

    private static Option<string[]> Several(string name, string value, string description) => new(name) { HelpName = value, Description = description };

    private Command Build()
    {
        var command = new Command(
            "tail",
            """
            Follows a data source or a session and prints each sample, event and marker on a line of its own, until Ctrl+C.

            A line has the sample's own time in UTC, the stream (- is the main stream), the parameter, the value, and the status where it is
            not valid: streamapi tail Car1 --parameter '^vCar'. Patterns are regular expressions, searched for anywhere in an identifier; those of
            parameters leave events alone, and the other way round (--not-event . leaves all events out). Exit code 1 means that the server
            cannot be reached, does not know the session, or ended the read.
            """);
        command.Add(_dataSource);
        Option[] first = [_session, _streams, _from, _parameters, _notParameters, _events, _notEvents, _packets, _count, _idle];
        foreach (var option in first) command.Add(option);
        var server = new RemoteServer(command);
        command.Add(_json);
        command.Validators.Add(result =>
        {
            if (string.IsNullOrEmpty(result.GetValue(_dataSource)) == string.IsNullOrEmpty(result.GetValue(_session))) result.AddError("give a data source, or --session KEY");
            if (result.GetValue(_from) is not (null or "live" or "start")) result.AddError(ParsedOption.Refusal("--from", result.GetValue(_from)!, "live or start"));
            foreach (var option in new[] { _parameters, _notParameters, _events, _notEvents })
            {
                foreach (var pattern in result.GetValue(option) ?? [])
                {
                    if (result.GetValue(_packets)) result.AddError($"{option.Name} picks values, --packets shows none: give one");
                    if (PacketPrinter.FaultOf(pattern) is { } fault) result.AddError($"{option.Name} '{pattern}': {fault}; allowed are regular expressions");
                }
            }
        });
        command.SetAction((parsed, _) => server.AskAsync(parsed, (api, stop) => FollowAsync(parsed, api, stop)));
        return command;
    }

    private async Task<int> FollowAsync(ParseResult parsed, RemoteStreamingApi api, CancellationToken stop)
    {
        var details = new ConnectionDetails { DataSource = parsed.GetValue(_dataSource) ?? "", SessionKey = parsed.GetValue(_session) ?? "" };
        details.Streams.AddRange(parsed.GetValue(_streams) ?? []);
        var begin = (parsed.GetValue(_from) ?? (details.SessionKey.Length > 0 ? "start" : "live")) == "start" ? 0L : -1L;
        if (details.SessionKey.Length > 0)
        {
            if (await SessionsCommand.FindAsync(api, details.SessionKey, stop).ConfigureAwait(false) is not { } session)
            {
                await parsed.InvocationConfiguration.Error.WriteLineAsync($"streamapi: {api.Address} knows no session '{details.SessionKey}'").ConfigureAwait(false);
                return ExitCode.Failed;
            }

            details.DataSource = session.DataSource;
            if (begin == 0) begin = session.MainOffset;
        }

        details.MainOffset = begin;
        details.StreamOffsets.AddRange(details.Streams.Select(_ => Math.Min(begin, 0)));
        var connections = api.GetConnectionManagerClient();
        var connection = (await connections.NewConnectionAsync(new NewConnectionRequest { Details = details }, cancellationToken: stop).ConfigureAwait(false)).Connection;
        try
        {
            using var ending = CancellationTokenSource.CreateLinkedTokenSource(stop);
            var printer = new PacketPrinter(
                api.GetDataFormatManagerClient(),
                details.DataSource,
                PacketPrinter.Matcher(parsed.GetValue(_parameters) ?? [], parsed.GetValue(_notParameters) ?? []),
                parsed.GetValue(_packets),
                parsed.GetValue(_json));
            await PrintAsync(parsed, Read(parsed, api, connection, ending.Token), printer, ending).ConfigureAwait(false);
            return ExitCode.Done;
        }
        finally
        {
            // A server that is gone has released it already.
            using var closing = connections.CloseConnectionAsync(
                new CloseConnectionRequest { Connection = connection }, deadline: TimeProvider.System.GetUtcNow().UtcDateTime.AddSeconds(1), cancellationToken: CancellationToken.None);
            await ((Task)closing.ResponseAsync).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private IAsyncEnumerable<IEnumerable<PacketResponse>> Read(ParseResult parsed, RemoteStreamingApi api, Connection connection, CancellationToken stop)
    {
        var reader = api.GetPacketReaderClient();
        if (parsed.GetValue(_packets)) return Batches(reader.ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: stop), response => response.Response);
        var request = new DataPacketRequest { Connection = connection, IncludeMarkers = true };
        request.IncludeParameters.AddRange(parsed.GetValue(_parameters) ?? []);
        request.ExcludeParameters.AddRange(parsed.GetValue(_notParameters) ?? []);
        request.IncludeEvents.AddRange(parsed.GetValue(_events) ?? []);
        request.ExcludeEvents.AddRange(parsed.GetValue(_notEvents) ?? []);
        return Batches(reader.ReadDataPackets(new ReadDataPacketsRequest { Request = request }, cancellationToken: stop), response => response.Response);
    }

    private static async IAsyncEnumerable<IEnumerable<PacketResponse>> Batches<T>(AsyncServerStreamingCall<T> call, Func<T, IEnumerable<PacketResponse>> packets)
    {
        using (call)
        {
            await foreach (var response in call.ResponseStream.ReadAllAsync().ConfigureAwait(false)) yield return packets(response);
        }
    }

    private async Task PrintAsync(ParseResult parsed, IAsyncEnumerable<IEnumerable<PacketResponse>> batches, PacketPrinter printer, CancellationTokenSource ending)
    {
        var output = parsed.InvocationConfiguration.Output;
        var left = parsed.GetValue(_count) ?? int.MaxValue;
        var idle = parsed.GetValue(_idle) is { } seconds ? TimeSpan.FromSeconds(seconds) : Timeout.InfiniteTimeSpan;
        var reading = batches.GetAsyncEnumerator(CancellationToken.None);
        Task<bool> next = Task.FromResult(true);
        try
        {
            while (left > 0)
            {
                next = reading.MoveNextAsync().AsTask();
                if (!await next.WaitAsync(idle, ending.Token).ConfigureAwait(false)) return;

                // A write for all of a response: samples may come by the thousand.
                var lines = reading.Current.SelectMany(printer.LinesOf).Take(left).ToList();
                if (parsed.GetValue(_count) is not null) left -= lines.Count;
                if (lines.Count > 0) await output.WriteLineAsync(string.Join(Environment.NewLine, lines)).ConfigureAwait(false);
            }
        }
        catch (TimeoutException)
        {
            // Idle for as long as was asked for.
        }
        finally
        {
            await ending.CancelAsync().ConfigureAwait(false);
            await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await reading.DisposeAsync().ConfigureAwait(false);
        }
    }
}
