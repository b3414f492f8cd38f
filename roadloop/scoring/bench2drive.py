"""Bench2Drive: success, efficiency, comfort and abilities of one route and over its 220 routes.

Definitions of Thinklab-SJTU/Bench2Drive 0.0.4 (``tools/merge_route_json.py``,
``tools/efficiency_smoothness_benchmark.py``, ``tools/ability_benchmark.py``), proven equal to their
outputs. Route scores come from ``carla`` with the version "bench2drive".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.carla import InfractionKind, RouteScore, route_score
from roadloop.scoring.carla_criteria import carla_run, route_record
from roadloop.scoring.carla_score import infraction_terms, route_terms
from roadloop.scoring.comfort import BOUNDS
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score, Term
from roadloop.types import Rollout

Array = np.ndarray

ROUTES = 220
"""Routes of the benchmark; those that were not driven count as failed with 0 points"""
FASTEST = 1000.0
"""%, a part of the route driven at more of the traffic's speed is left out of the efficiency"""
FRAME_TIME = 0.1
"""s between the frames comfort is judged on"""
PIECE = 20
"""Frames of a piece of the drive that is comfortable or not (2 s)"""
WINDOW = 7
"""Frames over which a signal is smoothed by parabolas"""
LEAST_FRAMES = 3
"""A parabola takes three frames"""

_TURNS = (
    "NonSignalizedJunctionLeftTurn",
    "NonSignalizedJunctionRightTurn",
    "NonSignalizedJunctionLeftTurnEnterFlow",
    "SignalizedJunctionLeftTurn",
    "SignalizedJunctionRightTurn",
    "SignalizedJunctionLeftTurnEnterFlow",
)
_AT_JUNCTIONS = (
    "BlockedIntersection",
    "OppositeVehicleTakingPriority",
    "OppositeVehicleRunningRedLight",
    "PedestrianCrossing",
    "VehicleTurningRoute",
    "VehicleTurningRoutePedestrian",
)
# fmt: off
ABILITIES: dict[str, frozenset[str]] = {
    "overtaking": frozenset((
        "Accident", "AccidentTwoWays", "ConstructionObstacle", "ConstructionObstacleTwoWays",
        "HazardAtSideLane", "HazardAtSideLaneTwoWays", "ParkedObstacle", "ParkedObstacleTwoWays",
        "VehicleOpensDoorTwoWays",
    )),
    "merging": frozenset((
        *_TURNS, "CrossingBicycleFlow", "EnterActorFlow", "HighwayCutIn", "HighwayExit",
        "InterurbanActorFlow", "InterurbanAdvancedActorFlow", "MergerIntoSlowTraffic",
        "MergerIntoSlowTrafficV2", "ParkingExit", "SequentialLaneChange",
    )),
    "emergency_brake": frozenset((
        *_AT_JUNCTIONS, "ControlLoss", "DynamicObjectCrossing", "HardBreakRoute", "ParkingCutIn",
        "ParkingCrossingPedestrian", "StaticCutIn",
    )),
    "give_way": frozenset(("InvadingTurn", "YieldToEmergencyVehicle")),
    "traffic_sign": frozenset((
        *_TURNS, *_AT_JUNCTIONS, "CrossingBicycleFlow", "EnterActorFlow", "T_Junction",
        "VanillaNonSignalizedTurn", "VanillaNonSignalizedTurnEncounterStopsign",
        "VanillaSignalizedTurnEncounterGreenLight", "VanillaSignalizedTurnEncounterRedLight",
    )),
}
# fmt: on
"""Which of CARLA's scenario types ask for which ability. The types are CARLA's: a scenario of
another make belongs to none, whatever its name."""


@dataclass(frozen=True)
class Bench2DriveResults:
    """The benchmark's figures over all its routes; per-route lists are of the routes driven."""

    driving_score: float
    """%, routes that were not driven count 0"""
    success_rate: float
    """share of all routes"""
    efficiency: float | None
    """% of the traffic's speed, mean over the routes that have one; can exceed 100"""
    comfort: float | None
    """share of comfortable pieces, mean over the routes that were recorded"""


@dataclass(frozen=True)
class AbilityRoute:
    """One route as the ability table sees it."""

    scenario: str
    """CARLA's type, e.g. ParkingCutIn"""
    score: RouteScore
    past_first_junction: bool | None = None
    """whether it was driven to more than 8 m beyond where its first junction begins; only asked
    for where a route with traffic signs failed"""


def bench2drive_score(driven: Driven, *, corrected: bool = False) -> Score:
    """Whether Bench2Drive counts a drive as a success, 0 or 1, and its other figures as terms.

    Terms: success, driving score (%), route completion, infraction penalty, efficiency (% of the
    traffic's speed), comfort (share of 2 s pieces), and one per kind of infraction but low speed.
    ``corrected``: comfort with yaw signals in rad/s, see ``comfortable``. Raises RoadloopError for
    rollouts that cannot be judged (see ``carla_criteria.route_record``).
    """
    scored = route_score(route_record(driven, "bench2drive"), "bench2drive")
    slow = InfractionKind.MIN_SPEED_INFRACTION  # a measurement here, no infraction
    wrong = tuple(i for i in scored.infractions if i.kind is not slow)
    judged = replace(scored, infractions=wrong)
    terms = (
        _success_term(judged),
        Term(
            name="driving_score",
            title="Driving score",
            value=scored.driving_score,
            unit="%",
            passed=None,
            lost_at=None,
            detail="route completion times infraction penalty",
            higher_is_better=True,
        ),
        *route_terms(driven, judged),
        _efficiency_term(scored),
        _comfort_term(driven, corrected),
        *(term for term in infraction_terms(driven, judged) if term.name != slow.value),
    )
    return Score(
        name="bench2drive",
        title="Bench2Drive",
        version="0.0.4, yaw in rad/s" if corrected else "0.0.4",
        value=float(success(scored)),
        unit="",
        terms=terms,
    )


def _success_term(scored: RouteScore) -> Term:
    times = [i.time for i in scored.infractions if i.time is not None]
    said = [f"{i.kind.value}: {i.detail}" for i in scored.infractions[:3]]
    if not scored.completed:
        said.append(f"drove {scored.completion:.0f} % of the route")
    passed = success(scored)
    return Term(
        name="success",
        title="Success",
        value=float(passed),
        unit="",
        passed=passed,
        lost_at=min(times) if times else None,
        detail="; ".join(said) or "drove the whole route without an infraction",
        higher_is_better=True,
    )


def _efficiency_term(scored: RouteScore) -> Term:
    value = efficiency(scored)
    parts = sum(i.kind is InfractionKind.MIN_SPEED_INFRACTION for i in scored.infractions)
    return Term(
        name="efficiency",
        title="Efficiency",
        value=value,
        unit="%",
        passed=None,
        lost_at=None,
        detail="no part of the route to compare" if value is None else f"over {parts} parts",
        higher_is_better=True,
    )


def _comfort_term(driven: Driven, corrected: bool) -> Term:
    last = carla_run(driven, "bench2drive").end_step
    motion = [
        values[: round(last * driven.rollout.dt / FRAME_TIME) + 1]
        for values in carla_motion(driven.rollout)
    ]
    frames = len(motion[0])
    value = None
    detail = f"takes {LEAST_FRAMES} frames of 0.1 s, the run has {frames}"
    if frames >= LEAST_FRAMES:
        value = comfort_share(*motion, corrected=corrected)
        detail = f"of {max(frames // PIECE, 1)} pieces of 2 s"
    return Term(
        name="comfort",
        title="Comfort",
        value=value,
        unit="",
        passed=None,
        lost_at=None,
        detail=detail,
        higher_is_better=True,
    )


def carla_motion(rollout: Rollout) -> tuple[Array, Array, Array, Array]:
    """What CARLA would have logged of the ego's motion, the inputs of ``comfort_share``.

    Acceleration (m/s^2), angular velocity (degrees/s), forward and right vector, each
    ``(frames, 3)`` every FRAME_TIME, in CARLA's world frame: x east, y south, z up, so that
    turning right is positive. The acceleration is the box centre's: that of the rear axle,
    (a, v w), moved d forward on a rigid body, (a - d w^2, v w + d w').
    """
    ego, dt = rollout.ego, rollout.dt
    offset = ego.vehicle.centre_offset
    turning = np.gradient(ego.yaw_rate, dt) if len(ego.x) > 1 else np.zeros(len(ego.x))
    time = np.arange(len(ego.x)) * dt
    frames = np.arange(int(time[-1] / FRAME_TIME + 1e-6) + 1) * FRAME_TIME

    def at_frames(values: Array) -> Array:
        return np.interp(frames, time, values)

    ahead = at_frames(ego.acceleration - offset * ego.yaw_rate**2)
    aside = at_frames(ego.speed * ego.yaw_rate + offset * turning)
    heading = at_frames(np.unwrap(ego.heading))
    flat = np.zeros(len(frames))
    forward = np.stack([np.cos(heading), -np.sin(heading), flat], axis=-1)
    right = np.stack([np.sin(heading), np.cos(heading), flat], axis=-1)
    acceleration = ahead[:, None] * forward - aside[:, None] * right
    angular = np.stack([flat, flat, -np.rad2deg(at_frames(ego.yaw_rate))], axis=-1)
    return acceleration, angular, forward, right


def success(score: RouteScore) -> bool:
    """Driven to the end with no infraction of any kind but a low speed."""
    slow = InfractionKind.MIN_SPEED_INFRACTION
    return score.completed and all(i.kind is slow for i in score.infractions)


def efficiency(score: RouteScore) -> float | None:
    """Mean % of the traffic's speed over the parts of a route, None where no part has one.

    Parts above ``FASTEST`` are left out. (The reference divides by zero where that leaves none.)
    """
    slow = InfractionKind.MIN_SPEED_INFRACTION
    parts = [i.percentage for i in score.infractions if i.kind is slow and i.percentage is not None]
    parts = [part for part in parts if part <= FASTEST]
    return sum(parts) / len(parts) if parts else None


def bench2drive_results(
    scores: Sequence[RouteScore], comfort: Sequence[float] = (), routes: int = ROUTES
) -> Bench2DriveResults:
    """The benchmark's figures from the scores of the routes driven and their comfort shares.

    Raises RoadloopError where more routes were driven than the benchmark has, or it has none.
    """
    if routes < 1 or len(scores) > routes:
        raise RoadloopError(
            f"{len(scores)} routes were driven of {routes}: give the benchmark's number of routes"
        )
    speeds = [value for score in scores if (value := efficiency(score)) is not None]
    return Bench2DriveResults(
        driving_score=sum(score.driving_score for score in scores) / routes,
        success_rate=sum(success(score) for score in scores) / routes,
        efficiency=sum(speeds) / len(speeds) if speeds else None,
        comfort=sum(comfort) / len(comfort) if len(comfort) else None,
    )


def ability_results(routes: Sequence[AbilityRoute]) -> dict[str, float | None]:
    """Share of successful routes by ability, and their "mean"; None where no route asks for it.

    A route counts under every ability of its type. Under "traffic_sign" a failed one counts as
    passed where it got past its first junction without running a light or a stop sign. The
    reference ends with a division by zero where an ability has no route; here it is left out.
    Raises RoadloopError where it is not known whether a failed route got past its junction.
    """
    shares: dict[str, float | None] = {}
    for ability, types in ABILITIES.items():
        members = [route for route in routes if route.scenario in types]
        passed = [_passes(route, ability == "traffic_sign") for route in members]
        shares[ability] = sum(passed) / len(passed) if passed else None
    known = [share for share in shares.values() if share is not None]
    return {**shares, "mean": sum(known) / len(known) if known else None}


def _passes(route: AbilityRoute, signs_only: bool) -> bool:
    if success(route.score):
        return True
    ran = (InfractionKind.TRAFFIC_LIGHT_INFRACTION, InfractionKind.STOP_INFRACTION)
    if not signs_only or any(i.kind in ran for i in route.score.infractions):
        return False
    if route.past_first_junction is None:
        raise RoadloopError(
            f"traffic_sign: a {route.scenario} route failed; give past_first_junction for it"
        )
    return route.past_first_junction


def comfort_share(
    acceleration: Array,
    angular_velocity: Array,
    forward: Array,
    right: Array,
    *,
    corrected: bool = False,
) -> float:
    """Share of comfortable pieces of a drive, from what CARLA's vehicles report at 10 Hz.

    Args:
        acceleration: ``(frames, 3)`` m/s^2, world frame.
        angular_velocity: ``(frames, 3)`` degrees/s, as CARLA gives it.
        forward: ``(frames, 3)`` unit vector of the vehicle, world frame; ``right`` likewise.
        corrected: see ``comfortable``.

    The drive is cut into pieces of ``PIECE`` frames; an incomplete last one is left out, except
    where it is the only one. Raises RoadloopError for arrays that do not fit together, values that
    are not finite, or fewer than ``LEAST_FRAMES`` frames.
    """
    arrays = [np.asarray(a, float) for a in (acceleration, angular_velocity, forward, right)]
    frames = len(arrays[0])
    for name, values in zip(("acceleration", "angular velocity", "forward", "right"), arrays):
        if values.shape != (frames, 3):
            raise RoadloopError(
                f"comfort: {name} has shape {values.shape}; give ({frames}, 3) like acceleration"
            )
        if not np.isfinite(values).all():
            raise RoadloopError(f"comfort: {name} is not finite; drop frames without a value first")
    if frames < LEAST_FRAMES:
        raise RoadloopError(f"comfort takes {LEAST_FRAMES} frames, the drive has {frames}")
    if frames > PIECE:
        count = frames // PIECE
        arrays = [a[: count * PIECE].reshape(count, PIECE, 3) for a in arrays]
    else:
        arrays = [a[None] for a in arrays]
    return float(comfortable(*arrays, corrected=corrected).mean())


def comfortable(
    acceleration: Array,
    angular_velocity: Array,
    forward: Array,
    right: Array,
    *,
    corrected: bool = False,
) -> Array:
    """(...,) bool: pieces of a drive keep within nuPlan's bounds; ``(..., frames, 3)``, as above.

    Signals are smoothed by parabolas over ``WINDOW`` frames, jerks are derivatives of the smoothed
    signals, smoothed once more; a sample on its bound breaks it. As the reference does it, the yaw
    rate is unwrapped like an angle and compared in degrees/s with a bound in rad/s, and stands in
    for the yaw acceleration, too. ``corrected``: in rad/s, not unwrapped, and with the yaw
    acceleration its derivative.
    """
    flat, yaw = acceleration[..., :2], angular_velocity[..., 2]
    longitudinal = _smooth((flat * forward[..., :2]).sum(-1))
    lateral = _smooth((flat * right[..., :2]).sum(-1))
    magnitude = _smooth(np.hypot(flat[..., 0], flat[..., 1]))
    if corrected:
        yaw_rate = _smooth(np.deg2rad(yaw))
        yaw_acceleration = _smooth(np.deg2rad(yaw), derivative=1)
    else:
        turns = np.cumsum(np.round(np.diff(yaw) / (2.0 * np.pi)), axis=-1)
        turns = np.concatenate([np.zeros_like(yaw[..., :1]), turns], axis=-1)
        yaw_rate = _smooth(yaw - 2.0 * np.pi * turns)
        yaw_acceleration = yaw_rate
    signals = {
        "longitudinal acceleration": longitudinal,
        "lateral acceleration": lateral,
        "jerk": _smooth(magnitude, derivative=1),
        "longitudinal jerk": _smooth(longitudinal, derivative=1),
        "yaw acceleration": yaw_acceleration,
        "yaw rate": yaw_rate,
    }
    kept = [
        ((BOUNDS[name][0] < signal) & (signal < BOUNDS[name][1])).all(-1)
        for name, signal in signals.items()
    ]
    return np.all(kept, axis=0)


def _smooth(signal: Array, derivative: int = 0) -> Array:
    """Parabolas over WINDOW frames (Savitzky and Golay 1964), extrapolated at both ends."""
    from scipy.signal import savgol_filter

    window = min(WINDOW, signal.shape[-1])
    return np.asarray(savgol_filter(signal, window, 2, deriv=derivative, delta=FRAME_TIME))
