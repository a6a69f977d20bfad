using NUnit.Framework;
using Telemetry.Car;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>The simulated car obeys physics closely enough to be believed.</summary>
public sealed class CarSimulationTests
{
    private static readonly CarSpecification Car = CarSpecification.SingleSeater;

    [Test]
    public void Circuit_OneLap_Closes()
    {
        foreach (var circuit in new[] { Circuit.Riverside, Circuit.SmallOval })
        {
            Assert.That(circuit.ClosingError, Is.LessThan(0.05), circuit.Name);
            Assert.That(Math.Abs(circuit.TotalTurn), Is.EqualTo(2 * Math.PI).Within(1e-6), circuit.Name);
        }

        Assert.That(Circuit.Riverside.Length, Is.InRange(4000, 5000));
    }

    [Test]
    public void Run_ThreeLaps_StaysInEveryRange()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 3);
        double fastest = 0, slowestAfterLaunch = double.MaxValue, hardestBraking = 0, hardestCorner = 0;
        while (car.Lap <= 3)
        {
            car.Step();
            fastest = Math.Max(fastest, car.Speed * 3.6);
            if (car.Lap > 1) slowestAfterLaunch = Math.Min(slowestAfterLaunch, car.Speed * 3.6);
            hardestBraking = Math.Min(hardestBraking, car.LongitudinalAcceleration / CarSpecification.Gravity);
            hardestCorner = Math.Max(hardestCorner, Math.Abs(car.LateralAcceleration) / CarSpecification.Gravity);

            Require(car.Rpm, Powertrain.IdleRpm, Powertrain.LimiterRpm, "rpm", car);
            Require(car.Gear, 1, Powertrain.TopGear, "gear", car);
            Require(car.Throttle, 0, 1, "throttle", car);
            Require(car.BrakePressureFront, 0, 160, "brake pressure", car);
            Require(car.LongitudinalAcceleration / CarSpecification.Gravity, -5.5, 1.6, "longitudinal g", car);
            Require(car.WaterTemperature, 60, 125, "water", car);
            Require(car.OilTemperature, 60, 145, "oil", car);
            Require(car.ExhaustTemperature, 300, 1050, "exhaust", car);
            Require(car.RideHeight(true), 1.5, 60, "ride height front", car);
            Require(car.RideHeight(false), 1.5, 100, "ride height rear", car);
            Require(car.LapDistance, 0, Circuit.Riverside.Length, "lap distance", car);
            foreach (var wheel in car.Wheels)
            {
                Require(wheel.SurfaceTemperature, 40, 160, "tyre surface", car);
                Require(wheel.CarcassTemperature, 40, 140, "tyre carcass", car);
                Require(wheel.DiscTemperature, 80, 1000, "brake disc", car);
                Require(wheel.Load, 0, 9000, "wheel load", car);
                Require(wheel.Pressure, 1.2, 2.6, "tyre pressure", car);
            }
        }

        Assert.Multiple(() =>
        {
            Assert.That(fastest, Is.InRange(270, 330));
            Assert.That(slowestAfterLaunch, Is.InRange(55, 110));
            Assert.That(hardestBraking, Is.LessThan(-3));
            Assert.That(hardestCorner, Is.InRange(2, 4));
        });
    }

    [Test]
    public void Run_LapTimes_ArePlausibleAndTheStandingStartIsTheSlowest()
    {
        var times = LapTimes(seed: 1, laps: 4);

        Assert.That(times, Has.All.InRange(70, 95));
        Assert.That(times[0], Is.EqualTo(times.Max()));
        Assert.That(times.Skip(1).Max() - times.Skip(1).Min(), Is.LessThan(2), "a driver is consistent");
    }

    [Test]
    public void Run_SameSeed_IsTheSameRunAndAnotherSeedIsNot()
    {
        var (once, again, other) = (LapTimes(5, 2), LapTimes(5, 2), LapTimes(6, 2));

        Assert.That(again, Is.EqualTo(once));
        Assert.That(other, Is.Not.EqualTo(once));
    }

    [Test]
    public void Run_Acceleration_IsTheDerivativeOfSpeed()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 2);
        while (car.Seconds < 1) car.Step();
        double worst = 0, squares = 0;
        var count = 0;
        while (car.Lap == 1)
        {
            // Over 20 ms, a little more than a cell of the circuit at speed.
            var (before, sum, lap) = (car.Speed, 0.0, car.Lap);
            for (var i = 0; i < 20; i++)
            {
                car.Step();
                sum += car.LongitudinalAcceleration;
            }

            if (car.Lap != lap) break;
            var error = (car.Speed - before) / 0.02 - sum / 20;
            worst = Math.Max(worst, Math.Abs(error));
            squares += error * error;
            count++;
        }

        Assert.That(Math.Sqrt(squares / count), Is.LessThan(0.15), "m/s², on average");
        Assert.That(worst, Is.LessThan(2.5), "m/s²");
    }

    [Test]
    public void Run_Distance_IsTheIntegralOfSpeed()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 2);
        var metres = 0.0;
        while (car.Lap <= 2)
        {
            car.Step();
            metres += car.Speed * CarSimulation.StepSeconds;
        }

        Assert.That(car.Distance, Is.EqualTo(2 * Circuit.Riverside.Length).Within(0.2));
        Assert.That(metres, Is.EqualTo(car.Distance).Within(0.002 * car.Distance));
    }

    [Test]
    public void Run_Corners_LateralAccelerationIsSpeedTimesYawRateAndWithinTheGrip()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 4);
        while (car.Lap <= 1)
        {
            car.Step();
            Assert.That(car.LateralAcceleration, Is.EqualTo(car.Speed * car.YawRate).Within(1e-9));
            // 4 % for the blending of the speed profile.
            if (Math.Abs(car.LateralAcceleration) > 5)
                Require(Math.Abs(car.LateralAcceleration) * car.Mass, 0, Car.Grip(car.Mass, car.Speed) * 1.04, "lateral force", car);
        }
    }

    [Test]
    public void Gears_AtOneSpeed_AHigherGearTurnsTheEngineSlower()
    {
        for (var speed = 10.0; speed < 95; speed += 5)
        {
            for (var gear = 2; gear <= Powertrain.TopGear; gear++)
                Assert.That(Powertrain.Rpm(Car, gear, speed), Is.LessThan(Powertrain.Rpm(Car, gear - 1, speed)));
        }
    }

    [Test]
    public void Run_Gears_RiseWithSpeedOnFullThrottleAndChangeOneAtATime()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 1);
        var (gear, shifts) = (car.Gear, 0);
        while (car.Lap <= 2)
        {
            car.Step();
            if (car.Gear != gear)
            {
                Assert.That(Math.Abs(car.Gear - gear), Is.EqualTo(1));
                if (car.Gear > gear) Assert.That(car.LongitudinalAcceleration, Is.GreaterThan(-1), $"shifted up while slowing at {car.LapDistance:F0} m");
                shifts++;
                gear = car.Gear;
            }
        }

        Assert.That(shifts, Is.InRange(40, 120));
    }

    [Test]
    public void Run_Energy_FuelHeatWorkAndDragAddUp()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 1);
        double drag = 0, fuelAtStart = car.Fuel;
        while (car.Lap <= 3)
        {
            var speed = car.Speed;
            car.Step();
            drag += Car.Drag(car.Mass, speed, car.DrsOpen) * speed * CarSimulation.StepSeconds;
        }

        var kinetic = 0.5 * car.Mass * car.Speed * car.Speed;
        Assert.Multiple(() =>
        {
            Assert.That(car.Work / car.FuelHeat, Is.InRange(0.25, Car.EngineEfficiency), "no engine beats its efficiency");
            Assert.That((fuelAtStart - car.Fuel) * Car.FuelEnergy, Is.EqualTo(car.FuelHeat).Within(0.001 * car.FuelHeat), "heat comes from fuel");
            Assert.That((fuelAtStart - car.Fuel) / 3, Is.InRange(1, 3), "kg a lap");
            Assert.That(car.Work * Car.DrivelineEfficiency, Is.GreaterThan(drag + kinetic), "the engine pays for drag, speed and what the brakes burn");
            Assert.That(car.Work, Is.LessThan((drag + kinetic) * 3));
        });
    }

    [Test]
    public void Run_FiringCylinder_KeepsPaceWithTheEngine()
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed: 1);
        double turns = 0;
        var fired = 0;
        while (car.Lap == 1)
        {
            car.Step();
            turns += car.Rpm / 60 * CarSimulation.StepSeconds;
            if (car.CylinderFired) fired++;
        }

        Assert.That(fired, Is.EqualTo(turns / 2).Within(1));
    }

    private static double[] LapTimes(int seed, int laps)
    {
        var car = new CarSimulation(Circuit.Riverside, Car, seed);
        var times = new List<double>();
        while (car.Lap <= laps)
        {
            car.Step();
            if (car.CrossedLine) times.Add(car.LastLapTime);
        }

        return [.. times];
    }

    // An Assert.That a millisecond would take longer than the simulation.
    private static void Require(double value, double min, double max, string what, CarSimulation car)
    {
        if (!(value >= min && value <= max)) Assert.Fail($"{what} is {value} at {car.Seconds} s, {car.LapDistance:F0} m; allowed {min} to {max}");
    }
}
