namespace MA.Streaming.Benchmarks;

/// <summary>The command line of the benchmarks.</summary>
public static class BenchmarkProgram
{
    private const string Usage = """
        Measures the Stream API against the raw limit of what it stands on, both in turn in one process.

        usage: dotnet run --project benchmarks/MA.Streaming.Benchmarks -c Release [-- NAMES… OPTIONS]

          NAMES            the benchmarks to run, or beginnings of their names; all when there is none
          --list           the benchmarks there are; those of Kafka where STREAM_API_TEST_KAFKA has its host:port
          --dry            every benchmark tiny, to see that it works; its figures mean nothing
          --rounds N       measured rounds of each arm, 1 to 1000 (default 5)
          --json FILE      writes every sample and the facts of the machine
          --markdown FILE  writes the table; in a file that has the lines "<!-- figures -->" and "<!-- end of figures -->", between them;
                           where "<!-- figures NAME -->" stands, those of the benchmarks whose names begin so
          --directory DIR  a directory on a disk, where the durable benchmarks make theirs (default: the one for temporary files)
          --help           this

        Exit code: 0 done (a missed target is no failure), 1 a benchmark failed, 2 the command line is wrong.
        """;

    /// <summary>Runs what the arguments ask for. 0: done; 1: a benchmark failed; 2: the arguments are wrong.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, TextWriter output, TextWriter error)
    {
        ArgumentNullException.ThrowIfNull(args);
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(error);
        if (!RunOptions.TryParse(args, out var options, out var mistake))
        {
            await error.WriteLineAsync($"{mistake} (--help tells more)");
            return 2;
        }

        if (options.ShowHelp)
        {
            await output.WriteLineAsync(Usage);
            return 0;
        }

        if (options.ShowList)
        {
            foreach (var benchmark in Suite.All) await output.WriteLineAsync($"{benchmark.Name,-20} {benchmark.Description}");
            return 0;
        }

        await using var files = new RunDirectory(options.Directory, options.IsDry);
        var scale = new Scale(options.IsDry, files);
        var results = new List<Result>();
        var failed = 0;
        foreach (var benchmark in options.Benchmarks)
        {
            try
            {
                var result = await Runner.RunAsync(benchmark, scale, options.Rounds, error);
                results.Add(result);
                await Report.WriteTextAsync(output, result, options.IsDry);
            }
            catch (Exception exception)
            {
                failed++;
                await error.WriteLineAsync($"{benchmark.Name} failed: {exception}");
            }
        }

        if (options.JsonFile is { } json) await File.WriteAllTextAsync(json, Report.Json(results, options));
        if (options.MarkdownFile is { } markdown) await Report.WriteMarkdownAsync(markdown, results, options);
        await output.WriteLineAsync(failed == 0 ? $"{results.Count} benchmarks done" : $"{results.Count} benchmarks done, {failed} failed");
        return failed == 0 ? 0 : 1;
    }
}
