using MA.Streaming.Proto.Client.Remote;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Client;

[TestFixture]
internal sealed class ServerAddressTests
{
    [TestCase("localhost:13579", false, "localhost:13579")]
    [TestCase(" localhost:13579 ", false, "localhost:13579")]
    [TestCase("http://localhost:13579/", false, "localhost:13579")]
    [TestCase("HTTPS://Server.example:443", true, "https://Server.example:443")]
    [TestCase("172.22.0.9:65535", false, "172.22.0.9:65535")]
    [TestCase("[::1]:1", false, "[::1]:1")]
    [TestCase("stream-api-server_1:13579", false, "stream-api-server_1:13579")]
    [TestCase("a:1,b:2 , a:1", false, "a:1,b:2")]
    [TestCase("https://a:1,https://b:2", true, "https://a:1,https://b:2")]
    [TestCase("http://a:1,b:2", false, "a:1,b:2")]
    public void Parse_Address_IsUnderstood(string text, bool isSecure, string shown)
    {
        var address = ServerAddress.Parse(text, "serverAddress");
        Assert.That((address.IsSecure, address.ToString()), Is.EqualTo((isSecure, shown)));
    }

    [TestCase("", "an empty part")]
    [TestCase(" ", "an empty part")]
    [TestCase("a:1,", "an empty part")]
    [TestCase("localhost", "'localhost' has no host and port")]
    [TestCase(":13579", "':13579' has no host and port")]
    [TestCase("http://localhost", "'http://localhost' has no host and port")]
    [TestCase("ftp://localhost:1", "'ftp://localhost:1' has no host and port")]
    [TestCase("http://localhost:1/path", "'http://localhost:1/path' has no host and port")]
    [TestCase("user@localhost:1", "'user@localhost:1' has no host and port")]
    [TestCase("::1:13579", "'::1:13579' has no host and port")]
    [TestCase("localhost:x", "'localhost:x' has no host and port")]
    [TestCase("a b:1", "'a b:1' has no host and port")]
    [TestCase("localhost:0", "the port of 'localhost:0'")]
    [TestCase("localhost:65536", "the port of 'localhost:65536'")]
    [TestCase("localhost:99999999999", "the port of 'localhost:99999999999'")]
    [TestCase("*:1", "'*' is not the name or address of a host")]
    [TestCase("[localhost]:1", "'localhost' is not")]
    [TestCase("https://a:1,b:2", "some of its parts are https and some are not")]
    public void Parse_NotAnAddress_IsRefusedWithValueAndWhatIsAllowed(string text, string why)
    {
        var refusal = Assert.Throws<ArgumentException>(() => RemoteStreamingApi.Connect(text))!;
        Assert.That(refusal.Message, Does.StartWith($"serverAddress = '{text}': ").And.Contain(why).And.Contain("allowed is host:port, http://host:port or https://host:port"));
    }
}
