"""The reference drivers of UN Regulation 157: when they see a risk and how they brake for it.

The regulation (automated lane keeping systems) says of which disturbances a system must make no
accident by comparing it with modelled drivers. Four models are compared by Mattas et al., "Driver
models for the definition of safety requirements of automated vehicles in international
regulations. Application to motorway driving conditions", Accident Analysis & Prevention 174 (2022),
whose program is ec-jrc/JRC-FSM:

- ``CC``: the careful and competent human of Annex 4, Appendix 3;
- ``FSM``: the fuzzy safety model, which also brakes gently before it is critical;
- ``RSS``: responsibility-sensitive safety with the parameters of that comparison;
- ``Reg157``: the requirement of 5.2.5.2 on a system itself.

Everything broadcasts over cases. ``cut_in`` is the closed-loop comparison of that program; its
results are reproduced, with these peculiarities: the timers count down in floating steps (0.75 s
are 8 steps of 0.1 s, 0.35 s are 4); CC and Reg157 also take a short time to a collision *in the
past*, when the other has become the faster one, for a risk, so that they may brake to a standstill
behind a car that drives away (``closing_only`` ends that); CC's release of the pedal does not end
at a standstill, so that a car slower than 0.3 m/s may roll back; both cars' first sample lies one
step after the start. Sums and quotients are taken in the program's order: cars that touch to the
last bit do so in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

G = 9.81
FULL_BRAKING = 0.774 * G
"""m/s^2, what the careful driver reaches (Annex 4, Appendix 3)"""
JERK = 12.65
"""m/s^3, with which he gets there: 0.6 s"""
SPEED_CHANGE = 1.0
"""m/s^2 with which a driver that has not yet reacted goes back to the speed it wants"""

CC_TTC = 2.0
"""s, time to collision at or below which the careful driver sees a risk"""
REG157_DECELERATION = 6.0
"""m/s^2 (5.2.5.2)"""
REG157_REACTION = 0.35
"""s (5.2.5.2)"""
REG157_SIDE = 0.5
"""m between the cars' sides within which the other counts as cutting in"""
RSS_ACCELERATION, RSS_BRAKING, RSS_SIDEWAYS, RSS_MARGIN = 3.0, 6.0, 1.0, 0.3
"""m/s^2 forwards, braking, sideways (both accelerating and braking); m of lateral margin"""
FSM_COMFORTABLE, FSM_HARD, FSM_LEADER = 4.0, 6.0, 7.0
"""m/s^2: the ego's comfortable and hard braking, and the leader's braking it allows for"""
FSM_MARGIN = 2.0
"""m kept at a standstill, and as much again within which it already feels unsafe"""

LENGTH, WIDTH = 4.3, 1.9
"""m, both cars of the comparison"""
INITIAL_LATERAL_GAP = 1.6
"""m between their sides at the start"""
RATE, STEPS = 10, 350
"""1/s, samples of the comparison, and how many it has"""
STEP = 1.0 / RATE
"""s"""


@dataclass(frozen=True)
class DriverModel:
    """How a model brakes once it has seen a risk."""

    reaction: float
    """s until it brakes"""
    release: float
    """m/s^2 of deceleration in the meantime, from letting go of the pedal"""
    jerk: float
    """m/s^3 with which braking builds up"""
    braking: float
    """m/s^2 at most"""


MODELS: dict[str, DriverModel] = {
    "CC": DriverModel(0.75, 0.4, JERK, FULL_BRAKING),
    "FSM": DriverModel(0.75, 0.0, JERK, FULL_BRAKING),
    "RSS": DriverModel(0.75, 0.0, JERK, FULL_BRAKING),
    "Reg157": DriverModel(REG157_REACTION, 0.0, np.inf, REG157_DECELERATION),
}


def driver_model(name: str) -> DriverModel:
    """The model of that name; RoadloopError names the known ones."""
    if name not in MODELS:
        raise RoadloopError(f"no R157 driver model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


@dataclass(frozen=True)
class Encounter:
    """The ego and one other road user at one moment; fields ``(...)`` that broadcast."""

    ahead: Array | float
    """m along the road from the ego's centre to the other's, negative where the ego is ahead"""
    lengths: Array | float
    """m, both lengths together"""
    lateral_gap: Array | float
    """m between their sides, below 0 where they overlap"""
    ego_speed: Array | float
    """m/s"""
    ego_acceleration: Array | float
    """m/s^2 over the last step"""
    other_speed: Array | float
    """m/s along the road"""
    towards: Array | float
    """m/s of the other sideways, positive towards the ego"""

    @property
    def gap(self) -> Array:
        """m between the bumpers; half of either car is taken off by itself, as in the reference."""
        half = np.asarray(self.lengths) / 4.0
        return np.abs(self.ahead) - half - half


def unsafe(model: str, encounter: Encounter, *, closing_only: bool = False) -> tuple[Array, Array]:
    """Where the model sees a risk, bool, and the deceleration it then wants, m/s^2; each ``(...)``.

    The deceleration is inf where the model asks for all it has. ``closing_only``: CC and Reg157
    see a risk only while the ego is the faster one; the reference has no such condition.
    """
    driver_model(model)
    e = encounter
    behind = np.asarray(e.ahead) >= 0.0
    closing = np.asarray(e.ego_speed, float) - e.other_speed
    demand = np.full(np.broadcast(e.ahead, closing, e.lateral_gap).shape, np.inf)
    if model == "FSM":
        pfs = proactive_fuzzy(e.gap, e.ego_speed, e.other_speed, MODELS["FSM"].reaction)
        cfs = critical_fuzzy(
            e.gap, e.ego_speed, e.other_speed, MODELS["FSM"].reaction, e.ego_acceleration
        )
        demand = np.where(
            cfs > 0.0, cfs * (FSM_HARD - FSM_COMFORTABLE) + FSM_COMFORTABLE, pfs * FSM_COMFORTABLE
        )
        risk = _arrives_in_time(e, closing) & (cfs + pfs > 0.0)
    elif model == "RSS":
        risk = (e.gap < _rss_distance(e)) & (e.lateral_gap < _rss_lateral_distance(e))
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            ttc = np.abs(e.gap / closing)
        if model == "CC":
            risk = (np.asarray(e.lateral_gap) <= 0.0) & ~(ttc > CC_TTC)
        else:
            # 0.1 s on top of the regulation's reaction: the comparison's step
            bound = closing / (2.0 * REG157_DECELERATION) + REG157_REACTION + 0.1
            risk = (np.asarray(e.lateral_gap) <= REG157_SIDE) & ~(ttc > bound)
        if closing_only:
            risk = risk & (closing > 0.0)
    return behind & risk, demand


def proactive_fuzzy(
    gap: Array | float, speed: Array | float, other_speed: Array | float, reaction: float | Array
) -> Array:
    """PFS in [0, 1]: how far the gap (m) is from safe even if the leader brakes; ``(...)``."""
    speed, other_speed = np.asarray(speed, float), np.asarray(other_speed, float)
    waited, leader = speed * reaction, other_speed**2 / (2.0 * FSM_LEADER)
    safe = waited + speed**2 / (2.0 * FSM_COMFORTABLE) - leader + FSM_MARGIN
    danger = waited + speed**2 / (2.0 * FSM_HARD) - leader
    return _share(np.asarray(gap) - FSM_MARGIN, safe, danger)


def critical_fuzzy(
    gap: Array | float,
    speed: Array | float,
    other_speed: Array | float,
    reaction: float | Array,
    acceleration: Array | float,
) -> Array:
    """CFS in [0, 1]: how far the gap (m) is from safe if the leader keeps its speed; ``(...)``.

    The ego is taken to keep ``acceleration`` (m/s^2), at the least comfortable braking, while it
    reacts.
    """
    gap, speed = np.asarray(gap, float), np.asarray(speed, float)
    acceleration = np.asarray(acceleration, float)
    kept = np.maximum(acceleration, -FSM_COMFORTABLE)
    later = speed + reaction * kept
    reacting = (speed + kept * reaction / 2.0 - other_speed) * reaction
    square = (later - other_speed) ** 2
    value = _share(
        gap,
        reacting + square / (2.0 * FSM_COMFORTABLE),
        reacting + square / (2.0 * FSM_HARD),
    )
    # slower than the leader before it has reacted: then it needs the room for that only
    braking = (later < other_speed) & (acceleration < 0.0)
    needed = (speed - other_speed) ** 2 / np.where(braking, np.abs(2.0 * acceleration), 1.0)
    value = np.where(later < other_speed, (gap < needed).astype(float), value)
    return np.where(speed <= other_speed, 0.0, value)


def _share(gap: Array, safe: Array, danger: Array) -> Array:
    """0 from ``safe`` on, 1 up to ``danger``, linear between."""
    span = safe - danger
    inside = (safe - gap) / np.where(span > 0.0, span, 1.0)
    return np.where(gap > safe, 0.0, np.where(gap < danger, 1.0, inside))


def _arrives_in_time(e: Encounter, closing: Array) -> Array:
    """FSM: the other is in the ego's lane, or gets there before the ego has passed it (+ 0.1 s)."""
    aside, towards = np.asarray(e.lateral_gap, float), np.asarray(e.towards, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        arrives = aside / np.where(towards > 0.0, towards, np.nan)
        passed = (np.abs(e.ahead) + np.asarray(e.lengths) / 2.0) / closing
    comes = (towards > 0.0) & ~(arrives > passed + 0.1)
    return (aside <= 0.0) | comes


def _rss_distance(e: Encounter) -> Array:
    speed, wait = np.asarray(e.ego_speed, float), MODELS["RSS"].reaction
    reached = speed + wait * RSS_ACCELERATION
    waited = speed * wait + RSS_ACCELERATION * wait**2 / 2.0
    leader = np.asarray(e.other_speed, float) ** 2 / (2.0 * RSS_BRAKING)
    return waited + reached**2 / (2.0 * RSS_BRAKING) - leader


def _rss_lateral_distance(e: Encounter) -> Array:
    """The ego is taken to keep its lateral place."""
    drift, wait = np.abs(e.towards), MODELS["RSS"].reaction
    reached = drift + RSS_SIDEWAYS * wait
    return RSS_MARGIN + (drift + reached) * wait / 2.0 + reached**2 / (2.0 * RSS_SIDEWAYS)


@dataclass(frozen=True)
class Reaction:
    """How far a driver's answer to a risk has come; fields ``(...)``."""

    countdown: Array | float
    """s until it brakes; at or below 0 it does"""
    deceleration: Array | float
    """m/s^2 so far"""


def attentive(model: str) -> Reaction:
    """A driver that has seen no risk yet."""
    return Reaction(driver_model(model).reaction, 0.0)


def react(
    model: str, reaction: Reaction, demand: Array | float, dt: float = STEP
) -> tuple[Reaction, Array]:
    """One step of ``dt`` s with a risk: the answer after it and its deceleration (m/s^2), (...).

    ``demand`` is what the model wants at most (`unsafe`).
    """
    driver = driver_model(model)
    waiting = np.asarray(reaction.countdown) > 0.0
    built = np.minimum(np.asarray(reaction.deceleration) + driver.jerk * dt, driver.braking)
    deceleration = np.where(waiting, driver.release, np.minimum(built, demand))
    countdown = np.where(waiting, np.asarray(reaction.countdown) - dt, reaction.countdown)
    return Reaction(countdown, deceleration), deceleration


@dataclass(frozen=True)
class CutIn:
    """What came of a cut-in; cases first."""

    crash: Array
    """(cases,) bool"""
    crash_type: Array
    """(cases,) int: 0 none, 1 with the ego ahead of the other's middle, 2 behind it"""
    speed: Array
    """(cases, steps) m/s of the ego; the drive goes on through a crash"""
    position: Array
    """(cases, steps) m of the ego's centre along the road, 0 one step before the first sample"""


def cut_in(
    model: str,
    ego_speed: Array | float,
    other_speed: Array | float,
    lateral_speed: Array | float,
    front_gap: Array | float,
    *,
    closing_only: bool = False,
) -> CutIn:
    """The JRC comparison of a cut-in, all cases at once; inputs ``(cases,)``.

    The ego drives at ``ego_speed`` (m/s), the other at ``other_speed`` starts ``front_gap`` m
    ahead, bumper to bumper, and `INITIAL_LATERAL_GAP` to the side, moves sideways at
    ``lateral_speed`` (m/s, negative towards the ego) until it is in the ego's lane, and goes on at
    constant speed. Raises RoadloopError for unknown models and impossible numbers.
    """
    given = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(v, float)) for v in (ego_speed, other_speed, lateral_speed))
    )
    ego_speed, other_speed, lateral_speed, gap = np.broadcast_arrays(*given, front_gap)
    numbers = np.stack([ego_speed, other_speed, lateral_speed, gap])
    if not np.isfinite(numbers).all() or (numbers[:2] < 0.0).any():
        raise RoadloopError(
            "cut_in: speeds, lateral speed and front gap must be finite, speeds along the road 0 "
            "or more, in m/s and m"
        )
    side = INITIAL_LATERAL_GAP + WIDTH
    drifting = np.where(lateral_speed == 0.0, 1.0, np.abs(lateral_speed))
    moving = np.floor_divide(side * RATE, drifting) + 1
    sideways = np.where(np.arange(STEPS) < moving[:, None], lateral_speed[:, None], 0.0)
    along = np.broadcast_to(other_speed[:, None], sideways.shape)
    other_y = np.cumsum(sideways, axis=1) / RATE + side
    other_x = np.cumsum(along, axis=1) / RATE + (gap + LENGTH)[:, None]

    cases = len(ego_speed)
    speed, x = np.empty((cases, STEPS)), np.empty((cases, STEPS))
    speed[:, 0], x[:, 0] = ego_speed, ego_speed / RATE
    crash_type, reacted = np.zeros(cases, np.int64), np.zeros(cases, bool)
    reaction = attentive(model)
    for i in range(STEPS - 1):
        v = speed[:, i]
        encounter = Encounter(
            ahead=other_x[:, i] - x[:, i],
            lengths=2.0 * LENGTH,
            lateral_gap=np.abs(other_y[:, i]) - WIDTH / 2.0 - WIDTH / 2.0,
            ego_speed=v,
            ego_acceleration=(v - speed[:, max(i - 1, 0)]) * RATE,
            other_speed=other_speed,
            towards=-sideways[:, i],
        )
        risk, demand = unsafe(model, encounter, closing_only=closing_only)
        answered, deceleration = react(model, reaction, demand)
        wanted = np.clip(ego_speed, v - SPEED_CHANGE / RATE, v + SPEED_CHANGE / RATE)
        kept = np.where(reacted, v, wanted)
        slower = v - deceleration / RATE
        released = np.asarray(reaction.countdown) > 0.0  # the one answer that may go below 0
        slower = np.where(released, slower, np.maximum(slower, 0.0))
        speed[:, i + 1] = np.where(risk, slower, kept)
        x[:, i + 1] = x[:, i] + speed[:, i + 1] / RATE
        reaction = Reaction(
            np.where(risk, answered.countdown, reaction.countdown),
            np.where(risk, answered.deceleration, reaction.deceleration),
        )
        reacted |= risk
        touching = (encounter.gap < 0.0) & (np.asarray(encounter.lateral_gap) < 0.0)
        how = np.where(np.asarray(encounter.ahead) < 0.0, 1, 2)
        crash_type = np.where((crash_type == 0) & touching, how, crash_type)
    return CutIn(crash_type > 0, crash_type, speed, x)


# --- what the regulation asks of a system itself ------------------------------------------------

TIME_GAPS = ((2.0, 1.0), (10.0 / 3.6, 1.1), (20.0 / 3.6, 1.2), (30.0 / 3.6, 1.3),
             (40.0 / 3.6, 1.4), (50.0 / 3.6, 1.5), (60.0 / 3.6, 1.6))  # fmt: skip
"""m/s and s: the least time gap at a speed (5.2.3.3)"""
LEAST_DISTANCE = 2.0
"""m, kept in any case (5.2.3.3)"""


def following_distance(speed: Array | float) -> Array:
    """m an automated lane keeping system stays behind a vehicle at ``speed`` (m/s), ``(...)``.

    5.2.3.3: speed times the time gap, linear between the table's rows and 1.6 s above 60 km/h.
    """
    speeds, gaps = np.array(TIME_GAPS).T
    speed = np.asarray(speed, float)
    return np.maximum(speed * np.interp(speed, speeds, gaps), LEAST_DISTANCE)


def must_avoid_cut_in(time_to_collision: Array | float, closing_speed: Array | float) -> Array:
    """5.2.5.2: whether a system must avoid the collision with a vehicle cutting in, bool ``(...)``.

    ``time_to_collision`` (s) is taken when the other has intruded 0.3 m into the lane, at the speed
    difference ``closing_speed`` (m/s): it must where there is time to brake with 6 m/s^2 after
    0.35 s.
    """
    needed = np.asarray(closing_speed, float) / (2.0 * REG157_DECELERATION) + REG157_REACTION
    return np.asarray(time_to_collision) > needed
