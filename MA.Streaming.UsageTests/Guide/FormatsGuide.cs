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
        // One list of one data source has one identifier, for every caller. The order of the parameters counts.
        var registered = await formats.GetParameterDataFormatIdAsync(new() { DataSource = "Car44", Parameters = { "vCar", "nEngine" } });
        var lap = await formats.GetEventDataFormatIdAsync(new() { DataSource = "Car44", Event = "LapTrigger" });
        Console.WriteLine($"parameters: {registered.DataFormatIdentifier}, event: {lap.DataFormatIdentifier}");

        // Packets carry the number instead of the names. A reader asks for the names.
        var list = await formats.GetParametersListAsync(new() { DataSource = "Car44", DataFormatIdentifier = registered.DataFormatIdentifier });
        return list.Parameters;
    }
    // </guide>
}
