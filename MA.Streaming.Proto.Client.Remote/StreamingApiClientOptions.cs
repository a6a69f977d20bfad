using Microsoft.Extensions.Options;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>The server of the clients that <c>services.AddStreamingApiClient</c> adds, and how they reach it.</summary>
public sealed class StreamingApiClientOptions
{
    /// <summary><c>host:port</c>, <c>https://host:port</c>, or several separated by commas: the first that works is used.</summary>
    public string Address { get; set; } = "";

    /// <summary>How the clients connect. They log where the container logs.</summary>
    public RemoteStreamingApiOptions Connection { get; set; } = new();

    /// <summary>Refuses an address that is none, when a host starts or at the first use.</summary>
    internal sealed class Validation : IValidateOptions<StreamingApiClientOptions>
    {
        public ValidateOptionsResult Validate(string? name, StreamingApiClientOptions options) =>
            ServerAddress.TryParse(options.Address, out _, out var error)
                ? ValidateOptionsResult.Success
                : ValidateOptionsResult.Fail($"Address = '{options.Address}' of the Stream API client '{name}': {error}; allowed is {ServerAddress.Allowed}");
    }
}
