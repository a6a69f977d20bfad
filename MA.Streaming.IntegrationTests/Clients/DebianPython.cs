using System.Diagnostics;
using MA.Streaming.IntegrationTests.Support;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>Debian's Python with grpcio, protobuf, pip and setuptools, and protoc: of the system, or as eng/install-clients has unpacked them.</summary>
internal sealed class DebianPython
{
    public const string Missing =
        $"{Interpreter} with grpcio, protobuf, pip, setuptools and wheel, or protoc with its plugin for Python, is not there: eng/install-clients installs them";

    private const string Interpreter = "/usr/bin/python3";
    private const string Probe =
        "import setuptools, wheel, pip, grpc, google.protobuf, shutil, sys; sys.exit(not (shutil.which('protoc') and shutil.which('grpc_python_plugin')))";

    private static readonly Lazy<Task<DebianPython?>> Found = new(LookAsync);

    // Empty: the system's.
    private readonly string _root;

    private DebianPython(string root) => _root = root;

    /// <summary>True when all of it is installed, not unpacked.</summary>
    public bool IsOfSystem => _root.Length == 0;

    /// <summary>Null when there is none.</summary>
    public static Task<DebianPython?> FindAsync() => Found.Value;

    /// <summary>Runs the interpreter, with modules from a folder as well.</summary>
    public ProcessStartInfo Start(string modules, params string[] arguments) => StartProgram(Interpreter, modules, arguments);

    /// <summary>Runs a program that runs a Python.</summary>
    public ProcessStartInfo StartProgram(string program, string modules, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments);
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1";
        start.Environment["PYTHONPATH"] = modules;
        if (IsOfSystem) return start;
        var libraries = Directory.Exists($"{_root}/usr/lib") ? Directory.GetDirectories($"{_root}/usr/lib", "*-linux-gnu*") : [];
        start.Environment["PYTHONPATH"] = $"{modules}:{_root}/usr/lib/python3/dist-packages";
        start.Environment["PATH"] = $"{_root}/usr/bin:{Environment.GetEnvironmentVariable("PATH")}";
        start.Environment["LD_LIBRARY_PATH"] = string.Join(':', libraries);
        return start;
    }

    private static async Task<DebianPython?> LookAsync()
    {
        foreach (var root in new[] { "", Path.Combine(ForeignTests.Cache, "debian") })
        {
            var python = new DebianPython(root);
            if (await ForeignTests.WorksAsync(python.Start("", "-c", Probe))) return python;
        }

        return null;
    }
}
