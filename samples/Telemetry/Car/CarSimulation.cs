namespace Telemetry.Car;

/// <summary>
/// The car on its way round the circuit in steps of a millisecond: follows a <see cref="LapPlan"/> a lap, and derives from its
/// speed and acceleration what the driver, engine, tyres, brakes and springs must be doing. The same seed gives the same run.
/// </summary>
public sealed class CarSimulation
{
    public const double StepSeconds = 0.001;

    private const double ShiftSeconds = 0.045;

    private readonly Random _random;
    private readonly Random _noise;
    private readonly (double PerMetre, double Phase)[] _bumps;
    private readonly double[] _road = new double[4];
    private LapPlan _plan;
    private double _sinceShift = 1;
    private double _rpmBeforeShift;
    private double _slipLeft;
    private Wheel? _slipping;
    private double _crankTurns;
    private bool _braking;

    public CarSimulation(Circuit circuit, CarSpecification car, int seed)
    {
        Circuit = circuit;
        Car = car;
        _random = new Random(seed);
        _noise = new Random(~seed);
        _bumps = [Bump(0.61), Bump(1.37), Bump(3.1)];
        Wheels = [new(true, true), new(true, false), new(false, true), new(false, false)];
        Fuel = car.FuelMass;
        _plan = NextPlan();
    }

    public Circuit Circuit { get; }

    public CarSpecification Car { get; }

    /// <summary>Steps taken: milliseconds since the start.</summary>
    public long Milliseconds { get; private set; }

    public double Seconds => Milliseconds * StepSeconds;

    /// <summary>The lap the car is on, from 1.</summary>
    public int Lap { get; private set; } = 1;

    /// <summary>Seconds at which this lap began.</summary>
    public double LapStart { get; private set; }

    /// <summary>The last whole lap's time in seconds; 0 on the first lap.</summary>
    public double LastLapTime { get; private set; }

    /// <summary>What the plan expects of this lap, in seconds.</summary>
    public double PlannedLapTime => _plan.LapTime;

    /// <summary>Metres since the line, and since the start.</summary>
    public double LapDistance { get; private set; }

    public double Distance { get; private set; }

    /// <summary>m/s.</summary>
    public double Speed { get; private set; }

    /// <summary>m/s², forwards and to the left positive.</summary>
    public double LongitudinalAcceleration { get; private set; }

    public double LateralAcceleration { get; private set; }

    public double VerticalAcceleration { get; private set; }

    /// <summary>rad/s, left positive.</summary>
    public double YawRate { get; private set; }

    /// <summary>Degrees at the steering wheel, left positive.</summary>
    public double Steering { get; private set; }

    /// <summary>0 to 1.</summary>
    public double Throttle { get; private set; }

    /// <summary>Bar in the front and rear circuit.</summary>
    public double BrakePressureFront { get; private set; }

    public double BrakePressureRear { get; private set; }

    public bool DrsOpen { get; private set; }

    public int Gear { get; private set; } = 1;

    public double Rpm { get; private set; } = Powertrain.IdleRpm;

    /// <summary>Nm at the crank; negative when the engine brakes.</summary>
    public double Torque { get; private set; }

    /// <summary>Joules the engine has given to the crank, and the fuel's heat that took.</summary>
    public double Work { get; private set; }

    public double FuelHeat { get; private set; }

    /// <summary>kg on board, and kg/s burnt.</summary>
    public double Fuel { get; private set; }

    public double FuelFlow { get; private set; }

    /// <summary>°C.</summary>
    public double WaterTemperature { get; private set; } = 82;

    public double OilTemperature { get; private set; } = 88;

    public double GearboxTemperature { get; private set; } = 80;

    public double ExhaustTemperature { get; private set; } = 450;

    /// <summary>Bar over ambient in the intake.</summary>
    public double Boost { get; private set; }

    /// <summary>Front left, front right, rear left, rear right.</summary>
    public IReadOnlyList<Wheel> Wheels { get; }

    /// <summary>True in the step in which cylinder 1 fired: every other turn of the crank.</summary>
    public bool CylinderFired { get; private set; }

    /// <summary>What happened in the last step, most often nothing.</summary>
    public CarEvent? Happened { get; private set; }

    /// <summary>True in the first step of a new lap.</summary>
    public bool CrossedLine { get; private set; }

    public double Mass => Car.DryMass + Fuel;

    /// <summary>Wheel travel in mm from where the car stands still, bump positive.</summary>
    public double Travel(int wheel)
    {
        var rate = Wheels[wheel].IsFront ? Car.WheelRateFront : Car.WheelRateRear;
        return (Wheels[wheel].Load - StaticLoad(Wheels[wheel].IsFront)) / rate + _road[wheel] * 1.6;
    }

    /// <summary>mm between floor and road at an axle.</summary>
    public double RideHeight(bool front)
    {
        var travel = front ? (Travel(0) + Travel(1)) / 2 : (Travel(2) + Travel(3)) / 2;
        return Math.Max(1.5, (front ? 36 : 62) - travel);
    }

    /// <summary>A sample's noise: normal, with this deviation.</summary>
    public double Noise(double deviation)
    {
        // Four uniform numbers add up to a cheap bell. They come from a sequence of their own: the run is the same whoever samples it.
        var sum = _noise.NextDouble() + _noise.NextDouble() + _noise.NextDouble() + _noise.NextDouble() - 2;
        return sum * deviation * 1.732;
    }

    /// <summary>One millisecond.</summary>
    public void Step()
    {
        Milliseconds++;
        Happened = null;
        Move();
        ChangeGear();
        Drive();
        SlipNowAndThen();
        LoadWheels();
        WarmFluids();
    }

    private void Move()
    {
        var acceleration = _plan.AccelerationAt(LapDistance);
        var metres = Math.Max(0, Speed * StepSeconds + 0.5 * acceleration * StepSeconds * StepSeconds);
        LapDistance += metres;
        Distance += metres;
        CrossedLine = LapDistance >= Circuit.Length;
        if (CrossedLine)
        {
            // The line was crossed within this step: the lap's time ends there.
            var late = (LapDistance - Circuit.Length) / Math.Max(Speed, 0.1);
            LastLapTime = Seconds - late - LapStart;
            LapStart = Seconds - late;
            LapDistance -= Circuit.Length;
            Lap++;
            _plan = NextPlan();
        }

        Speed = _plan.SpeedAt(LapDistance);
        LongitudinalAcceleration = _plan.AccelerationAt(LapDistance);
        var curvature = Circuit.CurvatureAt(LapDistance);
        LateralAcceleration = curvature * Speed * Speed;
        YawRate = curvature * Speed;
        RollOverRoad();
        VerticalAcceleration = CarSpecification.Gravity * (1 + (_road[0] + _road[1] + _road[2] + _road[3]) * Speed / 600);
        var roadWheel = Car.Wheelbase * curvature + 0.0011 * LateralAcceleration;
        Steering = roadWheel * Car.SteeringRatio * 180 / Math.PI;

        var drs = Lap > 1 && LongitudinalAcceleration > 0 && Circuit.IsDrsZone(LapDistance);
        if (drs != DrsOpen)
        {
            DrsOpen = drs;
            Happened = new(drs ? CarEventKind.DrsOpen : CarEventKind.DrsClosed, [Kmh, LapDistance]);
        }
    }

    private double Kmh => Speed * 3.6;

    private void ChangeGear()
    {
        _sinceShift += StepSeconds;
        var next = Powertrain.NextGear(Car, Gear, Speed, _braking);
        if (next != Gear && _sinceShift > (next > Gear ? 0.09 : 0.12))
        {
            Happened = new(CarEventKind.GearShift, [Gear, next, Math.Round(Rpm)]);
            _rpmBeforeShift = Rpm;
            Gear = next;
            _sinceShift = 0;
        }

        var rpm = Powertrain.Rpm(Car, Gear, Speed);
        if (Gear == 1 && Throttle > 0.3) rpm = Math.Max(rpm, Powertrain.LaunchRpm * Math.Min(1, 0.6 + Seconds));
        rpm = Math.Clamp(rpm, Powertrain.IdleRpm, Powertrain.LimiterRpm);
        Rpm = _sinceShift < ShiftSeconds ? _rpmBeforeShift + (rpm - _rpmBeforeShift) * _sinceShift / ShiftSeconds : rpm;
    }

    // What force the acceleration takes, and so what the pedals are doing.
    private void Drive()
    {
        var needed = Mass * LongitudinalAcceleration + Car.Drag(Mass, Speed, DrsOpen);
        var available = Math.Max(1, Powertrain.Force(Car, Gear, Speed));
        var engineBraking = Speed > 8 ? 900 + 0.12 * Rpm : 0;
        var throttle = needed > 0 ? Math.Min(1, needed / available) : 0;
        var braking = needed < 0 ? Math.Max(0, -needed - engineBraking) : 0;
        _braking = braking > 300;

        Throttle = Lag(Throttle, throttle, 0.018);
        BrakePressureFront = Lag(BrakePressureFront, braking * Car.BrakeFrontShare / 205, 0.02);
        BrakePressureRear = Lag(BrakePressureRear, braking * (1 - Car.BrakeFrontShare) / 188, 0.02);

        var wheelForce = needed > 0 ? Math.Min(needed, available) : -Math.Min(-needed, engineBraking);
        var ratio = Powertrain.Ratio(Gear);
        Torque = wheelForce >= 0
            ? wheelForce * Car.TyreRadius / (ratio * Car.DrivelineEfficiency)
            : wheelForce * Car.TyreRadius / ratio * 0.6;
        var power = Math.Max(0, wheelForce) * Speed / Car.DrivelineEfficiency;
        var heat = power / Car.EngineEfficiency + 26_000 * Rpm / Powertrain.LimiterRpm;
        Work += power * StepSeconds;
        FuelHeat += heat * StepSeconds;
        FuelFlow = heat / Car.FuelEnergy;
        Fuel = Math.Max(2, Fuel - FuelFlow * StepSeconds);
        Boost = Lag(Boost, Throttle * Math.Clamp((Rpm - 2500) / 3000, 0, 1) * 1.35, 0.12);

        var turns = _crankTurns + Rpm / 60 * StepSeconds;
        CylinderFired = (int)(turns / 2) != (int)(_crankTurns / 2);
        _crankTurns = turns;
    }

    // A front wheel locks now and then where the brakes bite, a rear one spins where the power comes back.
    private void SlipNowAndThen()
    {
        if (_slipping is not null)
        {
            _slipLeft -= StepSeconds;
            if (_slipLeft > 0) return;
            _slipping.ProvokedSlip = 0;
            _slipping = null;
            return;
        }

        var left = LateralAcceleration < 0;
        if (_braking && BrakePressureFront > 28 && Speed is > 18 and < 60 && _random.NextDouble() < 0.00011)
            Slip(Wheels[left ? 1 : 0], -0.85, CarEventKind.LockUp, BrakePressureFront);
        else if (Throttle > 0.35 && Gear <= 3 && Math.Abs(LateralAcceleration) > 6 && _random.NextDouble() < 0.00011)
            Slip(Wheels[left ? 3 : 2], 0.28, CarEventKind.WheelSpin, Throttle * 100);

        void Slip(Wheel wheel, double slip, CarEventKind kind, double pedal)
        {
            _slipping = wheel;
            _slipLeft = 0.12 + _random.NextDouble() * 0.28;
            wheel.ProvokedSlip = slip;
            Happened ??= new(kind, [Array.IndexOf([.. Wheels], wheel), Kmh, pedal]);
        }
    }

    private void LoadWheels()
    {
        var down = Car.Aero(Car.DownforceArea, Speed) * (DrsOpen ? 0.82 : 1);
        var pitch = Mass * LongitudinalAcceleration * Car.CentreOfGravityHeight / Car.Wheelbase;
        var roll = Mass * LateralAcceleration * Car.CentreOfGravityHeight / Car.TrackWidth;
        var needed = Mass * LongitudinalAcceleration + Car.Drag(Mass, Speed, DrsOpen);
        var total = Mass * CarSpecification.Gravity + down;
        var front = StaticLoad(true) * 2 + down * Car.DownforceFrontShare - pitch;

        for (var i = 0; i < 4; i++)
        {
            var wheel = Wheels[i];
            var axle = wheel.IsFront ? front : total - front;
            // Turning left presses the right-hand wheels down.
            var transfer = roll * (wheel.IsFront ? 0.54 : 0.46) * (wheel.IsLeft ? -1 : 1);
            var load = Math.Max(150, axle / 2 + transfer + _road[i] * Speed * 9);
            var driven = needed > 0
                ? wheel.IsFront ? 0 : needed / 2
                : needed / 2 * (wheel.IsFront ? Car.BrakeFrontShare : 1 - Car.BrakeFrontShare);
            var lateral = Mass * LateralAcceleration * load / total;
            var hub = Speed + YawRate * Car.TrackWidth / 2 * (wheel.IsLeft ? -1 : 1);
            wheel.Step(load, driven, lateral, hub, Speed, Car.AirTemperature, StepSeconds);
        }
    }

    private void WarmFluids()
    {
        var power = Math.Max(0, Torque) * Rpm * Math.PI / 30;
        var cooling = WaterTemperature - Car.AirTemperature;
        WaterTemperature += (0.27 * power + 6_000 - (250 + 14.5 * Speed) * cooling) / 52_000 * StepSeconds;
        OilTemperature += (0.095 * power + 3 * Rpm - (160 + 6.4 * Speed) * (OilTemperature - Car.AirTemperature)) / 30_000 * StepSeconds;
        GearboxTemperature += (0.03 * power - (40 + 1.7 * Speed) * (GearboxTemperature - Car.AirTemperature)) / 21_000 * StepSeconds;
        ExhaustTemperature = Lag(ExhaustTemperature, 430 + 420 * Throttle + 130 * Rpm / Powertrain.LimiterRpm, 1.1);
    }

    private double StaticLoad(bool front) =>
        Mass * CarSpecification.Gravity * (front ? Car.WeightFrontShare : 1 - Car.WeightFrontShare) / 2;

    // The road under the wheels, about -1 to 1: the same bumps every lap, a little different left and right.
    private void RollOverRoad()
    {
        for (var i = 0; i < 4; i++)
        {
            var x = LapDistance - (Wheels[i].IsFront ? 0 : Car.Wheelbase);
            var side = Wheels[i].IsLeft ? 0 : 0.7;
            _road[i] = 0.42 * Math.Sin(_bumps[0].PerMetre * x + _bumps[0].Phase + side)
                + 0.33 * Math.Sin(_bumps[1].PerMetre * x + _bumps[1].Phase - side)
                + 0.25 * Math.Sin(_bumps[2].PerMetre * x + _bumps[2].Phase + 2 * side);
        }
    }

    // A whole number of waves a lap, so that the road has no step at the line.
    private (double PerMetre, double Phase) Bump(double perMetre) =>
        (Math.Round(perMetre * Circuit.Length / (2 * Math.PI)) * 2 * Math.PI / Circuit.Length, _random.NextDouble() * 2 * Math.PI);

    private static double Lag(double value, double target, double seconds) => value + (target - value) * StepSeconds / (seconds + StepSeconds);

    private LapPlan NextPlan() =>
        new(Circuit, Car, Mass, Speed, commitment: 0.945 + 0.035 * _random.NextDouble(), drsAllowed: Lap > 1);
}
