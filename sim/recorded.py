"""Recorded drives as scenarios: our driver in the ego's seat, the others as they were recorded.

Non-reactive, everybody else moves as recorded whatever the ego does. Reactive, vehicles brake for
an ego that is elsewhere than the recorded one was: ``sim.reactive``. Steps are ``dt`` apart, from
the first step of the recording on; what was recorded at other times is interpolated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.logs.recording import Recording
from roadloop.maps.match import extended, match_drive
from roadloop.types import (
    Action,
    AgentKind,
    Agents,
    AgentStates,
    Behaviour,
    EgoState,
    LightProgramme,
    LightState,
    Route,
    Scenario,
    Trigger,
    at,
)

Array = np.ndarray

FAMILY = "recorded"
"""of all scenarios made here"""
BEYOND = 50.0
"""m by which the route goes on after the recorded drive, so that no driver brakes for its end"""
LEAD = 30.0
"""m the recorded ego may drive before it is on the lanes, as out of a car park"""
GAP = 1.1
"""s between two labels over which a road user is interpolated; after a longer gap it is a new one
that appears"""
REACTIVE_GAP = 5.0
"""s, likewise for road users that react: they do not vanish while they are hidden"""
HEADWAY, MIN_GAP, ACCELERATION, DECELERATION = 1.5, 1.0, 1.5, 3.0
"""IDM of reactive road users: nuPlan's defaults but for the acceleration of 1 m/s^2, with which
recorded traffic would not keep up"""


def recorded_scenario(
    recording: Recording,
    *,
    reactive: bool = False,
    seconds: float | None = None,
    start: float = 0.0,
    dt: float = 0.1,
) -> Scenario:
    """A recording as a closed-loop problem.

    The route is the recorded ego's on the lane graph and goes on straight for ``BEYOND`` m;
    ``Scenario.expert`` is the recorded ego. Where the recorded ego starts off the lanes (in a car
    park), so does ours.

    Args:
        reactive: vehicles and cyclists brake for the ego.
        seconds: s, length of the drive; by default to the recording's end.
        start: s into the recording at which the drive begins.

    Raises:
        RoadloopError: a recording without map, road users or motion; an ego that is on no lane, or
            not for its first ``LEAD`` m.
    """
    where = f"{recording.dataset} drive {recording.name}"
    if not recording.continuous or len(recording) < 2:
        raise RoadloopError(f"{where} is single frames, not a drive: there is nothing to replay")
    if recording.agents is None:
        raise RoadloopError(f"{where} has no labelled road users: a replay would be empty")
    road_map = recording.road_map
    if road_map is None:
        raise RoadloopError(f"{where} has no map to drive on: replay needs one")
    times = recording.timestamp_us * 1e-6
    if not start >= 0.0:
        raise RoadloopError(f"{where}: start is {start:g} s; it must be 0 or more")
    if start + dt > float(times[-1]) + 1e-6:
        raise RoadloopError(
            f"{where} lasts {times[-1]:.1f} s: nothing is left of it after {start:g} s"
        )
    length = float(times[-1]) - start
    if seconds is not None:
        if not seconds >= dt:
            raise RoadloopError(f"{where}: {seconds:g} s of it are less than a step of {dt:g} s")
        length = min(seconds, length)
    steps = int(np.floor(length / dt + 1e-6))
    grid = start + np.arange(steps + 1) * dt
    expert = _ego_at(recording.ego, times, grid)
    x, y = expert.box_centre()
    try:
        matched = match_drive(road_map, x, y, expert.heading, expert.z)
    except RoadloopError as error:
        raise RoadloopError(f"{where}: {error}") from None
    lead = float(np.hypot(np.diff(x), np.diff(y))[: matched.first].sum())
    if lead > LEAD:
        raise RoadloopError(
            f"{where}: its ego follows lanes of the map only after {lead:.0f} m; begin there, "
            f"{start + matched.first * dt:.1f} s into the recording (--start)"
        )
    return Scenario(
        name=recording.name,
        family=FAMILY,
        seed=0,
        road_map=road_map,
        duration=steps * dt,
        dt=dt,
        ego=at(expert, 0),
        route=extended(road_map, _from_rear_axle(matched.route, expert), BEYOND),
        agents=_agents(recording, times, grid, reactive),
        lights=_lights(recording, times, grid),
        description=f"{where}, others {'react' if reactive else 'replayed'}",
        expert=expert,
    )


def _from_rear_axle(route: Route, ego: EgoState) -> Route:
    """The route of box centres begun where the rear axle is, as far back as its first lane goes.

    Drivers plan from the rear axle: a line that begins ahead of it leaves a plan without its start.
    """
    start = max(float(route.start_s) - ego.vehicle.centre_offset, 0.0)
    return dataclasses.replace(route, start_s=start)


def _ego_at(ego: EgoState, times: Array, grid: Array) -> EgoState:
    """The ego (steps,) at the times of ``grid``."""
    fields = {f.name: getattr(ego, f.name) for f in dataclasses.fields(ego)}
    for name, values in fields.items():
        if name == "heading":
            fields[name] = np.asarray(wrap_angle(np.interp(grid, times, np.unwrap(values))))
        elif name != "vehicle":
            fields[name] = np.interp(grid, times, values)
    return EgoState(**fields)


def _agents(recording: Recording, times: Array, grid: Array, reactive: bool) -> Agents:
    """Everybody who is there at some step of the grid."""
    states = recording.agents
    assert states is not None
    gap = REACTIVE_GAP if reactive else GAP
    motions, kept = [], []
    for column in range(states.valid.shape[1]):
        motion = _motion(at(states, (slice(None), column)), times, grid, gap)
        if np.isfinite(motion[:, 0]).any():
            motions.append(motion)
            kept.append(column)
    count = len(kept)
    replay = np.stack(motions) if count else np.zeros((0, 0, 4))
    start = _start_states(states, kept, replay, times, grid)
    drives = (start.kind != AgentKind.PEDESTRIAN) & (start.kind != AgentKind.STATIC)
    reacts = drives & np.full(count, reactive)
    fastest = np.nanmax(np.abs(replay[..., 3]), axis=1) if count else np.zeros(0)

    def full(value: float, dtype: type = float) -> Array:
        return np.full(count, value, dtype)

    return Agents(
        states=start,
        behaviour=np.where(reacts, Behaviour.REACT, Behaviour.REPLAY).astype(np.uint8),
        lane=full(-1, np.int32),
        s=full(0.0),
        route=np.full((count, 1), -1, np.int32),
        speed_factor=full(1.0),
        max_speed=1.1 * fastest + 1.0,
        headway=full(HEADWAY),
        min_gap=full(MIN_GAP),
        acceleration=full(ACCELERATION),
        deceleration=full(DECELERATION),
        politeness=full(-1.0),
        lateral_offset=full(0.0),
        walk_to=np.stack([start.x, start.y], axis=-1),
        trigger=full(Trigger.NEVER, np.uint8),
        trigger_value=full(0.0),
        action=full(Action.NONE, np.uint8),
        action_rate=full(0.0),
        action_hold=full(np.inf),
        replay=replay,
    )


def _motion(track: AgentStates, times: Array, grid: Array, gap: float) -> Array:
    """(steps, 4) x, y, heading, speed of one road user on the grid; NaN where it is not there."""
    motion = np.full((len(grid), 4), np.nan)
    there = np.flatnonzero(track.valid)
    if not len(there):
        return motion
    cuts = np.flatnonzero(np.diff(times[there]) > gap) + 1
    for stretch in np.split(there, cuts):
        t = times[stretch]
        inside = (grid > t[0] - 1e-3) & (grid < t[-1] + 1e-3)
        heading = np.unwrap(track.heading[stretch])
        speed = track.vx[stretch] * np.cos(heading) + track.vy[stretch] * np.sin(heading)
        for k, values in enumerate((track.x[stretch], track.y[stretch], heading, speed)):
            motion[inside, k] = np.interp(grid[inside], t, values)
    return motion


def _start_states(
    states: AgentStates, columns: Sequence[int], replay: Array, times: Array, grid: Array
) -> AgentStates:
    """(agents,) at the first step of the grid; of those that come later, where they will appear."""
    rows = [int(np.flatnonzero(np.isfinite(motion[:, 0]))[0]) for motion in replay]
    first = np.array([m[r] for m, r in zip(replay, rows)]).reshape(-1, 4)

    def typical(name: str) -> Array:
        """The median over a track: sizes wander in some data sets."""
        values = getattr(states, name)
        return np.array([np.median(values[states.valid[:, c], c]) for c in columns], float)

    def begin(name: str) -> Array:
        values = getattr(states, name)
        return np.array([values[np.argmax(states.valid[:, c]), c] for c in columns])

    def ground(c: int, row: int) -> float:
        """m of its ground: a drive may begin when it is elsewhere than when it was first seen."""
        there = states.valid[:, c]
        return float(np.interp(grid[row], times[there], states.z[there, c]))

    return AgentStates(
        id=begin("id").astype(np.int64),
        kind=begin("kind").astype(np.uint8),
        x=first[:, 0],
        y=first[:, 1],
        z=np.array([ground(c, row) for c, row in zip(columns, rows)], float),
        heading=np.asarray(wrap_angle(first[:, 2])),
        vx=first[:, 3] * np.cos(first[:, 2]),
        vy=first[:, 3] * np.sin(first[:, 2]),
        length=typical("length"),
        width=typical("width"),
        height=typical("height"),
        valid=np.array([row == 0 for row in rows], bool),
    )


def _lights(recording: Recording, times: Array, grid: Array) -> LightProgramme:
    """The recorded states, of every step the latest one; OFF where none were recorded."""
    assert recording.road_map is not None
    signals = len(recording.road_map.signal_id)
    recorded = None
    if recording.lights is not None:
        row = np.maximum(np.searchsorted(times, grid + 1e-3, side="right") - 1, 0)
        recorded = np.ascontiguousarray(recording.lights[row].T).astype(np.uint8)
        if len(recorded) != signals:
            raise RoadloopError(
                f"{recording.dataset} drive {recording.name} has {len(recorded)} lights, its map "
                f"{signals} signals"
            )
    return LightProgramme(
        *np.zeros((5, signals)),
        fixed=np.full(signals, LightState.OFF, np.uint8),
        recorded=recorded,
    )
