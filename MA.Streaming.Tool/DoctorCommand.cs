using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace MA.Streaming.Tool;

/// <summary><c>streamapi doctor</c>: what keeps a server from working, and what to do about it.</summary>
internal static class DoctorCommand
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { WriteIndented = true, Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) } };

    public static Command Create()
    {
        var command = new Command(
            "doctor",
            """
            Checks configuration, ports, broker, data folder, log and native libraries of a server with these settings, and says what to do.

            It takes the settings that serve takes and changes nothing; the whole log is read unless --quick is given. Exit code 1 means
            that something keeps the server from working.
            """);
        var settings = new ServerSettings(command);
        var quick = new Option<bool>("--quick") { Description = "Leave out reading the log." };
        var json = new Option<bool>("--json") { Description = "Say it as JSON: { \"ok\", \"findings\": [ { \"check\", \"outcome\", \"found\", \"advice\" } ] }." };
        command.Add(quick);
        command.Add(json);
        command.SetAction(async (parsed, _) =>
        {
            ClosedOutput.EndsTheProcess();
            var doctor = new Doctor(parsed.GetValue(quick));
            if (doctor.Configuration(log => settings.Read(parsed, log)) is { } options) await doctor.ExamineAsync(options).ConfigureAwait(false);
            var output = parsed.InvocationConfiguration.Output;
            await output.WriteLineAsync(parsed.GetValue(json) ? JsonSerializer.Serialize(new { ok = doctor.IsWell, findings = doctor.Findings }, Json) : InWords(doctor)).ConfigureAwait(false);
            return doctor.IsWell ? ExitCode.Done : ExitCode.Failed;
        });
        return command;
    }

    private static string InWords(Doctor doctor)
    {
        var width = doctor.Findings.Max(finding => finding.Check.Length);
        var lines = doctor.Findings.SelectMany(finding => finding.Advice.Length == 0
            ? [Line(finding)]
            : new[] { Line(finding), $"{new string(' ', 10 + width)}→ {finding.Advice}" });
        return string.Join(Environment.NewLine, lines.Append(doctor.IsWell ? "Nothing keeps the server from working." : "The server cannot work like this."));

        string Line(Finding finding)
        {
            var outcome = finding.Outcome switch { Outcome.Ok => "ok", Outcome.Warning => "warning", _ => "PROBLEM" };
            return $"{outcome,-7}  {finding.Check.PadRight(width)} {finding.Found}";
        }
    }
}
