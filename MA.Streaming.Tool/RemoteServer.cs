using System.CommandLine;
using Grpc.Core;
using MA.Streaming.Proto.Client.Remote;

namespace MA.Streaming.Tool;

/// <summary>The server that a command asks, and what the command ends with when that goes wrong.</summary>
internal sealed class RemoteServer
{
    private const string Default = "localhost:13579";

    private readonly Option<string?> _server = new("--server")
    {
        HelpName = "ADDRESS",
        Description = "The server: host:port, http://host:port or https://host:port; several with commas between them, of which the first that works is used. Default localhost:13579.",
    };

    public RemoteServer(Command command)
    {
        command.Add(_server);
        command.Validators.Add(result =>
        {
            try
            {
                RemoteStreamingApi.Connect(result.GetValue(_server) ?? Default).Dispose();
            }
            catch (ArgumentException exception)
            {
                result.AddError(exception.Message.Replace("serverAddress = ", "--server ", StringComparison.Ordinal).Split(" (Parameter")[0]);
            }
        });
    }

    /// <summary>Runs against the server until done or told to stop, which is no failure.</summary>
    public async Task<int> AskAsync(ParseResult command, Func<RemoteStreamingApi, CancellationToken, Task<int>> ask)
    {
        ClosedOutput.EndsTheProcess();
        using var signals = new Signals();
        using var api = RemoteStreamingApi.Connect(command.GetValue(_server) ?? Default);
        try
        {
            return await ask(api, signals.Stop).ConfigureAwait(false);
        }
        catch (Exception exception) when (signals.Stop.IsCancellationRequested && exception is OperationCanceledException or RpcException { StatusCode: StatusCode.Cancelled })
        {
            return ExitCode.Done;
        }
        catch (RpcException exception)
        {
            await command.InvocationConfiguration.Error.WriteLineAsync($"streamapi: {api.Address}: {exception.StatusCode}: {exception.Status.Detail}").ConfigureAwait(false);
            return ExitCode.Failed;
        }
    }
}
