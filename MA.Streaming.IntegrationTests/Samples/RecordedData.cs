using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>Logs of real cars, which stand beside the repository on some machines.</summary>
internal static class RecordedData
{
    public static readonly string[] Names = ["racecapture-sonoma", "subaru-wrx-sti/can", "subaru-wrx-sti/accessport"];

    /// <summary>The folder of a log; ignores the test where it is not there.</summary>
    public static string Require(string name)
    {
        var folder = Path.GetFullPath(Path.Combine(SampleProgram.Root, "..", "shared", "data", name));
        if (!Directory.Exists(folder)) Assert.Ignore($"the recorded log {name} is not on this machine (looked for ../shared/data/{name} beside the repository)");
        return folder;
    }
}
