using System.CommandLine;
using System.Globalization;
using System.Numerics;

namespace MA.Streaming.Tool;

/// <summary>Options with a value that is no text. What cannot be taken is refused with the option, the value and what is allowed.</summary>
internal static class ParsedOption
{
    private const int ShownCharactersMax = 100;

    /// <summary>A number in a range. A decimal point is a point, whatever the system's language.</summary>
    public static Option<T?> Number<T>(string name, string helpName, string description, string allowed, Func<T, bool> isAllowed)
        where T : struct, INumber<T> => new(name)
        {
            HelpName = helpName,
            Description = description,
            CustomParser = result =>
            {
                var text = result.Tokens.Count == 1 ? result.Tokens[0].Value : "";
                if (T.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) && isAllowed(value)) return value;
                result.AddError(Refusal(name, text, allowed));
                return null;
            },
        };

    /// <summary>A port; 0 takes any free one.</summary>
    public static Option<int?> Port(string name, string description) => Number<int>(name, "N", description, "0 to 65535", port => port is >= 0 and <= 65_535);

    /// <summary>One of the names of an enumeration, in any case.</summary>
    public static Option<T> Name<T>(string name, string helpName, string description, T otherwise)
        where T : struct, Enum => new(name)
        {
            HelpName = helpName,
            Description = description,
            DefaultValueFactory = _ => otherwise,
            CustomParser = result =>
            {
                var text = result.Tokens.Count == 1 ? result.Tokens[0].Value : "";
                if (Enum.TryParse<T>(text, ignoreCase: true, out var value) && Enum.GetNames<T>().Contains(text, StringComparer.OrdinalIgnoreCase)) return value;
                result.AddError(Refusal(name, text, string.Join(", ", Enum.GetNames<T>())));
                return otherwise;
            },
        };

    /// <summary>The words for a value that an option does not take.</summary>
    public static string Refusal(string name, string value, string allowed) =>
        $"{name} = {(value.Length <= ShownCharactersMax ? value : $"{value[..ShownCharactersMax]}…")} is not allowed; expected {allowed}";
}
