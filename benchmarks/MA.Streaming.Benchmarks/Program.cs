using MA.Streaming.Benchmarks;

return args is [Child.Option, .. var rest] ? await Child.RunAsync(rest) : await BenchmarkProgram.RunAsync(args, Console.Out, Console.Error);
