using MA.Streaming.API;
using MA.Streaming.OpenData;

namespace Telemetry;

/// <summary>How packets name their parameters and events: by the id the server gave, or inline.</summary>
public sealed class DataFormats
{
    private readonly Dictionary<SampleGroup, ulong> _groups = [];
    private readonly Dictionary<string, ulong> _events = [];

    private DataFormats()
    {
    }

    /// <summary>Nothing by id.</summary>
    public static DataFormats Inline { get; } = new();

    /// <summary>Asks the server for the id of every group, but those that want to be inline, and of every event.</summary>
    public static async Task<DataFormats> RegisterAsync(
        DataFormatManagerService.DataFormatManagerServiceClient client, ITelemetrySource source, CancellationToken cancellationToken)
    {
        var formats = new DataFormats();
        foreach (var group in source.Groups.Where(g => !g.NamesParametersInline))
        {
            var request = new GetParameterDataFormatIdRequest { DataSource = source.DataSource, Parameters = { group.Parameters } };
            var answer = await client.GetParameterDataFormatIdAsync(request, cancellationToken: cancellationToken);
            formats._groups[group] = answer.DataFormatIdentifier;
        }

        foreach (var name in source.Events)
        {
            var request = new GetEventDataFormatIdRequest { DataSource = source.DataSource, Event = name };
            var answer = await client.GetEventDataFormatIdAsync(request, cancellationToken: cancellationToken);
            formats._events[name] = answer.DataFormatIdentifier;
        }

        return formats;
    }

    public SampleDataFormat Of(SampleGroup group) => _groups.TryGetValue(group, out var id)
        ? new() { DataFormatIdentifier = id }
        : new() { ParameterIdentifiers = new() { ParameterIdentifiers = { group.Parameters } } };

    public EventDataFormat Of(string name) => _events.TryGetValue(name, out var id)
        ? new() { DataFormatIdentifier = id }
        : new() { EventIdentifier = name };
}
