using System.Diagnostics;
using System.Security.Cryptography;
using MA.Streaming.IntegrationTests.Support;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The packages that clients/node/package-lock.json names, and npm's cache with them, as eng/install-clients has installed them.</summary>
internal static class NodePackages
{
    public static string Missing => $"node, npm, or the packages in {Folder} are not there: eng/install-clients installs the packages where npm is";

    public static string Modules => Path.Combine(Folder, "node_modules");

    public static string NpmCache => Path.Combine(Folder, "npm-cache");

    // The name says which packages it holds.
    private static string Folder { get; } = Path.Combine(ForeignTests.Cache, $"node-{Convert.ToHexStringLower(SHA256.HashData(Named()))[..16]}");

    public static async Task<bool> AreThereAsync() =>
        File.Exists(Path.Combine(Folder, "complete"))
        && await ForeignTests.WorksAsync(new ProcessStartInfo("node", ["--version"]))
        && await ForeignTests.WorksAsync(new ProcessStartInfo("npm", ["--version"]));

    private static byte[] Named() =>
    [
        .. File.ReadAllBytes(Path.Combine(ForeignTests.Folder("node"), "package.json")),
        .. File.ReadAllBytes(Path.Combine(ForeignTests.Folder("node"), "package-lock.json")),
    ];
}
