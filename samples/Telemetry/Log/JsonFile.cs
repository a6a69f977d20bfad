using System.Text.Json;

namespace Telemetry.Log;

/// <summary>Reads a JSON file of a log; what is wrong with it is told with file and line.</summary>
internal static class JsonFile
{
    public static T Load<T>(string file, JsonSerializerOptions options)
    {
        try
        {
            using var stream = File.OpenRead(file);
            return JsonSerializer.Deserialize<T>(stream, options) ?? throw new LogException($"{file}: it is empty");
        }
        catch (JsonException wrong)
        {
            var place = wrong.Path?.TrimStart('$', '.') is { Length: > 0 } path ? $"{path} is " : "";
            throw LogException.At(file, (wrong.LineNumber ?? 0) + 1, null, $"{place}not the JSON that is expected here");
        }
        catch (Exception missing) when (missing is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new LogException($"{file}: there is no such file");
        }
        catch (Exception unreadable) when (unreadable is IOException or UnauthorizedAccessException)
        {
            throw new LogException($"{file}: {unreadable.Message}");
        }
    }
}
