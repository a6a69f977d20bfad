using System.Collections.Immutable;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using MA.Streaming.Core.Broker;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Sessions;

/// <summary>A session as its records fold: a bounded run of a data source.</summary>
internal sealed record Session
{
    /// <summary>The session key, which is also the key of its records.</summary>
    public required string Key { get; init; }

    public required string DataSource { get; init; }

    /// <summary>Where its NewSession record stands: sessions are listed in this order.</summary>
    public required LogPlace Place { get; init; }

    /// <summary>The NewSession packet as it was recorded; its maps of offsets are unfolded only when somebody asks.</summary>
    public required ByteString NewSession { get; init; }

    /// <summary>The first EndOfSession packet, once there is one.</summary>
    public ByteString? EndOfSession { get; init; }

    public string Identifier { get; init; } = "";

    public string Type { get; init; } = "";

    public uint Version { get; init; }

    public ImmutableArray<string> AssociateSessionKeys { get; init; } = [];

    public ImmutableDictionary<string, string> Details { get; init; } = ImmutableDictionary<string, string>.Empty;

    public required Duration UtcOffset { get; init; }

    public required Timestamp CreationTime { get; init; }

    public Timestamp? TerminationTime { get; init; }

    public bool IsComplete => EndOfSession is not null;

    /// <summary>The session after a SessionInfo record: what is set replaces, associate keys are united, details merge.</summary>
    public Session With(SessionInfoPacket info) => this with
    {
        Identifier = info.Identifier.Length > 0 ? info.Identifier : Identifier,
        Type = info.Type.Length > 0 ? info.Type : Type,
        Version = info.Version != 0 ? info.Version : Version,
        AssociateSessionKeys = Union(AssociateSessionKeys, info.AssociateSessionKeys),
        Details = Details.SetItems(info.Details),
    };

    public static ImmutableArray<string> Union(ImmutableArray<string> keys, IEnumerable<string> more)
    {
        foreach (var key in more)
        {
            if (key.Length > 0 && !keys.Contains(key, StringComparer.Ordinal)) keys = keys.Add(key);
        }

        return keys;
    }
}
