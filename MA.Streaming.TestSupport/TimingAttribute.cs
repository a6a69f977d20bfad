using NUnit.Framework;
using NUnit.Framework.Internal;

namespace MA.Streaming.TestSupport;

/// <summary>
/// Category Timing: the test asserts how long something takes on the wall clock. It runs alone: after the fixtures that run in parallel,
/// while no other test of its project runs.
/// </summary>
[AttributeUsage(AttributeTargets.Method | AttributeTargets.Class)]
public sealed class TimingAttribute : PropertyAttribute
{
    public const string Category = "Timing";

    public TimingAttribute()
    {
        Properties.Add(PropertyNames.Category, Category);
        Properties.Add(PropertyNames.ParallelScope, ParallelScope.None);
    }
}
