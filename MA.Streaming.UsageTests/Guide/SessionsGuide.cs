using MA.Streaming.API;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class SessionsGuide : GuideFixture
{
    [Test]
    public async Task Run()
    {
        await RunAsync(Api.GetSessionManagementClient(), Token);
        var key = Api.GetSessionManagementClient().GetCurrentSessions(new() { DataSource = "Car44" }).SessionKeys.Single();
        var info = Api.GetSessionManagementClient().GetSessionInfo(new() { SessionKey = key });
        Assert.That(info.IsComplete && info.Identifier == "FP1, dry" && info.Details["tyres"] == "medium" && info.Details["track"] == "Riverside", Is.True, info.ToString());
    }

    // <guide>
    private static async Task RunAsync(SessionManagementService.SessionManagementServiceClient sessions, CancellationToken token)
    {
        // Subscribe before the session starts. When the headers have come, no start is missed.
        using var starts = sessions.GetSessionStartNotification(new() { DataSource = "Car44" }, cancellationToken: token);
        await starts.ResponseHeadersAsync;

        // When it is answered, the session is durable and every rpc of this server knows it. You need no pause.
        var request = new CreateSessionRequest { DataSource = "Car44", Identifier = "FP1", Details = { ["track"] = "Riverside", ["tyres"] = "soft" } };
        var key = (await sessions.CreateSessionAsync(request, cancellationToken: token)).SessionKey;
        await starts.ResponseStream.MoveNext(token);
        Console.WriteLine($"started: {starts.ResponseStream.Current.SessionKey}");

        // Updates merge: details that you do not name stay.
        await sessions.UpdateSessionDetailsAsync(new() { SessionKey = key, Details = { ["tyres"] = "medium" } }, cancellationToken: token);
        await sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "FP1, dry" }, cancellationToken: token);

        var info = await sessions.GetSessionInfoAsync(new() { SessionKey = key }, cancellationToken: token);
        Console.WriteLine($"{info.Identifier}: {info.Details}, main stream from offset {info.MainOffset}");

        await sessions.EndSessionAsync(new() { DataSource = "Car44", SessionKey = key }, cancellationToken: token);
    }
    // </guide>
}
