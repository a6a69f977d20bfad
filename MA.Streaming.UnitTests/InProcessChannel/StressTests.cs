using Grpc.Core;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.InProcessChannel;

/// <summary>Many calls of all kinds, cancelled at random: every one ends, and no failure goes unobserved.</summary>
[TestFixture]
internal sealed class StressTests
{
    [Test]
    public async Task AllKinds_RandomCancels_EveryCallEnds()
    {
        var unobserved = new List<Exception>();
        void Note(object? sender, UnobservedTaskExceptionEventArgs args)
        {
            lock (unobserved) unobserved.Add(args.Exception);
        }

        var open = 0;
        var service = new ChannelService
        {
            OnEcho = async (request, context) =>
            {
                await Task.Yield();
                if (request.Value == "fail") throw new RpcException(new Status(StatusCode.Aborted, "asked to"));
                context.CancellationToken.ThrowIfCancellationRequested();
                return request;
            },
            OnChat = async (requests, responses, context) =>
            {
                Interlocked.Increment(ref open);
                try
                {
                    while (await requests.MoveNext(context.CancellationToken)) await responses.WriteAsync(new Text(requests.Current));
                }
                finally
                {
                    Interlocked.Decrement(ref open);
                }
            },
            OnSplit = async (request, responses, context) =>
            {
                Interlocked.Increment(ref open);
                try
                {
                    for (var i = 0; i < 600; i++) await responses.WriteAsync(request, context.CancellationToken);
                }
                finally
                {
                    Interlocked.Decrement(ref open);
                }
            },
        };
        var client = service.Client();
        TaskScheduler.UnobservedTaskException += Note;
        try
        {
            var workers = Enumerable.Range(0, 4).Select(seed => Task.Run(async () =>
            {
                var random = new Random(seed);
                for (var i = 0; i < 1_000; i++) await OneAsync(client, random);
            }));
            await Task.WhenAll(workers).WithDeadline(60);
            await Until.TrueAsync(() => Volatile.Read(ref open) == 0);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
        }
        finally
        {
            TaskScheduler.UnobservedTaskException -= Note;
        }

        Assert.That(unobserved.Where(e => e.ToString().Contains("InProcess", StringComparison.Ordinal)), Is.Empty);
    }

    private static async Task OneAsync(Trial.TrialClient client, Random random)
    {
        using var source = new CancellationTokenSource();
        var token = source.Token;
        var cancel = random.Next(3);
        Task Later() => cancel == 0 ? Task.Run(source.Cancel) : Task.CompletedTask;
        try
        {
            switch (random.Next(4))
            {
                case 0:
                    using (var call = client.EchoAsync(new Text { Value = random.Next(4) == 0 ? "fail" : "x" }, cancellationToken: token))
                    {
                        await Later();
                        if (cancel != 1) await call.ResponseAsync.WithDeadline();
                    }

                    break;
                case 1:
                    using (var call = client.Join(cancellationToken: token))
                    {
                        for (var i = 0; i < random.Next(20); i++) await call.RequestStream.WriteAsync(new Text { Value = "w" }).WithDeadline();
                        await Later();
                        if (cancel != 1) await call.RequestStream.CompleteAsync().WithDeadline();
                        if (cancel != 1) await call.ResponseAsync.WithDeadline();
                    }

                    break;
                case 2:
                    using (var call = client.Split(new Text { Value = "s" }, cancellationToken: token))
                    {
                        var later = Later();
                        var take = cancel == 1 ? random.Next(300) : int.MaxValue;
                        for (var i = 0; i < take && await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(); i++)
                        {
                        }

                        await later;
                    }

                    break;
                default:
                    using (var call = client.Chat(cancellationToken: token))
                    {
                        var later = Later();
                        for (var i = 0; i < random.Next(20); i++)
                        {
                            await call.RequestStream.WriteAsync(new Text { Value = "c" }).WithDeadline();
                            await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline();
                        }

                        await later;
                        if (cancel == 1) break;
                        await call.RequestStream.CompleteAsync().WithDeadline();
                        while (await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline())
                        {
                        }
                    }

                    break;
            }
        }
        catch (RpcException exception) when (exception.StatusCode is StatusCode.Cancelled or StatusCode.Aborted)
        {
            // As asked.
        }
        catch (OperationCanceledException)
        {
            // As asked.
        }
    }
}
