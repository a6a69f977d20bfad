using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>
/// Opens connections to the first of several servers that answers, beginning with the one that answered last: who has connections on a
/// server comes back to it as long as it lives.
/// </summary>
internal sealed class ServerDialer(ServerAddress address, RemoteStreamingApiOptions options)
{
    private int _current;

    /// <summary>A connection, secured where the address says so.</summary>
    /// <exception cref="IOException">Nobody answered: says of each server why.</exception>
    public async ValueTask<Stream> ConnectAsync(CancellationToken cancellationToken)
    {
        var first = Volatile.Read(ref _current);
        var failures = new List<string>();
        Exception? last = null;
        for (var i = 0; i < address.Endpoints.Count; i++)
        {
            var at = (first + i) % address.Endpoints.Count;
            var endpoint = address.Endpoints[at];
            using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            timeout.CancelAfter(options.ConnectTimeout);
            try
            {
                var stream = await ConnectAsync(endpoint, timeout.Token).ConfigureAwait(false);
                Volatile.Write(ref _current, at);
                return stream;
            }
            catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
            {
                last = exception;
                failures.Add($"{endpoint}: no answer within {options.ConnectTimeout.TotalSeconds} s");
            }
            catch (Exception exception) when (exception is SocketException or IOException or AuthenticationException)
            {
                last = exception;
                failures.Add($"{endpoint}: {exception.Message}");
            }
        }

        throw new IOException($"no connection to the server: {string.Join("; ", failures)}", last);
    }

    private async Task<Stream> ConnectAsync(ServerEndpoint endpoint, CancellationToken cancellationToken)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        Stream? stream = null;
        try
        {
            await socket.ConnectAsync(new DnsEndPoint(endpoint.Host, endpoint.Port), cancellationToken).ConfigureAwait(false);
            stream = new NetworkStream(socket, ownsSocket: true);
            if (!address.IsSecure) return stream;
            var secured = new SslStream(stream);
            stream = secured;
            await secured.AuthenticateAsClientAsync(TlsOf(endpoint), cancellationToken).ConfigureAwait(false);
            return secured;
        }
        catch
        {
            if (stream is not null) await stream.DisposeAsync().ConfigureAwait(false);
            socket.Dispose();
            throw;
        }
    }

    // A copy, because the name differs from server to server.
    private SslClientAuthenticationOptions TlsOf(ServerEndpoint endpoint)
    {
        var tls = options.Tls ?? new SslClientAuthenticationOptions();
        return new SslClientAuthenticationOptions
        {
            TargetHost = string.IsNullOrEmpty(tls.TargetHost) ? endpoint.Host : tls.TargetHost,
            ApplicationProtocols = [SslApplicationProtocol.Http2],
            AllowRenegotiation = tls.AllowRenegotiation,
            AllowTlsResume = tls.AllowTlsResume,
            CertificateChainPolicy = tls.CertificateChainPolicy,
            CertificateRevocationCheckMode = tls.CertificateRevocationCheckMode,
            CipherSuitesPolicy = tls.CipherSuitesPolicy,
            ClientCertificateContext = tls.ClientCertificateContext,
            ClientCertificates = tls.ClientCertificates,
            EnabledSslProtocols = tls.EnabledSslProtocols,
            EncryptionPolicy = tls.EncryptionPolicy,
            LocalCertificateSelectionCallback = tls.LocalCertificateSelectionCallback,
            RemoteCertificateValidationCallback = tls.RemoteCertificateValidationCallback,
        };
    }
}
