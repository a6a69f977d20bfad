#pragma warning disable RS0030 // A program writes to its console.
using System.CommandLine;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;
using MA.Streaming.Tool;

var root = new RootCommand(
    """
    The telemetry Stream API: serve it, serve its keys, find out what keeps it from working, look at sessions, follow telemetry.

    Exit codes: 0 done, or stopped as asked; 1 it failed, doctor found a problem, or there is no such session; 2 the command line is wrong; 3 a setting is not
    allowed; 4 a port cannot be opened; 5 the broker's data cannot be used; 130 or 143 cut short by a second signal.
    """)
{
    ServeCommand.Create(),
    KeygenCommand.Create(),
    DoctorCommand.Create(),
    SessionsCommand.Create(),
    TailCommand.Create(),
};

// The list of commands has a line for each; what else there is to say stands in the help of the command itself.
foreach (var command in root.Subcommands.Where(command => command.Name != args.FirstOrDefault())) command.Description = command.Description?.Split('\n')[0].TrimEnd();

var parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (var error in parsed.Errors) Console.Error.WriteLine($"streamapi: {error.Message}");
    Console.Error.WriteLine($"Try: streamapi {(parsed.CommandResult.Command == root ? "" : $"{parsed.CommandResult.Command.Name} ")}--help");
    return ExitCode.Usage;
}

try
{
    // Signals are ours: the library would give up on a drain after its own time.
    return await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null, EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
}
catch (Exception exception)
{
    Console.Error.WriteLine($"streamapi: {exception.Message}");
    return exception switch
    {
        ConfigurationException => ExitCode.Configuration,
        PortException => ExitCode.Port,
        BrokerException or { InnerException: BrokerException } => ExitCode.BrokerData,
        OperationCanceledException => ExitCode.Done,
        _ => ExitCode.Failed,
    };
}
