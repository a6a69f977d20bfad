using System.Net;
using System.Net.Sockets;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>A TCP proxy that can go silent: connections stay open, and nothing comes through any more, as when a cable is pulled.</summary>
internal sealed class SilentProxy : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _tasks = [];
    private readonly List<TcpClient> _clients = [];
    private readonly IPEndPoint _target;
    private volatile bool _silent;

    public SilentProxy(string target)
    {
        var address = new Uri(target);
        _target = new IPEndPoint(IPAddress.Loopback, address.Port);
        _listener.Start();
        _tasks.Add(AcceptAsync());
    }

    public string Address => $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    public void GoSilent() => _silent = true;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        lock (_clients) _clients.ForEach(client => client.Dispose());
        await Task.WhenAll(_tasks.ToArray()).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            var client = await _listener.AcceptTcpClientAsync(_stop.Token);
            var server = new TcpClient();
            await server.ConnectAsync(_target, _stop.Token);
            client.NoDelay = server.NoDelay = true;
            lock (_clients) _clients.AddRange([client, server]);
            _tasks.Add(PumpAsync(client.GetStream(), server.GetStream()));
            _tasks.Add(PumpAsync(server.GetStream(), client.GetStream()));
        }
    }

    private async Task PumpAsync(NetworkStream from, NetworkStream to)
    {
        var buffer = new byte[16 << 10];
        while (await from.ReadAsync(buffer, _stop.Token) is > 0 and var count)
        {
            if (!_silent) await to.WriteAsync(buffer.AsMemory(0, count), _stop.Token);
        }
    }
}
