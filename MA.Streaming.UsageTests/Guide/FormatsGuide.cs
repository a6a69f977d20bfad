using MA.Streaming.API;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class FormatsGuide : GuideFixture
{
    [Test]
    public async Task Run() => Assert.That(await RunAsync(Api.GetDataFormatManagerClient()), Is.EqualTo(new[] { "vCar", "nEngine" }));

    // <guide>
    private static async Task<IEnumerable<string>> RunAsync(DataFormatManagerService.DataFormatManagerServiceClient formats)
    {
        // The same list of the same data source has one identifier, whoever asks and however many at once. The order counts.
        var registered = await formats.GetParameterDataFormatIdAsync(new() { DataSource = "Car44", Parameters = { "vCar", "nEngine" } });
        var lap = await formats.GetEventDataFormatIdAsync(new() { DataSource = "Car44", Event = "LapTrigger" });
        Console.WriteLine($"parameters: {registered.DataFormatIdentifier}, event: {lap.DataFormatIdentifier}");

        // Packets then carry the number instead of the names; a reader asks what it stands for.
        var list = await formats.GetParametersListAsync(new() { DataSource = "Car44", DataFormatIdentifier = registered.DataFormatIdentifier });
        return list.Parameters;
    }
    // </guide>
}
