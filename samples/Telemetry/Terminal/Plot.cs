using System.Globalization;
using Telemetry.Live;

namespace Telemetry.Terminal;

/// <summary>A curve in text: dots of a braille grid on a terminal, columns of ASCII elsewhere.</summary>
internal static class Plot
{
    private const int LabelWidth = 7;

    /// <summary>The lines of the plot, axes included.</summary>
    /// <param name="points">By rising x.</param>
    /// <param name="width">Characters in all.</param>
    /// <param name="height">Lines of the curve at most, 4 or more; the x axis takes one more.</param>
    /// <param name="braille">False: only ASCII.</param>
    /// <param name="xUnit">Behind the last number of the x axis.</param>
    public static IReadOnlyList<string> Render(IReadOnlyList<PlotPoint> points, int width, int height, bool braille, string xUnit)
    {
        if (points.Count < 2) return [];
        // Top, bottom and two between are labelled: a multiple of three apart.
        height = (height - 1) / 3 * 3 + 1;
        var columns = width - LabelWidth - 2;
        var (left, right) = (points[0].X, points[^1].X);
        var (bottom, top) = Range(points.Min(p => p.Y), points.Max(p => p.Y));
        var rows = braille
            ? Dots(points, columns, height, left, right, bottom, top)
            : Columns(points, columns, height, left, right, bottom, top);
        var lines = new List<string>();
        for (var row = 0; row < height; row++)
        {
            var isLabelled = row * 3 % (height - 1) == 0;
            var value = top - (top - bottom) * row / (height - 1);
            var label = isLabelled ? value.ToString("0", CultureInfo.InvariantCulture) : "";
            lines.Add($"{label.PadLeft(LabelWidth)} {(braille ? '│' : '|')}{rows[row]}");
        }

        lines.Add(XAxis(columns, left, right, xUnit));
        return lines;
    }

    // A round number below and above.
    private static (double Bottom, double Top) Range(double min, double max)
    {
        var span = Math.Max(1e-9, max - min);
        var step = Math.Pow(10, Math.Floor(Math.Log10(span)));
        if (span / step < 3) step /= 2;
        var bottom = Math.Floor(min / step) * step;
        var top = Math.Ceiling(max / step) * step;
        return top > bottom ? (bottom, top) : (bottom - 1, top + 1);
    }

    private static string XAxis(int columns, double left, double right, string unit)
    {
        var axis = new char[columns + LabelWidth + 2];
        Array.Fill(axis, ' ');
        const int Marks = 5;
        for (var i = 0; i <= Marks; i++)
        {
            var text = (left + (right - left) * i / Marks).ToString("0", CultureInfo.InvariantCulture) + (i == Marks ? $" {unit}" : "");
            var middle = LabelWidth + 2 + columns * i / Marks;
            var start = Math.Clamp(middle - text.Length / 2, 0, axis.Length - text.Length);
            text.CopyTo(0, axis, start, text.Length);
        }

        return new string(axis).TrimEnd();
    }

    private static string[] Columns(
        IReadOnlyList<PlotPoint> points, int columns, int height, double left, double right, double bottom, double top)
    {
        var heights = Resample(points, columns, left, right).Select(y => (int)Math.Round((y - bottom) / (top - bottom) * (height - 1))).ToArray();
        return [.. Enumerable.Range(0, height).Select(row => new string([.. heights.Select(h => h >= height - 1 - row ? '#' : ' ')]).TrimEnd())];
    }

    private static string[] Dots(IReadOnlyList<PlotPoint> points, int columns, int height, double left, double right, double bottom, double top)
    {
        var cells = new byte[height, columns];
        int? before = null;
        var ys = Resample(points, columns * 2, left, right);
        for (var x = 0; x < ys.Length; x++)
        {
            var y = (int)Math.Round((top - ys[x]) / (top - bottom) * (height * 4 - 1));
            // Steep pieces stay joined: the column is filled from the dot before.
            var from = before is { } last ? last + Math.Sign(y - last) : y;
            if (before == y) from = y;
            for (var dot = Math.Min(from, y); dot <= Math.Max(from, y); dot++) cells[dot / 4, x / 2] |= Bit(x % 2, dot % 4);
            before = y;
        }

        var lines = new string[height];
        for (var row = 0; row < height; row++)
        {
            var line = new char[columns];
            for (var column = 0; column < columns; column++) line[column] = cells[row, column] == 0 ? ' ' : (char)(0x2800 + cells[row, column]);
            lines[row] = new string(line).TrimEnd();
        }

        return lines;
    }

    // Unicode numbers the dots of a braille cell column by column, the lowest two last.
    private static byte Bit(int column, int row) => row == 3
        ? (byte)(column == 0 ? 0x40 : 0x80)
        : (byte)(1 << (row + column * 3));

    private static double[] Resample(IReadOnlyList<PlotPoint> points, int count, double left, double right)
    {
        var ys = new double[count];
        var at = 0;
        for (var i = 0; i < count; i++)
        {
            var x = left + (right - left) * i / Math.Max(1, count - 1);
            while (at < points.Count - 2 && points[at + 1].X < x) at++;
            var (a, b) = (points[at], points[at + 1]);
            var share = b.X > a.X ? Math.Clamp((x - a.X) / (b.X - a.X), 0, 1) : 0;
            ys[i] = a.Y + (b.Y - a.Y) * share;
        }

        return ys;
    }
}
