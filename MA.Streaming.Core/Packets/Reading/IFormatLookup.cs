namespace MA.Streaming.Core.Packets;

/// <summary>Finds the identifiers behind a data format id, for the filter of a read. Null where the data source defines no such format.</summary>
internal interface IFormatLookup
{
    /// <summary>The parameters of a format, in order.</summary>
    ValueTask<IReadOnlyList<string>?> FindParametersAsync(string dataSource, ulong id, CancellationToken cancellationToken);

    /// <summary>The event of a format: one identifier.</summary>
    ValueTask<IReadOnlyList<string>?> FindEventAsync(string dataSource, ulong id, CancellationToken cancellationToken);
}
