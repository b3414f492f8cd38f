"""What the learned planner's network is told of one moment, as the arrays of `PlannerConfig`.

Positions are computed in float64 and given to the network in float32, in the ego frame, mirrored
where traffic keeps left. Other road users are shown by where they are forecast to be: one row for
each future that is likely enough, the ones that come nearest first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from planning.corridor import PathWindow
from planning.forecast_boxes import future_boxes
from planning.learned_config import (
    AGENT,
    EGO,
    MOMENTS,
    PAST,
    PROPOSAL,
    PROPOSALS,
    SIDEWAYS,
    PlannerConfig,
)
from planning.learned_proposals import AHEAD_HALF, Proposals, Start, propose
from planning.learned_route import FAR, FAST, LIMIT, RouteGuide
from roadloop.types import AgentKind, AgentStates, EgoState, Forecasts, Observation, Tracks

Array = np.ndarray

REACH = 70.0
"""m from the ego within which road users are looked at"""
LIKELY = 0.08
"""probability from which a future is shown; the likeliest one always is"""
LONG = 10.0
"""s, standing longer makes no difference"""
LEVEL = 3.0
"""m of height difference from which a road user is on another level"""


class Watched:
    """Where everybody has been lately, and for how long they have stood."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, Array, Array, Array]] = deque()
        self._since: dict[int, float] = {}

    def update(self, states: AgentStates, time: float) -> tuple[Array, Array]:
        """m since `PAST` (n, len(PAST), 2), world frame, 0 where unknown; s stood (n,)."""
        ids = states.id.tolist()
        still = (states.speed < 0.2).tolist()
        self._since = {
            i: self._since.get(i, time) for i, stands in zip(ids, still, strict=True) if stands
        }
        stood = np.array([time - self._since.get(i, time) for i in ids])
        moved = np.zeros((len(ids), len(PAST), 2))
        for k, ago in enumerate(PAST):
            for when, known, x, y in self._past:
                if abs(time - ago - when) < 0.06 and len(known):
                    row = np.minimum(np.searchsorted(known, states.id), len(known) - 1)
                    same = known[row] == states.id
                    moved[same, k, 0] = (states.x - x[row])[same]
                    moved[same, k, 1] = (states.y - y[row])[same]
        order = np.flatnonzero(states.valid)
        order = order[np.argsort(states.id[order], kind="stable")]
        self._past.append((time, states.id[order], states.x[order], states.y[order]))
        while self._past[0][0] < time - max(PAST) - 0.06:
            self._past.popleft()
        return moved, stood


@dataclass(frozen=True)
class Look:
    """One moment: what the network is told, and what its answers are about."""

    arrays: dict[str, Array]
    proposals: Proposals
    window: PathWindow
    start: Start
    ego: EgoState
    side: float
    agent_row: Array
    """(A,) row of the tracks that each shown future is of, -1: none"""


@dataclass(frozen=True)
class Frame:
    """The ego frame, mirrored by ``side``."""

    x: float
    y: float
    heading: float
    side: float

    def points(self, x: Array, y: Array) -> tuple[Array, Array]:
        """World to here, m ahead and to the (mirrored) left."""
        return self.directions(x - self.x, y - self.y)

    def directions(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The same without moving the origin."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        return c * x + s * y, self.side * (c * y - s * x)

    def turned(self, heading: Array) -> Array:
        """Headings, in (-pi, pi]."""
        turn = np.asarray(heading) - self.heading
        return self.side * np.arctan2(np.sin(turn), np.cos(turn))


def look_around(
    config: PlannerConfig,
    guide: RouteGuide,
    watched: Watched,
    observation: Observation,
    tracks: Tracks,
    forecasts: Forecasts | None,
    planned: tuple[float, float, float] | None,
    place: tuple[float, slice, PathWindow],
    waited: float,
) -> Look:
    """Everything of one moment.

    Args:
        planned: m left of the line, its slope and bend, where the last plan is now; None: the ego
            goes on from where it is.
        place: of the ego on the route, `RouteGuide.place`.
        waited: s the ego has stood.
    """
    ego, (s, rows, window) = observation.ego, place
    frame = Frame(float(ego.x), float(ego.y), float(ego.heading), guide.side)
    vehicle = ego.vehicle
    speed = max(float(ego.speed), 0.0)
    front = s + vehicle.length - vehicle.rear_overhang
    rear = s - vehicle.rear_overhang
    d, slope = beside(window, ego, s)
    bend = 0.0
    own = d, slope
    if planned is not None:
        d, slope, bend = planned
    start = Start(s, front, speed, float(ego.acceleration), d, slope, bend)

    states = tracks.states
    moved, stood = watched.update(states, float(observation.time))
    near = states.valid & (np.abs(states.z - float(ego.z)) < LEVEL)
    near &= np.hypot(states.x - ego.x, states.y - ego.y) < REACH
    there = np.flatnonzero(near)
    _, agent_s, agent_d = window.project(states.x[there], states.y[there])
    lane = guide.lane_offset()
    in_way = np.abs(agent_d - lane.at(agent_s)[0]) < (
        0.5 * (vehicle.width + states.width[there]) + AHEAD_HALF
    )
    back = agent_s - 0.5 * states.length[there]
    ahead = float(back[in_way & (back > front - 0.5)].min(initial=np.inf))
    limits = guide.profile[rows]
    proposals = propose(guide, window, start, ahead, limits)

    arrays = {k: np.zeros(shape, np.float32) for k, shape in config.inputs().items()}
    lane_d = float(lane.at(np.array([s]))[0][0])
    limit = float(np.interp(s, window.s, limits))
    arrays["ego"][:] = (
        speed / FAST, float(ego.acceleration) / 3.0, guide.side * float(ego.steering) / 0.3,
        min(waited, LONG) / LONG, speed < 0.2, guide.side * (own[0] - lane_d) / 2.0,
        guide.side * own[1], limit / LIMIT,
    )  # fmt: skip
    assert len(arrays["ego"]) == EGO
    xy, features = guide.points(s)
    x, y = frame.points(xy[:, 0], xy[:, 1])
    arrays["route"][:] = np.concatenate([np.stack([x, y], 1) / (2.0 * FAR), features], axis=1)
    marks, at, _ = guide.marks_ahead(s, front, rear, observation.lights, config.marks)
    n = len(at)
    arrays["marks"][:n], arrays["mark_at"][:n], arrays["mark_valid"][:n] = marks, at, 1.0
    arrays["body"][:] = vehicle.centre_offset, vehicle.length / 2.0, vehicle.width / 2.0

    _show_proposals(arrays, proposals, guide, rows, window, limits, frame, start)
    row = _show_agents(
        arrays, config, tracks, forecasts, there, agent_s - s,
        guide.side * (agent_d - lane.at(agent_s)[0]), moved, stood, frame,
    )  # fmt: skip
    return Look(arrays, proposals, window, start, ego, guide.side, row)


def beside(window: PathWindow, ego: EgoState, s: float) -> tuple[float, float]:
    """m of the rear axle to the left of the line, and how that changes per m along it."""
    _, _, d = window.project(np.array([float(ego.x)]), np.array([float(ego.y)]))
    turn = float(ego.heading) - float(np.interp(s, window.s, window.heading))
    turn = float(np.clip(np.arctan2(np.sin(turn), np.cos(turn)), -1.0, 1.0))
    bend = float(np.interp(s, window.s, window.curvature))
    return float(d[0]), float(np.tan(turn) * (1.0 - bend * d[0]))


def poses_of(window: PathWindow, s: Array, d: Array, slope: Array) -> tuple[Array, Array, Array]:
    """World x, y, heading of the rear axle where it is ``s`` m along the line and ``d`` m left."""
    heading = np.interp(s, window.s, window.heading)
    bend = np.interp(s, window.s, window.curvature)
    x = np.interp(s, window.s, window.x) - d * np.sin(heading)
    y = np.interp(s, window.s, window.y) + d * np.cos(heading)
    return x, y, heading + np.arctan2(slope, np.maximum(1.0 - d * bend, 0.1))


def _show_proposals(
    arrays: dict[str, Array],
    proposals: Proposals,
    guide: RouteGuide,
    rows: slice,
    window: PathWindow,
    limits: Array,
    frame: Frame,
    start: Start,
) -> None:
    s, d, v = (proposals.at_moments(q) for q in (proposals.s, proposals.d, proposals.v))
    x, y, heading = poses_of(window, s, d, proposals.at_moments(proposals.slope))
    x, y = frame.points(x, y)
    poses = np.stack([x, y, frame.turned(heading), s - start.s, v], axis=-1)
    curvature = np.interp(s, window.s, window.curvature) + proposals.at_moments(proposals.bend)
    i = np.clip((s - window.s[0]) / (window.s[1] - window.s[0]), 0, len(limits) - 1).astype(int)
    half = 0.5 * guide.line.width[rows][i]
    against = guide.oncoming[rows][i] & (guide.side * d > half)
    rest = (
        proposals.pull / 4.0,
        proposals.stops,
        proposals.a.min(1) / 4.0,
        proposals.a.max(1) / 4.0,
        (v * v * np.abs(curvature)).max(1) / 5.0,
        guide.side * d[:, -1] / 4.0,
        guide.side * (d[:, -1] - start.d) / 4.0,
        (s[:, -1] - start.s) / 50.0,
        v[:, -1] / FAST,
        (v - limits[i]).max(1) / 5.0,
        against.mean(1),
    )
    features = np.concatenate(
        [np.eye(SIDEWAYS)[proposals.aim], np.stack([np.asarray(r, float) for r in rest], 1)], axis=1
    )
    assert features.shape == (PROPOSALS, PROPOSAL)
    there = proposals.valid[:, None]
    arrays["proposals"][:] = np.where(there, features, 0.0)
    arrays["poses"][:] = np.where(there[..., None], poses, 0.0)
    arrays["proposal_valid"][:] = proposals.valid


def _show_agents(
    arrays: dict[str, Array],
    config: PlannerConfig,
    tracks: Tracks,
    forecasts: Forecasts | None,
    there: Array,
    along: Array,
    aside: Array,
    moved: Array,
    stood: Array,
    frame: Frame,
) -> Array:
    """Fill in who is around; the rows of the tracks, -1 where there is nobody."""
    row = np.full(config.agents, -1)
    if not len(there):
        return row
    times = np.concatenate([[0.0], MOMENTS])
    boxes = future_boxes(tracks, forecasts, there, times)
    x, y = frame.points(boxes.x, boxes.y)
    shown = boxes.weight >= np.minimum(LIKELY, boxes.weight.max(axis=1, keepdims=True))
    poses = arrays["poses"][arrays["proposal_valid"] > 0.0]
    # where the ego may be: now, and along the farthest proposal
    far = poses[np.argmax(poses[:, -1, 3])]
    way = np.concatenate([np.zeros((1, 2)), far[:, :2]])
    gap = np.hypot(x[..., None] - way[:, 0], y[..., None] - way[:, 1]).min(axis=(-2, -1))
    agent, mode = np.nonzero(shown)
    order = np.argsort(gap[agent, mode], kind="stable")[: config.agents]
    agent, mode = agent[order], mode[order]
    n, rows = len(agent), there[agent]
    states = tracks.states
    futures = (x, y, frame.turned(boxes.heading), boxes.length, boxes.width)
    arrays["futures"][:n] = np.stack(
        [np.broadcast_to(q, x.shape)[agent, mode, 1:] for q in futures], axis=-1
    )
    heading = frame.turned(states.heading[rows])
    vx, vy = frame.directions(states.vx[rows], states.vy[rows])
    past_x, past_y = frame.directions(moved[rows, :, 0], moved[rows, :, 1])
    features = (
        np.eye(len(AgentKind))[states.kind[rows]],
        np.stack(
            [
                states.length[rows] / 5.0, states.width[rows] / 2.5,
                x[agent, mode, 0] / FAR, y[agent, mode, 0] / FAR, np.cos(heading), np.sin(heading),
                vx / FAST, vy / FAST, along[agent] / (2.0 * FAR), aside[agent] / 4.0,
                boxes.weight[agent, mode], np.minimum(stood[rows], LONG) / LONG,
            ],
            axis=1,
        ),
        past_x / FAST,
        past_y / FAST,
    )  # fmt: skip
    arrays["agents"][:n] = np.concatenate(features, axis=1)
    assert arrays["agents"].shape[1] == AGENT
    arrays["agent_valid"][:n] = 1.0
    row[:n] = rows
    return row
