using System.Globalization;
using System.IO.Compression;
using CsvHelper;

namespace Telemetry.Log;

/// <summary>A raw CAN frame.</summary>
public sealed record CanFrame(uint Id, byte[] Payload);

/// <summary>One line of a log file: numbers by column (NaN where the cell is empty), or a CAN frame.</summary>
public readonly record struct LogRow(long Nanoseconds, double[] Values, CanFrame? Frame);

/// <summary>One CSV file of a log, plain or gzipped: a time column, then parameters; or raw CAN frames. It is read as it is
/// asked for, never as a whole.</summary>
public sealed class LogFile
{
    private const string CanIdColumn = "can_id_hex";
    private const string CanDataColumn = "data_hex";
    private const uint CanIdMax = 0x1FFF_FFFF;
    private const int CanPayloadMax = 64;
    private const decimal NanosecondsMax = 1e17m;

    private static readonly CsvReaderOptions Csv = new()
    {
        Separator = ',',
        TrackLineNumbers = true,
        MalformedData = CsvMalformedDataHandling.Throw,
        MaxRecordSize = 1 << 20,
    };

    private readonly string[] _header;
    private readonly decimal _nanoseconds;
    private readonly int _canId;
    private readonly int _canData;

    private LogFile(string path, string[] header)
    {
        FullPath = path;
        _header = header;
        _nanoseconds = header[0] switch
        {
            "t_s" => 1_000_000_000m,
            "t_ms" => 1_000_000m,
            "t_us" => 1_000m,
            _ => throw LogException.At(path, 1, header[0], "the first column is the time; its unit is not known (allowed: t_s, t_ms, t_us)"),
        };
        for (var i = 0; i < header.Length; i++)
        {
            if (header[i].Length == 0) throw LogException.At(path, 1, (i + 1).ToString(CultureInfo.InvariantCulture), "it has no name");
            if (Array.IndexOf(header, header[i]) != i) throw LogException.At(path, 1, header[i], "there are two of this name");
        }

        _canId = Array.IndexOf(header, CanIdColumn);
        _canData = Array.IndexOf(header, CanDataColumn);
        if (_canId >= 0 != _canData >= 0)
            throw LogException.At(path, 1, null, $"CAN frames need both columns, {CanIdColumn} and {CanDataColumn}");
        Columns = IsCan ? [] : header[1..];
    }

    public string FullPath { get; }

    /// <summary>The file's name without its endings.</summary>
    public string BaseName => WithoutEndings(Path.GetFileName(FullPath));

    public bool IsCan => _canId >= 0;

    /// <summary>The parameters, in the order of their columns.</summary>
    public IReadOnlyList<string> Columns { get; }

    public static string WithoutEndings(string name)
    {
        if (name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase)) name = name[..^3];
        return name.EndsWith(".csv", StringComparison.OrdinalIgnoreCase) ? name[..^4] : name;
    }

    /// <summary>Reads the header.</summary>
    public static LogFile Open(string path)
    {
        using var csv = OpenCsv(path);
        var header = Guard(path, csv, () => csv.Headers);
        if (header.Count == 0) throw LogException.At(path, 1, null, "there is no header");
        return new(path, [.. header.Select(name => name.Trim())]);
    }

    /// <summary>The rows after the header.</summary>
    /// <exception cref="LogException">A cell is not what its column needs; comes when the reading gets there.</exception>
    public IEnumerable<LogRow> Rows()
    {
        using var csv = OpenCsv(FullPath);
        while (Guard(FullPath, csv, csv.Read)) yield return Row(csv);
    }

    private LogRow Row(CsvReader csv)
    {
        var line = csv.LineNumber;
        if (csv.FieldCount < _header.Length) throw LogException.At(FullPath, line, _header[csv.FieldCount], "the cell is missing");
        if (csv.FieldCount > _header.Length)
            throw LogException.At(FullPath, line, null, $"{csv.FieldCount} cells for {_header.Length} columns");

        var time = Time(csv, line);
        if (IsCan) return new(time, [], new CanFrame(CanId(csv.GetString(_canId), line), CanPayload(csv.GetString(_canData), line)));

        var values = new double[Columns.Count];
        for (var i = 0; i < values.Length; i++) values[i] = Number(csv, i + 1, line);
        return new(time, values, null);
    }

    private static T Guard<T>(string path, CsvReader csv, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (CsvFormatException malformed)
        {
            throw LogException.At(path, Math.Max(malformed.LineNumber, 1), null, malformed.Message);
        }
        catch (Exception unreadable) when (unreadable is InvalidDataException or IOException)
        {
            throw LogException.At(path, csv.LineNumber + 1, null, unreadable.Message);
        }
    }

    private static CsvReader OpenCsv(string path)
    {
        try
        {
            var stream = File.OpenRead(path);
            var isGzip = stream.ReadByte() == 0x1F && stream.ReadByte() == 0x8B;
            stream.Position = 0;
            return CsvReader.Create(isGzip ? new GZipStream(stream, CompressionMode.Decompress) : stream, Csv);
        }
        catch (Exception missing) when (missing is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new LogException($"{path}: there is no such file");
        }
        catch (Exception unreadable) when (unreadable is IOException or UnauthorizedAccessException)
        {
            throw new LogException($"{path}: {unreadable.Message}");
        }
    }

    private long Time(CsvReader csv, long line)
    {
        if (!decimal.TryParse(csv.GetSpan(0), NumberStyles.Float, CultureInfo.InvariantCulture, out var value))
            throw LogException.At(FullPath, line, _header[0], $"'{csv.GetString(0)}' is not a number");
        if (value < 0 || value > NanosecondsMax / _nanoseconds)
            throw LogException.At(FullPath, line, _header[0], $"'{csv.GetString(0)}' is not a time since the start");
        return (long)decimal.Round(value * _nanoseconds);
    }

    private double Number(CsvReader csv, int cell, long line)
    {
        var text = csv.GetSpan(cell);
        if (text.IsEmpty || text.Trim((byte)' ').IsEmpty) return double.NaN;
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && double.IsFinite(value)
            ? value
            : throw LogException.At(FullPath, line, _header[cell], $"'{csv.GetString(cell)}' is not a number");
    }

    private uint CanId(string cell, long line) =>
        uint.TryParse(cell, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var id) && id <= CanIdMax
            ? id
            : throw LogException.At(FullPath, line, CanIdColumn, $"'{cell}' is not a CAN id in hexadecimal");

    private byte[] CanPayload(string cell, long line)
    {
        if (cell.Length % 2 != 0 || cell.Length > CanPayloadMax * 2 || !cell.All(char.IsAsciiHexDigit))
            throw LogException.At(FullPath, line, CanDataColumn, $"'{cell}' is not a CAN payload in hexadecimal");
        return Convert.FromHexString(cell);
    }
}
