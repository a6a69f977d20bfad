using System.Collections.Concurrent;
using System.Globalization;
using System.Reflection;
using NUnit.Framework;

namespace MA.Streaming.TestSupport;

/// <summary>
/// The share of many cases that a run of the suite takes. Each commit takes another share, and every run of one commit the same. All of
/// them are tests of category Long.
/// </summary>
public static class Sample
{
    /// <summary>Where the samples of this commit begin: from the commit's hash, which the SDK puts into the assembly; 0 without one.</summary>
    public static int Seed { get; } = SeedOf(typeof(Sample).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion);

    /// <summary>Checks one of so many of the cases 0, 1, … on all cores. <paramref name="oneIn"/> 1 takes every case.</summary>
    public static void Check(int count, int oneIn, Action<int> check) => CheckAll(Of(count, oneIn), check);

    /// <summary>Checks seeds on all cores, <see cref="Seed"/> and those after it.</summary>
    public static void CheckSeeds(int count, Action<int> check) => CheckAll([.. Enumerable.Range(Seed, count)], check);

    /// <summary>Checks the cases on all cores. The first failures are told.</summary>
    public static void CheckAll(IReadOnlyList<int> cases, Action<int> check)
    {
        var failures = new ConcurrentQueue<string>();
        Parallel.ForEach(cases, (each, loop) =>
        {
            try
            {
                check(each);
            }
            catch (Exception exception)
            {
                failures.Enqueue($"{each}: {(exception is AssertionException ? exception.Message : exception)}");
                if (failures.Count > 5) loop.Stop();
            }
        });
        Assert.That(failures, Is.Empty, string.Join('\n', failures));
    }

    /// <summary>The cases of a sample. A prime <paramref name="oneIn"/> takes every bit of a byte and every byte of a field in turn.</summary>
    public static IReadOnlyList<int> Of(int count, int oneIn) => Of(count, oneIn, Seed);

    public static IReadOnlyList<int> Of(int count, int oneIn, int seed)
    {
        var cases = new List<int>();
        for (var each = seed % oneIn; each < count; each += oneIn) cases.Add(each);
        return cases;
    }

    /// <summary>Six hexadecimal digits of the hash that follows the version's plus sign.</summary>
    public static int SeedOf(string version) =>
        version.Split('+') is [_, { Length: >= 6 } hash] && int.TryParse(hash[..6], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var seed) ? seed : 0;
}
