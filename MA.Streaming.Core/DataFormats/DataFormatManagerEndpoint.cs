using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Internal;

namespace MA.Streaming.Core.DataFormats;

/// <summary>The data format manager service.</summary>
internal sealed class DataFormatManagerEndpoint(DataFormatCatalog catalog, OpenCalls calls) : DataFormatManagerService.DataFormatManagerServiceBase
{
    /// <inheritdoc/>
    public override async Task<GetParameterDataFormatIdResponse> GetParameterDataFormatId(
        GetParameterDataFormatIdRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (request.Parameters.Count == 0) throw Errors.InvalidArgument("parameters must not be empty: a data format is a list of at least one parameter");
        var id = await catalog.GetOrRegisterAsync(
            request.DataSource, DataFormatKind.Parameters, [.. request.Parameters], context.CancellationToken).ConfigureAwait(false);
        return new GetParameterDataFormatIdResponse { DataFormatIdentifier = id };
    }

    /// <inheritdoc/>
    public override async Task<GetEventDataFormatIdResponse> GetEventDataFormatId(GetEventDataFormatIdRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (request.Event.Length == 0) throw Errors.InvalidArgument("event must not be empty");
        var id = await catalog.GetOrRegisterAsync(
            request.DataSource, DataFormatKind.Event, [request.Event], context.CancellationToken).ConfigureAwait(false);
        return new GetEventDataFormatIdResponse { DataFormatIdentifier = id };
    }

    /// <inheritdoc/>
    public override async Task<GetParametersListResponse> GetParametersList(GetParametersListRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        CheckDataSource(request.DataSource);
        var identifiers = await catalog.ResolveAsync(
            request.DataSource, request.DataFormatIdentifier, DataFormatKind.Parameters, context.CancellationToken).ConfigureAwait(false);
        var response = new GetParametersListResponse();
        if (identifiers is not null) response.Parameters.Add(identifiers);
        return response;
    }

    /// <inheritdoc/>
    public override async Task<GetEventResponse> GetEvent(GetEventRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        CheckDataSource(request.DataSource);
        var identifiers = await catalog.ResolveAsync(
            request.DataSource, request.DataFormatIdentifier, DataFormatKind.Event, context.CancellationToken).ConfigureAwait(false);
        return new GetEventResponse { Event = identifiers?[0] ?? "" };
    }

    private static void CheckDataSource(string dataSource)
    {
        if (Broker.TopicLayout.TopicNameError("data_source", dataSource, dataSource) is { } error) throw Errors.InvalidArgument(error);
    }
}
