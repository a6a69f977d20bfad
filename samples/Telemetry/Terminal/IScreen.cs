using Telemetry.Live;

namespace Telemetry.Terminal;

/// <summary>Shows a run while it lasts: in place on a terminal, line by line elsewhere.</summary>
public interface IScreen
{
    /// <summary>Shows until the run is over; never fails because of it.</summary>
    Task ShowAsync(LiveRun run, Task over);
}
