using System.Text;
using Grpc.Core;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Proto.Client.Local;
using Spectre.Console;
using Telemetry;
using Telemetry.Car;
using Telemetry.Live;
using Telemetry.Log;
using Telemetry.Terminal;

const int AsWritten = 0;
const int Differs = 1;
const int WrongInput = 2;

try
{
    Console.OutputEncoding = Encoding.UTF8;
    var options = CommandLine.Parse(args);
    if (options.ShowHelp)
    {
        Console.WriteLine(CommandLine.Help);
        return AsWritten;
    }

    ITelemetrySource source = options.LogDirectory is { } directory
        ? RecordedLog.Open(directory)
        : new SimulatedCar(options.Laps, options.Seed);
    return await PlayAsync(source, options) ? AsWritten : Differs;
}
catch (Exception wrong) when (wrong is CommandLineException or LogException or ConfigurationException)
{
    Console.Error.WriteLine($"telemetry: {wrong.Message}");
    if (wrong is CommandLineException) Console.Error.WriteLine("telemetry: --help explains the options");
    return WrongInput;
}
catch (RpcException failure)
{
    Console.Error.WriteLine($"telemetry: the Stream API answered {failure.StatusCode}: {failure.Status.Detail}");
    return Differs;
}
catch (Exception failure) when (failure is InitialisationException or TimeoutException)
{
    Console.Error.WriteLine($"telemetry: {failure.Message}");
    return Differs;
}

static async Task<bool> PlayAsync(ITelemetrySource source, CommandLine options)
{
    using var stop = new CancellationTokenSource();
    Console.CancelKeyPress += (_, pressed) =>
    {
        // The first Ctrl+C ends the session properly, the second one the program.
        pressed.Cancel = !stop.IsCancellationRequested;
        stop.Cancel();
    };

    var isTerminal = !Console.IsOutputRedirected && AnsiConsole.Profile.Capabilities.Ansi;
    var console = isTerminal ? AnsiConsole.Console : PlainConsole();
    IScreen screen = isTerminal ? new LiveScreen(console) : new PlainScreen(Console.Out);

    // A whole Stream API in this process; its five clients are the ones a remote server would be used with.
    await using var api = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: options.BrokerUrl));
    var clients = new ApiClients(
        api.GetSessionManagementClient(),
        api.GetDataFormatManagerClient(),
        api.GetPacketWriterClient(),
        api.GetConnectionManagerClient(),
        api.GetPacketReaderClient());

    await using var run = new LiveRun(clients, source, options.Speed) { Broker = api.BrokerName };
    var running = run.RunAsync(stop.Token);
    await screen.ShowAsync(run, running);
    var outcome = await running;
    new Report(console, isTerminal).Write(run, outcome);
    return outcome.IsAsWritten;
}

static IAnsiConsole PlainConsole()
{
    var console = AnsiConsole.Create(new AnsiConsoleSettings
    {
        Ansi = AnsiSupport.No,
        ColorSystem = ColorSystemSupport.NoColors,
        Interactive = InteractionSupport.No,
        Out = new AnsiConsoleOutput(Console.Out),
    });
    console.Profile.Width = 160;
    return console;
}
