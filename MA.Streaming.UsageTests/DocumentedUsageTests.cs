using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UsageTests;

/// <summary>The documented programs, in the shapes people wrote them: with the Stream API in their process, and with a server's.</summary>
[TestFixture(false)]
[TestFixture(true)]
[NonParallelizable]
public sealed class DocumentedUsageTests(bool overNetwork)
{
    private const string DataSource = "TelemetrySource";

    private CancellationTokenSource _deadline = null!;

    private CancellationToken Token => _deadline.Token;

    [SetUp]
    public async Task Start()
    {
        _deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await Api.StartAsync(overNetwork, batchingResponses: true);
    }

    [TearDown]
    public async Task Stop()
    {
        await Api.StopAsync();
        _deadline.Dispose();
    }

    [Test]
    public async Task QuickStart_SessionNamedOnlyInTheMessage_IsReadBackThroughItsSession()
    {
        var session = Api.GetSessionManagementClient().CreateSession(
            new CreateSessionRequest { DataSource = DataSource, Type = "Practice", Version = 1, Identifier = "FP1" });
        Assert.That(session.Success);

        var writer = Api.GetPacketWriterClient();
        await writer.WriteDataPacketAsync(new WriteDataPacketRequest
        {
            Detail = new DataPacketDetails { DataSource = DataSource, Message = new Packet { Type = "Lap", SessionKey = "another", Id = 1 } },
        }).ResponseAsync.WithDeadline(30);
        await writer.WriteDataPacketAsync(new WriteDataPacketRequest
        {
            Detail = new DataPacketDetails
            {
                DataSource = DataSource,
                Message = new Packet
                {
                    Type = "PeriodicData",
                    SessionKey = session.SessionKey,
                    Id = 2,
                    Content = new PeriodicDataPacket { StartTime = 1, Interval = 100 }.ToByteString(),
                },
            },
        }).ResponseAsync.WithDeadline(30);

        var connection = Connect(new ConnectionDetails { DataSource = DataSource, SessionKey = session.SessionKey });
        var packets = await ReadAsync(connection, 1);
        Assert.That(packets.Select(p => p.Packet.Id), Is.EqualTo([2]));
        Assert.That(packets[0].Packet.SessionKey, Is.EqualTo(session.SessionKey));
        Assert.That(packets[0].Stream, Is.Empty);
        Assert.That(packets[0].SubmitTime, Is.Not.Null);

        var ended = Api.GetSessionManagementClient().EndSession(
            new EndSessionRequest { DataSource = DataSource, SessionKey = session.SessionKey });
        Assert.That(ended.Success);
    }

    [Test]
    public void CreateSession_WithAChosenKeyAndSessionInfo_IsUpdatedByUpdateSessionInfo()
    {
        var sessions = Api.GetSessionManagementClient();
        var key = Guid.NewGuid().ToString();
        var created = sessions.CreateSession(new CreateSessionRequest
        {
            DataSource = DataSource,
            SessionKey = key,
            SessionInfo = new SessionInfoPacket { Identifier = "Race", Type = "Session", Version = 1, Details = { { "track", "Spa" } } },
        });
        Assert.That(created.Success);
        Assert.That(created.SessionKey, Is.EqualTo(key));

        var updated = sessions.UpdateSessionInfo(new UpdateSessionInfoRequest
        {
            SessionKey = key,
            SessionInfo = new SessionInfoPacket { Identifier = "Race 1", Details = { { "driver", "HAM" } }, AssociateSessionKeys = { "parent" } },
        });
        Assert.That(updated.Success);

        var info = sessions.GetSessionInfo(new GetSessionInfoRequest { SessionKey = key });
        Assert.Multiple(() =>
        {
            Assert.That(info.Success);
            Assert.That(info.DataSource, Is.EqualTo(DataSource));
            Assert.That(info.Identifier, Is.EqualTo("Race 1"));
            Assert.That(info.Details, Is.EquivalentTo(new Dictionary<string, string> { ["track"] = "Spa", ["driver"] = "HAM" }));
            Assert.That(info.AssociateSessionKeys, Is.EqualTo(["parent"]));
            Assert.That(info.UtcOffset, Is.EqualTo(new Duration()));
            Assert.That(info.IsComplete, Is.False);
        });
        Assert.That(sessions.GetCurrentSessions(new GetCurrentSessionsRequest { DataSource = DataSource }).SessionKeys, Is.EqualTo([key]));
        Assert.That(sessions.EndSession(new EndSessionRequest { SessionKey = key }).Success, "the key alone finds the session");
    }

    [Test]
    public async Task Sessions_StartAndStop_AreNotified()
    {
        var sessions = Api.GetSessionManagementClient();
        using var starts = sessions.GetSessionStartNotification(new GetSessionStartNotificationRequest { DataSource = DataSource }, cancellationToken: Token);
        using var stops = sessions.GetSessionStopNotification(new GetSessionStopNotificationRequest { DataSource = DataSource }, cancellationToken: Token);
        await starts.ResponseHeadersAsync.WithDeadline(30);
        await stops.ResponseHeadersAsync.WithDeadline(30);

        var key = sessions.CreateSession(new CreateSessionRequest { DataSource = DataSource }).SessionKey;
        Assert.That(await starts.ResponseStream.MoveNext(Token));
        Assert.That(starts.ResponseStream.Current.SessionKey, Is.EqualTo(key));
        sessions.EndSession(new EndSessionRequest { DataSource = DataSource, SessionKey = key });
        Assert.That(await stops.ResponseStream.MoveNext(Token));
        Assert.That(stops.ResponseStream.Current.SessionKey, Is.EqualTo(key));
    }

    [Test]
    public void Connection_NewGetClose_EchoesDetailsAndClosesTwice()
    {
        var connections = Api.GetConnectionManagerClient();
        var details = new ConnectionDetails
        {
            DataSource = DataSource,
            SessionKey = "session",
            Streams = { "Stream1", "Stream2" },
            StreamOffsets = { 0, -1 },
            MainOffset = 0,
            EssentialsOffset = 0,
            ExcludeMainStream = true,
        };
        var connection = connections.NewConnection(new NewConnectionRequest { Details = details }).Connection;
        Assert.That(connections.GetConnection(new GetConnectionRequest { Connection = connection }).Details, Is.EqualTo(details));
        Assert.That(connections.CloseConnection(new CloseConnectionRequest { Connection = connection }).Success);
        Assert.That(connections.CloseConnection(new CloseConnectionRequest { Connection = connection }).Success, Is.False);
        Assert.That(connections.GetConnection(new GetConnectionRequest { Connection = connection }).Details, Is.Null);
    }

    [Test]
    public async Task ClientStream_WhoseResponseNobodyAwaits_DeliversEveryPacket()
    {
        const int Messages = 200;
        const int PacketsAMessage = 5;
        using var call = await WriteBatchesAsync(Messages, PacketsAMessage);

        // In process the call may go at once; over the network that would reset it, and what is on the way would be lost.
        if (!overNetwork) call.Dispose();

        var connection = Connect(new ConnectionDetails { DataSource = DataSource, Streams = { "Stream1" }, ExcludeMainStream = true });
        var packets = await ReadAsync(connection, Messages * PacketsAMessage);
        Assert.That(packets.Select(p => p.Packet.Id), Is.EqualTo(Enumerable.Range(1, Messages * PacketsAMessage)));
        Assert.That(packets.Select(p => p.Stream).Distinct(), Is.EqualTo(["Stream1"]));

        // The documented batch example: the call is left to itself once it is completed.
        static async Task<IDisposable> WriteBatchesAsync(int messages, int packetsAMessage)
        {
            var call = Api.GetPacketWriterClient().WriteDataPackets();
            var id = 0UL;
            for (var i = 0; i < messages; i++)
            {
                var request = new WriteDataPacketsRequest();
                for (var j = 0; j < packetsAMessage; j++) request.Details.Add(Detail("Stream1", ++id));
                await call.RequestStream.WriteAsync(request).WithDeadline(30);
            }

            await call.RequestStream.CompleteAsync().WithDeadline(30);
            return call;
        }
    }

    [Test]
    public async Task ClientStream_WhoseResponseIsAwaited_AnswersOnceDurable()
    {
        using var call = Api.GetPacketWriterClient().WriteDataPackets(cancellationToken: Token);
        await call.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { Detail("", 1), Detail("", 2) } }).WithDeadline(30);
        await call.RequestStream.CompleteAsync().WithDeadline(30);
        Assert.That(await call.ResponseAsync.WithDeadline(30), Is.Not.Null);
        Assert.That((await ReadAsync(Connect(new ConnectionDetails { DataSource = DataSource }), 2)).Select(p => p.Packet.Id), Is.EqualTo([1, 2]));
    }

    [Test]
    public async Task InfoPackets_SingleAndStreamed_AreAcknowledged()
    {
        var writer = Api.GetPacketWriterClient();
        var packet = new Packet
        {
            Type = "SystemStatusMessage",
            Content = new SystemStatusMessage { Service = "logger", DataSource = DataSource, Type = SystemStatusType.Heartbeat }.ToByteString(),
        };
        await writer.WriteInfoPacketAsync(new WriteInfoPacketRequest { Message = packet, Type = InfoType.SystemStatus }).ResponseAsync.WithDeadline(30);
        using var call = writer.WriteInfoPackets(cancellationToken: Token);
        await call.RequestStream.WriteAsync(new WriteInfoPacketsRequest { Message = packet, Type = InfoType.SystemStatus }).WithDeadline(30);
        await call.RequestStream.CompleteAsync().WithDeadline(30);
        Assert.That(await call.ResponseAsync.WithDeadline(30), Is.Not.Null);
    }

    [Test]
    public async Task Reader_ThreeKindsAtOnceOnOneConnection_EachGetsItsPackets()
    {
        var writer = Api.GetPacketWriterClient();
        var essential = Detail("", 1);
        essential.Message.Type = "Configuration";
        essential.Message.IsEssential = true;
        writer.WriteDataPacket(new WriteDataPacketRequest { Detail = essential });
        var connection = Connect(new ConnectionDetails { DataSource = DataSource });
        var reader = Api.GetPacketReaderClient();

        using var packets = reader.ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: Token);
        using var essentials = reader.ReadEssentials(new ReadEssentialsRequest { Connection = connection }, cancellationToken: Token);
        using var data = reader.ReadDataPackets(
            new ReadDataPacketsRequest { Request = new DataPacketRequest { Connection = connection, IncludeMarkers = true } }, cancellationToken: Token);
        writer.WriteDataPacket(new WriteDataPacketRequest { Detail = Detail("", 2) });
        var marker = Detail("", 3);
        marker.Message.Type = "Marker";
        marker.Message.Content = new MarkerPacket { Label = "Lap 2", Type = "Lap Trigger", Value = 2 }.ToByteString();
        writer.WriteDataPacket(new WriteDataPacketRequest { Detail = marker });

        Assert.That(await TakeAsync(packets.ResponseStream.ReadAllAsync(Token), r => r.Response, 3), Is.EqualTo([1, 2, 3]));
        Assert.That(await TakeAsync(essentials.ResponseStream.ReadAllAsync(Token), r => r.Response, int.MaxValue), Is.EqualTo([1]));
        Assert.That(await TakeAsync(data.ResponseStream.ReadAllAsync(Token), r => r.Response, 2), Is.EqualTo([2, 3]));
        Assert.That(essentials.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK), "a read of essentials ends by itself");

        static async Task<List<ulong>> TakeAsync<T>(IAsyncEnumerable<T> responses, Func<T, IEnumerable<PacketResponse>> of, int count)
        {
            var ids = new List<ulong>();
            await foreach (var response in responses)
            {
                ids.AddRange(of(response).Select(r => r.Packet.Id));
                if (ids.Count >= count) break;
            }

            return ids;
        }
    }

    [Test]
    public async Task Reader_WithoutBatching_GetsOnePacketAResponse()
    {
        await Api.StopAsync();
        await Api.StartAsync(overNetwork, batchingResponses: false);
        for (var id = 1UL; id <= 3; id++) Write("", id);
        var connection = Connect(new ConnectionDetails { DataSource = DataSource });
        using var call = Api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection });
        for (var id = 1UL; id <= 3; id++)
        {
            Assert.That(await call.ResponseStream.MoveNext(Token));

            // Some programs take the first one without a look at the count.
            Assert.That(call.ResponseStream.Current.Response, Has.Count.EqualTo(1));
            Assert.That(call.ResponseStream.Current.Response[0].Packet.Id, Is.EqualTo(id));
        }
    }

    [Test]
    public async Task Reader_AsksForConnectionAndSessionAfterEveryMessage_FindsThem()
    {
        var sessions = Api.GetSessionManagementClient();
        var key = sessions.CreateSession(new CreateSessionRequest { DataSource = DataSource, Identifier = "FP2" }).SessionKey;
        for (var id = 1UL; id <= 20; id++) Write("", id, key);
        var connections = Api.GetConnectionManagerClient();
        var connection = Connect(new ConnectionDetails { DataSource = DataSource, SessionKey = key });
        using var call = Api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection });
        var seen = 0;
        while (seen < 20 && await call.ResponseStream.MoveNext(Token))
        {
            seen += call.ResponseStream.Current.Response.Count;
            Assert.That(connections.GetConnection(new GetConnectionRequest { Connection = connection }).Details.SessionKey, Is.EqualTo(key));
            Assert.That(sessions.GetSessionInfo(new GetSessionInfoRequest { SessionKey = key }).Identifier, Is.EqualTo("FP2"));
        }

        Assert.That(seen, Is.EqualTo(20));
    }

    [Test]
    public async Task CloseConnection_FromAnotherTask_EndsTheReadingLoop()
    {
        for (var id = 1UL; id <= 10; id++) Write("", id);
        var connection = Connect(new ConnectionDetails { DataSource = DataSource });
        var allRead = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var token = Token;
        var reading = Task.Run(
            async () =>
            {
                var count = 0;
                using var call = Api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection });
                await foreach (var response in call.ResponseStream.ReadAllAsync(token))
                {
                    count += response.Response.Count;
                    if (count == 10) allRead.TrySetResult();
                }

                return (count, call.GetStatus().StatusCode);
            },
            token);

        await allRead.Task.WithDeadline(30);
        Assert.That(reading.IsCompleted, Is.False, "a read stays open until somebody ends it");
        var closed = await Api.GetConnectionManagerClient()
            .CloseConnectionAsync(new CloseConnectionRequest { Connection = connection }).ResponseAsync.WithDeadline(30);
        Assert.That(closed.Success);
        Assert.That(await reading.WithDeadline(30), Is.EqualTo((10, StatusCode.OK)));
    }

    [Test]
    public void DataFormats_ParametersAndEvent_ResolveToWhatWasRegistered()
    {
        var formats = Api.GetDataFormatManagerClient();
        var parameters = formats.GetParameterDataFormatId(
            new GetParameterDataFormatIdRequest { DataSource = DataSource, Parameters = { "vCar:Chassis", "nEngine:Controller" } }).DataFormatIdentifier;
        var again = formats.GetParameterDataFormatId(
            new GetParameterDataFormatIdRequest { DataSource = DataSource, Parameters = { "vCar:Chassis", "nEngine:Controller" } }).DataFormatIdentifier;
        var @event = formats.GetEventDataFormatId(new GetEventDataFormatIdRequest { DataSource = DataSource, Event = "Gear:Controller" }).DataFormatIdentifier;
        Assert.That(parameters, Is.Not.Zero);
        Assert.That(again, Is.EqualTo(parameters));
        Assert.That(@event, Is.Not.EqualTo(parameters));
        Assert.That(
            formats.GetParametersList(new GetParametersListRequest { DataSource = DataSource, DataFormatIdentifier = parameters }).Parameters,
            Is.EqualTo(["vCar:Chassis", "nEngine:Controller"]));
        Assert.That(formats.GetEvent(new GetEventRequest { DataSource = DataSource, DataFormatIdentifier = @event }).Event, Is.EqualTo("Gear:Controller"));
    }

    [Test]
    public async Task AllFormats_ReadingEssentialsToTheirEnd_FindsEveryDefinition()
    {
        var formats = Api.GetDataFormatManagerClient();
        var ids = new List<ulong>();
        for (var i = 0; i < 5; i++)
        {
            ids.Add(formats.GetParameterDataFormatId(
                new GetParameterDataFormatIdRequest { DataSource = DataSource, Parameters = { $"p{i}" } }).DataFormatIdentifier);
        }

        var connection = Connect(new ConnectionDetails { DataSource = DataSource });
        var found = new List<DataFormatDefinitionPacket>();
        using var call = Api.GetPacketReaderClient().ReadEssentials(new ReadEssentialsRequest { Connection = connection });
        await foreach (var response in call.ResponseStream.ReadAllAsync(Token))
        {
            foreach (var packet in response.Response.Select(r => r.Packet).Where(p => p.Type == "DataFormatDefinition"))
            {
                found.Add(DataFormatDefinitionPacket.Parser.ParseFrom(packet.Content));
            }
        }

        Assert.That(found.Select(f => f.Identifier), Is.EqualTo(ids));
        Assert.That(found.Select(f => f.ParameterIdentifiers.ParameterIdentifiers.Single()), Is.EqualTo(["p0", "p1", "p2", "p3", "p4"]));
        Assert.That(Api.GetConnectionManagerClient().CloseConnection(new CloseConnectionRequest { Connection = connection }).Success);
    }

    [Test]
    public async Task ReadDataPackets_JsonContent_IsFilteredByItsPropertyNames()
    {
        var writer = Api.GetPacketWriterClient();
        string[] contents = ["{\"Speed\":212.5,\"Gear\":7}", "{\"Temperature\":93}", "{\"Speed\":213.0}"];
        foreach (var content in contents)
        {
            await writer.WriteDataPacketAsync(new WriteDataPacketRequest
            {
                Detail = new DataPacketDetails
                {
                    DataSource = DataSource,
                    Stream = "Telemetry",
                    SessionKey = "session",
                    Message = new Packet { Type = "PeriodicData", SessionKey = "session", Content = ByteString.CopyFromUtf8(content) },
                },
            }).ResponseAsync.WithDeadline(30);
        }

        var connection = Connect(new ConnectionDetails { DataSource = DataSource, SessionKey = "session", Streams = { "Telemetry" } });
        using var call = Api.GetPacketReaderClient().ReadDataPackets(new ReadDataPacketsRequest
        {
            Request = new DataPacketRequest { Connection = connection, IncludeParameters = { "^Speed$" } },
        });
        var read = new List<string>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(Token))
        {
            read.AddRange(response.Response.Select(r => Encoding.UTF8.GetString(r.Packet.Content.Span)));
            if (read.Count == 2) break;
        }

        Assert.That(read, Is.EqualTo([contents[0], contents[2]]));
        Assert.That((await ReadAsync(connection, 3)).Select(p => p.Packet.Content.ToStringUtf8()), Is.EqualTo(contents));
    }

    [Test]
    public async Task ReadDataPackets_RegisteredFormats_AreFilteredByParameterAndEvent()
    {
        var formats = Api.GetDataFormatManagerClient();
        var speed = formats.GetParameterDataFormatId(new GetParameterDataFormatIdRequest { DataSource = DataSource, Parameters = { "vCar" } });
        var engine = formats.GetParameterDataFormatId(new GetParameterDataFormatIdRequest { DataSource = DataSource, Parameters = { "nEngine" } });
        WriteData(1, speed.DataFormatIdentifier);
        WriteData(2, engine.DataFormatIdentifier);
        WriteData(3, speed.DataFormatIdentifier);
        var connection = Connect(new ConnectionDetails { DataSource = DataSource });
        using var call = Api.GetPacketReaderClient().ReadDataPackets(new ReadDataPacketsRequest
        {
            Request = new DataPacketRequest { Connection = connection, IncludeParameters = { "vCar", "^gLat" }, ExcludeParameters = { "^n" } },
        });
        var ids = new List<ulong>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(Token))
        {
            ids.AddRange(response.Response.Select(r => r.Packet.Id));
            if (ids.Count == 2) break;
        }

        Assert.That(ids, Is.EqualTo([1, 3]));

        static void WriteData(ulong id, ulong format)
        {
            var detail = Detail("", id);
            detail.Message.Content = new PeriodicDataPacket
            {
                DataFormat = new SampleDataFormat { DataFormatIdentifier = format },
                StartTime = 1,
                Interval = 10,
                Columns =
                {
                    new SampleColumn
                    {
                        DoubleSamples = new DoubleSampleList { Samples = { new DoubleSample { Value = 1.5, Status = DataStatus.Valid } } },
                    },
                },
            }.ToByteString();
            Api.GetPacketWriterClient().WriteDataPacket(new WriteDataPacketRequest { Detail = detail });
        }
    }

    [Test]
    public async Task Errors_OfMistakenCalls_AreRpcExceptionsThatNameTheMistake()
    {
        var writer = Api.GetPacketWriterClient();
        var reader = Api.GetPacketReaderClient();
        try
        {
            await writer.WriteDataPacketAsync(new WriteDataPacketRequest
            {
                Detail = new DataPacketDetails { DataSource = "Car 44", Message = new Packet { Type = "PeriodicData" } },
            }).ResponseAsync.WithDeadline(30);
            Assert.Fail("a space is not allowed in the name of a data source");
        }
        catch (RpcException ex) when (ex.StatusCode == StatusCode.InvalidArgument)
        {
            Assert.That(ex.Status.Detail, Does.Contain("data_source").And.Contain("Car 44"));
        }

        AssertFails(() => writer.WriteDataPacket(new WriteDataPacketRequest()), StatusCode.InvalidArgument, "detail");
        AssertFails(
            () => writer.WriteDataPacket(new WriteDataPacketRequest { Detail = new DataPacketDetails { DataSource = DataSource } }),
            StatusCode.InvalidArgument,
            "message");
        AssertFails(
            () => Api.GetConnectionManagerClient().NewConnection(
                new NewConnectionRequest { Details = new ConnectionDetails { DataSource = DataSource, MainOffset = -2 } }),
            StatusCode.InvalidArgument,
            "main_offset");

        using var unknown = reader.ReadPackets(new ReadPacketsRequest { Connection = new Connection { Id = 42 } });
        var notFound = await Assert.ThrowsAsync<RpcException>(() => unknown.ResponseStream.MoveNext(Token));
        Assert.That(notFound!.StatusCode, Is.EqualTo(StatusCode.NotFound));
        Assert.That(notFound.Status.Detail, Does.Contain("42"));

        using var badPattern = reader.ReadDataPackets(new ReadDataPacketsRequest
        {
            Request = new DataPacketRequest { Connection = Connect(new ConnectionDetails { DataSource = DataSource }), IncludeParameters = { "(" } },
        });
        var invalid = await Assert.ThrowsAsync<RpcException>(() => badPattern.ResponseStream.MoveNext(Token));
        Assert.That(invalid!.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(invalid.Status.Detail, Does.Contain("include_parameters").And.Contain("'('"));

        var stream = writer.WriteDataPackets();
        await stream.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { Detail("", 1), Detail("", 2) } }).WithDeadline(30);
        await stream.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { new DataPacketDetails { DataSource = DataSource } } }).WithDeadline(30);
        var refused = await Assert.ThrowsAsync<RpcException>(() => stream.ResponseAsync.WithDeadline(30));
        Assert.That(refused!.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(refused.Trailers.GetValue("durable-packets"), Is.EqualTo("2"));

        static void AssertFails(Action call, StatusCode code, string word)
        {
            var exception = Assert.Throws<RpcException>(() => call());
            Assert.That(exception!.StatusCode, Is.EqualTo(code));
            Assert.That(exception.Status.Detail, Does.Contain(word));
        }
    }

    [Test]
    public async Task Reading_CancelledByItsToken_EndsAsCancelled()
    {
        var connection = Connect(new ConnectionDetails { DataSource = DataSource });
        using var stop = new CancellationTokenSource();
        using var call = Api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: stop.Token);
        var next = call.ResponseStream.MoveNext(CancellationToken.None);
        await stop.CancelAsync();
        var cancelled = await Assert.ThrowsAsync<RpcException>(() => next.WithDeadline(30));
        Assert.That(cancelled!.StatusCode, Is.EqualTo(StatusCode.Cancelled));
    }

    [Test]
    public async Task BatchProcessor_BetweenPacketsAndAClientStream_WritesThemAll()
    {
        const int Count = 500;
        using var stop = new CancellationTokenSource();
        using var call = Api.GetPacketWriterClient().WriteDataPackets(cancellationToken: Token);
        var processor = new TimeAndSizeWindowBatchProcessor<DataPacketDetails>(
            batch => call.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { batch } }), stop, batchSize: 100, timeWindowSize: 5);
        for (var id = 1UL; id <= Count; id++) processor.Add(Detail("", id));
        await stop.CancelAsync();
        await processor.Completion.WithDeadline(30);
        await call.RequestStream.CompleteAsync().WithDeadline(30);
        await call.ResponseAsync.WithDeadline(30);

        var packets = await ReadAsync(Connect(new ConnectionDetails { DataSource = DataSource }), Count);
        Assert.That(packets.Select(p => p.Packet.Id), Is.EqualTo(Enumerable.Range(1, Count)));
    }

    private static DataPacketDetails Detail(string stream, ulong id, string sessionKey = "") =>
        new() { DataSource = DataSource, Stream = stream, SessionKey = sessionKey, Message = new Packet { Type = "PeriodicData", Id = id } };

    private static void Write(string stream, ulong id, string sessionKey = "") =>
        Api.GetPacketWriterClient().WriteDataPacket(new WriteDataPacketRequest { Detail = Detail(stream, id, sessionKey) });

    private static Connection Connect(ConnectionDetails details) =>
        Api.GetConnectionManagerClient().NewConnection(new NewConnectionRequest { Details = details }).Connection;

    private async Task<List<PacketResponse>> ReadAsync(Connection connection, int count)
    {
        var packets = new List<PacketResponse>();
        using var call = Api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: Token);
        await foreach (var response in call.ResponseStream.ReadAllAsync(Token))
        {
            packets.AddRange(response.Response);
            if (packets.Count >= count) break;
        }

        return packets;
    }
}
