"""Proposals of PDM-Closed: IDM along lines beside each other, all of them rolled out together.

Others go on at constant speed and heading, known every 0.2 s. An object is in a line's corridor
where its box comes within half the ego's width of the line; of those whose centre is further along
the line than the ego's rear axle the one nearest to the ego's box is followed. Definitions:
tuplan_garage ``pdm_planner`` (``observation/pdm_observation.py``, ``pdm_object_manager.py``,
``proposal/pdm_generator.py``). P proposals, L lines, N objects, J times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planning.pdm_idm import IdmPolicy
from planning.pdm_route import Lines
from roadloop.scoring.collision import with_parked_vehicles
from roadloop.types import AgentKind, AgentStates, VehicleParameters, at

Array = np.ndarray

DT = 0.1
"""s per step of a proposal"""
STEPS = 40
"""steps of a proposal, 4 s"""
HELD = 2
"""steps for which an object's predicted box stays where it is"""
CORRIDOR_TIME = 8.0
"""s at the highest target speed: how far ahead the corridor reaches"""
LEVEL_GAP = 3.0
"""m of height difference from which an object is on another level (bridge, underpass)"""
MOST = {"vehicle": 50, "pedestrian": 25, "bicycle": 10, "thing": 50}
"""objects of a class that are looked at, the nearest ones"""
NOBODY, LIGHT = -1, -2
"""who is followed, where it is no object"""

_STRIDE = 4
"""every how many samples of a line are enough to tell what may be near it"""
_AROUND = np.arange(-_STRIDE, _STRIDE + 1)


def objects_near(
    states: AgentStates, x: float, y: float, radius: float, lines: Lines, along: slice
) -> AgentStates:
    """(N,) those within ``radius`` m of ``x``, ``y``, the nearest first, at most `MOST` per class.

    On the level of the samples ``along`` of the lines. What never moves and is as large as a
    vehicle is a parked vehicle.
    """
    away = np.hypot(states.x - x, states.y - y)
    near = np.flatnonzero(states.valid & (away <= radius))
    states, away = with_parked_vehicles(at(states, near)), away[near]
    gap = (states.x[:, None] - lines.x[0, along][::_STRIDE]) ** 2
    gap += (states.y[:, None] - lines.y[0, along][::_STRIDE]) ** 2
    ground = lines.z[along][::_STRIDE][gap.argmin(1)]
    rows = np.flatnonzero(np.abs(states.z - ground) < LEVEL_GAP)
    rows = rows[np.argsort(away[rows], kind="stable")]
    if len(rows) > min(MOST.values()):
        kind = states.kind[rows]
        of_class = {
            "vehicle": kind <= AgentKind.MOTORCYCLE,
            "pedestrian": kind == AgentKind.PEDESTRIAN,
            "bicycle": kind == AgentKind.CYCLIST,
            "thing": kind == AgentKind.STATIC,
        }
        first = [mask & (np.cumsum(mask) <= MOST[name]) for name, mask in of_class.items()]
        rows = rows[np.logical_or.reduce(first)]
    return at(states, rows)


def constant_velocity(objects: AgentStates, steps: int) -> AgentStates:
    """(steps, N) the objects every `DT` s, going on along their heading, or against it.

    Boxes stand still for `HELD` steps at a time, as the published forecast has it.
    """
    cos, sin = np.cos(objects.heading), np.sin(objects.heading)
    forward = objects.vx * cos + objects.vy * sin >= 0.0
    speed = np.where(objects.kind == AgentKind.STATIC, 0.0, objects.speed)
    along = np.where(forward, speed, -speed)
    vx, vy = along * cos, along * sin
    time = (np.arange(steps) // HELD * HELD * DT)[:, None]
    shape = (steps, len(objects.x))
    same = {
        name: np.broadcast_to(getattr(objects, name), shape)
        for name in ("id", "kind", "z", "heading", "length", "width", "height", "valid")
    }
    return AgentStates(
        **same,
        x=objects.x + vx * time,
        y=objects.y + vy * time,
        vx=np.broadcast_to(vx, shape),
        vy=np.broadcast_to(vy, shape),
    )


@dataclass(frozen=True, eq=False)
class InCorridor:
    """Objects that are in a line's corridor at some time; A of them, at J times."""

    row: Array
    """(A,) index into the objects"""
    progress: Array
    """(L, J, A) m along the line of the centre, -inf where it is not in that corridor"""
    x: Array
    """(J, A) m"""
    y: Array
    heading: Array
    """(A,) rad"""
    half: Array
    """(2, A) m, half length and half width"""
    diagonal: Array
    """(A,) m from the centre to a corner"""
    speed: Array
    """(A,) m/s"""


def in_corridor(
    lines: Lines, rows: slice, half_width: float, agents: AgentStates, every: int
) -> InCorridor:
    """Which of ``agents`` (steps, N) are in the corridors along samples ``rows`` of the lines.

    At every ``every``-th step; ``half_width`` m of the corridors. A line is taken by its samples:
    of an object that only touches the corridor's edge with a corner 3 cm may be overlooked.
    """
    x, y, heading = agents.x[::every], agents.y[::every], agents.heading[0]
    half = np.stack([agents.length[0], agents.width[0]]) / 2.0
    reach = np.hypot(*half) + half_width + np.abs(lines.offset).max()
    px, py = lines.x[0, rows], lines.y[0, rows]

    # who comes near at all, by every few samples
    slack = _STRIDE * float(np.hypot(np.diff(px), np.diff(py)).max())
    coarse_x, coarse_y = px[::_STRIDE], py[::_STRIDE]
    apart = reach + slack
    close = (x.max(0) >= px.min() - apart) & (x.min(0) <= px.max() + apart)
    close &= (y.max(0) >= py.min() - apart) & (y.min(0) <= py.max() + apart)
    maybe = np.flatnonzero(close)
    gap = (x[:, maybe, None] - coarse_x) ** 2
    gap += (y[:, maybe, None] - coarse_y) ** 2
    nearest = gap.argmin(-1)
    least = np.take_along_axis(gap, nearest[..., None], -1)[..., 0]
    time, which = np.nonzero(least <= apart[maybe] ** 2)
    agent = maybe[which]
    sample = rows.start + nearest[time, which] * _STRIDE

    # the nearest sample, and from it metres along and to the left of each line
    x_at, y_at = x[time, agent], y[time, agent]
    around = np.clip(sample[:, None] + _AROUND, rows.start, rows.stop - 1)
    gap = (lines.x[0, around] - x_at[:, None]) ** 2 + (lines.y[0, around] - y_at[:, None]) ** 2
    sample = around[np.arange(len(around)), gap.argmin(1)]
    dx, dy = x_at - lines.x[0, sample], y_at - lines.y[0, sample]
    cos, sin = lines.cos[sample], lines.sin[sample]
    beside = np.abs(dy * cos - dx * sin - lines.offset[:, None])
    progress = lines.s[:, sample] + dx * cos + dy * sin

    # a centre that is inside is enough; a box that cannot reach the corridor, whatever the bend
    inner = (sample > rows.start) & (sample < rows.stop - 1)
    touched = (beside <= half_width) & inner
    cos_a, sin_a = np.cos(heading), np.sin(heading)
    along = np.abs(cos_a[agent] * cos + sin_a[agent] * sin)
    across = np.abs(sin_a[agent] * cos - cos_a[agent] * sin)
    sideways = along * half[1, agent] + across * half[0, agent] + half_width
    bend = lines.sharpest[sample] * reach[agent] ** 2
    rest = np.flatnonzero((~touched & (beside <= sideways + bend)).any(0) | ~inner)
    if len(rest):
        extent = np.ceil(reach[agent[rest]].max() / slack * _STRIDE) + 1.0
        window = sample[rest, None] + np.arange(-extent, extent + 1.0).astype(np.int64)
        window = np.clip(window, rows.start, rows.stop - 1)
        dx, dy = lines.x[:, window] - x_at[rest, None], lines.y[:, window] - y_at[rest, None]
        cos, sin = cos_a[agent[rest], None], sin_a[agent[rest], None]
        beyond = np.abs(dx * cos + dy * sin) - half[0, agent[rest], None]
        aside = np.abs(dy * cos - dx * sin) - half[1, agent[rest], None]
        away = np.maximum(beyond, 0.0) ** 2 + np.maximum(aside, 0.0) ** 2
        touched[:, rest] |= away.min(-1) <= half_width**2

    on = touched.any(0)
    row, column = np.unique(agent[on], return_inverse=True)
    table = np.full((len(lines.x), len(x), len(row)), -np.inf)
    table[:, time[on], column] = np.where(touched[:, on], progress[:, on], -np.inf)
    return InCorridor(
        row=row,
        progress=table,
        x=x[:, row],
        y=y[:, row],
        heading=heading[row],
        half=half[:, row],
        diagonal=np.hypot(*half[:, row]),
        speed=np.hypot(agents.vx[0, row], agents.vy[0, row]),
    )


@dataclass(frozen=True, eq=False)
class Proposals:
    """P proposals; T = `STEPS` + 1 times `DT` apart, the first is now."""

    line: Array
    """(P,) which of the lines"""
    target: Array
    """(P,) m/s"""
    poses: Array
    """(P, T, 3) x, y, heading of the rear axle, world frame"""
    speed: Array
    """(P, T) m/s, at least 0"""
    leader: Array
    """(P, T) whom each follows up to that time: row of the objects, `LIGHT` or `NOBODY`"""


def roll_out(
    lines: Lines,
    s: Array,
    speed: float,
    targets: Array,
    corridor: InCorridor,
    closed: tuple[Array, Array],
    vehicle: VehicleParameters,
    policy: IdmPolicy,
    *,
    published_first_step: bool = False,
) -> Proposals:
    """IDM along every line at each of the ``targets`` (m/s), all together; P = lines * targets.

    From ``s`` (L,) m along the lines at ``speed`` m/s. ``corridor`` holds the objects at every
    `HELD`-th step, ``closed`` where stretches behind red lights begin and end, each (L, R). Leaders
    are chosen at the first and then at every `HELD`-th step; not at the first one with
    ``published_first_step``, where somebody is taken to stand right ahead.
    """
    line = np.repeat(np.arange(len(lines.x)), len(targets))
    target = np.tile(targets, len(lines.x))
    count = len(line)
    front = vehicle.length - vehicle.rear_overhang
    ahead = corridor.progress[line]
    begin, middle = closed[0][line], (closed[0] + closed[1])[line] / 2.0
    free_end = lines.length[line] - vehicle.length / 2.0
    standing = np.zeros(count)

    s, v = s[line], np.full(count, speed)
    places, speeds = np.empty((STEPS + 1, count)), np.empty((STEPS + 1, count))
    leaders = np.full((STEPS + 1, count), NOBODY)
    places[0], speeds[0] = s, v
    end, end_speed, leader = np.full(count, -np.inf), standing, leaders[0]
    for k in range(1, STEPS + 1):
        if k % HELD == 0 or (k == 1 and not published_first_step):
            end, end_speed, leader = free_end, standing, leaders[0]
            apart = None
            if len(corridor.row):
                time, pose = k // HELD, lines.pose(line, s)
                apart, nearest = nearest_ahead(corridor, ahead[:, time], s, pose, time, vehicle)
                found = apart < np.inf
                towards = np.cos(pose[2] - corridor.heading[nearest])
                end = np.where(found, s + apart, end)
                end_speed = np.where(found, corridor.speed[nearest] * towards, 0.0)
                leader = np.where(found, corridor.row[nearest], NOBODY)
            if begin.shape[1]:
                light = np.maximum(begin - (s + front)[:, None], 0.0)
                light = np.where(middle > s[:, None], light, np.inf).min(1)
                stop = light < (np.inf if apart is None else apart)
                end = np.where(stop, s + light, end)
                end_speed = np.where(stop, 0.0, end_speed)
                leader = np.where(stop, LIGHT, leader)
        a = policy.accelerate(v, target, end - s, end_speed)
        s, v = s + v * DT, np.maximum(v + a * DT, 0.0)
        places[k], speeds[k], leaders[k] = s, v, leader
    poses = np.ascontiguousarray(lines.pose(line, places).transpose(2, 1, 0))
    poses[..., 2] = np.pi - np.mod(np.pi - poses[..., 2], 2.0 * np.pi)
    return Proposals(line, target, poses, np.ascontiguousarray(speeds.T), leaders.T)


def nearest_ahead(
    corridor: InCorridor,
    progress: Array,
    s: Array,
    pose: Array,
    time: int,
    vehicle: VehicleParameters,
) -> tuple[Array, Array]:
    """(P,) m to the nearest box that is further along than ``s``, inf without, and its column.

    The distance of two boxes that do not overlap: from a corner of one to the other.
    """
    rows = np.arange(len(s))
    if not progress.shape[1]:
        return np.full(len(s), np.inf), np.zeros_like(rows)
    own, heading = np.array([vehicle.length / 2.0, vehicle.width / 2.0]), pose[2]
    x = corridor.x[time] - (pose[0] + vehicle.centre_offset * np.cos(heading))[:, None]
    y = corridor.y[time] - (pose[1] + vehicle.centre_offset * np.sin(heading))[:, None]
    centres = np.where(progress > s[:, None], np.sqrt(x * x + y * y), np.inf)
    # boxes are no farther apart than their centres and no nearer than that less their diagonals
    most = np.minimum(centres.min(1), _FAR)[:, None]
    near = centres - (corridor.diagonal + math.hypot(*own)) <= most
    proposal, column = np.nonzero(near)
    apart = np.full(near.shape, np.inf)
    if len(proposal):
        # first: the ego's box seen from the other's corners, second: the other way round
        headings = np.empty((2, len(proposal)))
        headings[0], headings[1] = heading[proposal], corridor.heading[column]
        half = np.empty((2, 2, len(proposal)))
        half[:, 0], half[:, 1] = corridor.half[:, column], own[:, None]
        cos, sin = np.cos(headings) * _TURN, np.sin(headings) * _TURN
        dx, dy = x[near], y[near]
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        angle = headings[1] - headings[0]
        c, k = np.cos(angle), np.sin(angle) * _TURN
        corner_x = along + _CORNERS[0] * (c * half[0]) - _CORNERS[1] * (k * half[1])
        corner_y = across + _CORNERS[0] * (k * half[0]) + _CORNERS[1] * (c * half[1])
        corner_x = np.maximum(np.abs(corner_x) - half[0, ::-1], 0.0)
        corner_y = np.maximum(np.abs(corner_y) - half[1, ::-1], 0.0)
        square = corner_x * corner_x + corner_y * corner_y
        apart[near] = np.sqrt(square.reshape(8, -1).min(0))
    nearest = apart.argmin(1)
    return apart[rows, nearest], nearest


_FAR = 1e6
"""m, farther than anybody"""
_TURN = np.array([[1.0], [-1.0]])
_CORNERS = np.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])[..., None, None]
