using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>An HTTP/2 server that counts requests by their path and answers each as the test says: what a client does on its own shows.</summary>
internal sealed class RawServer : IAsyncDisposable
{
    private readonly WebApplication _host;
    private readonly ConcurrentDictionary<string, int> _requests = new();
    private int _connections;

    private RawServer(Func<HttpContext, Task> answer, X509Certificate2? certificate, int port, int streamsMax)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.Http2.MaxStreamsPerConnection = streamsMax;
            kestrel.Listen(IPAddress.Loopback, port, listener =>
            {
                listener.Protocols = HttpProtocols.Http2;
                listener.Use(next => connection =>
                {
                    Interlocked.Increment(ref _connections);
                    return next(connection);
                });
                if (certificate is not null) listener.UseHttps(certificate);
            });
        });
        if (certificate is not null) builder.WebHost.UseKestrelHttpsConfiguration();
        _host = builder.Build();
        _host.Run(async context =>
        {
            _requests.AddOrUpdate(context.Request.Path, 1, (_, count) => count + 1);
            await answer(context);
        });
    }

    /// <summary>host:port.</summary>
    public string Address => new Uri(_host.Urls.Single()).Authority;

    /// <summary>How many TCP connections it has accepted.</summary>
    public int Connections => Volatile.Read(ref _connections);

    public static async Task<RawServer> StartAsync(
        Func<HttpContext, Task> answer, CancellationToken token, X509Certificate2? certificate = null, int port = 0, int streamsMax = 100)
    {
        var server = new RawServer(answer, certificate, port, streamsMax);
        await server._host.StartAsync(token);
        return server;
    }

    /// <summary>Ends a call with a status and nothing else.</summary>
    public static Task Status(HttpContext context, StatusCode status)
    {
        context.Response.ContentType = "application/grpc";
        context.Response.Headers["grpc-status"] = $"{(int)status}";
        context.Response.Headers["grpc-message"] = "as the test says";
        return Task.CompletedTask;
    }

    /// <summary>Takes the whole request and answers OK with one message.</summary>
    public static async Task Message(HttpContext context, byte[] message)
    {
        await context.Request.Body.CopyToAsync(Stream.Null);
        context.Response.ContentType = "application/grpc";
        context.Response.Headers.Append("Trailer", "grpc-status");
        byte[] length = [0, (byte)(message.Length >> 24), (byte)(message.Length >> 16), (byte)(message.Length >> 8), (byte)message.Length];
        await context.Response.Body.WriteAsync(length);
        await context.Response.Body.WriteAsync(message);
        context.Response.AppendTrailer("grpc-status", "0");
    }

    /// <summary>Takes the whole request, then breaks the connection without a word.</summary>
    public static async Task TakeAndBreak(HttpContext context)
    {
        await context.Request.Body.CopyToAsync(Stream.Null);
        context.Features.Get<Microsoft.AspNetCore.Connections.Features.IConnectionLifetimeFeature>()!.Abort();
    }

    public int RequestsOf(string path) => _requests.GetValueOrDefault(path);

    public int Requests => _requests.Values.Sum();

    public ValueTask DisposeAsync() => _host.DisposeAsync();
}
