using MA.Streaming.API;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.DataFormats;

[TestFixture]
internal sealed class UnknownDataSourceTests
{
    [Test]
    public async Task GetParametersList_DataSourcesNobodyWroteTo_LeaveNothingOpen()
    {
        await using var api = await TestApi.StartAsync();
        var reads = api.Broker.ReadCalls;
        for (var i = 0; i < 100; i++)
        {
            var list = await api.Formats.GetParametersListAsync(new GetParametersListRequest { DataSource = $"Nobody{i}", DataFormatIdentifier = 7 })
                .ResponseAsync.WithDeadline();
            var name = await api.Formats.GetEventAsync(new GetEventRequest { DataSource = $"Nobody{i}", DataFormatIdentifier = 7 }).ResponseAsync.WithDeadline();
            Assert.That((list.Parameters.Count, name.Event), Is.EqualTo((0, "")));
        }

        Assert.That(api.Broker.ReadCalls, Is.EqualTo(reads));
    }
}
