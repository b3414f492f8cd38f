"""Proposals of PDM-Closed: IDM along lines beside each other, all of them rolled out together.

Others go on at constant speed and heading, known every 0.2 s. An object is in a line's corridor
where its box comes within half the ego's width of the line; of those whose centre is further along
the line than the ego's rear axle the one nearest to the ego's box is followed. Definitions:
tuplan_garage ``pdm_planner`` (``observation/pdm_observation.py``, ``pdm_object_manager.py``,
``proposal/pdm_generator.py``). P proposals, L lines, N objects, J times.
"""

from __future__ import annotations

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
    cos: Array
    """(A,) of the heading"""
    sin: Array
    half_length: Array
    half_width: Array
    speed: Array
    """(A,) m/s"""


def in_corridor(
    lines: Lines, rows: slice, half_width: float, aside: float, agents: AgentStates, every: int
) -> InCorridor:
    """Which of ``agents`` (steps, N) are in the corridors along samples ``rows`` of the lines.

    At every ``every``-th step. ``half_width`` m of the corridors, ``aside`` m from the first line
    to the farthest one. A line is taken by its samples: of an object that only touches the
    corridor's edge with a corner 3 cm may be overlooked.
    """
    x, y = agents.x[::every], agents.y[::every]
    length, width = agents.length[0], agents.width[0]
    reach = np.hypot(length, width) / 2.0 + half_width + aside
    px, py = lines.x[0, rows], lines.y[0, rows]
    spacing = float(np.max(np.hypot(np.diff(px), np.diff(py)), initial=0.0))
    coarse_x, coarse_y = px[::_STRIDE], py[::_STRIDE]
    slack = spacing * _STRIDE
    apart = reach + slack
    close = (x.max(0) >= px.min() - apart) & (x.min(0) <= px.max() + apart)
    close &= (y.max(0) >= py.min() - apart) & (y.min(0) <= py.max() + apart)
    maybe = np.flatnonzero(close)
    gap = (x[:, maybe, None] - coarse_x) ** 2 + (y[:, maybe, None] - coarse_y) ** 2
    nearest = gap.argmin(-1)
    least = np.take_along_axis(gap, nearest[..., None], -1)[..., 0]
    time, which = np.nonzero(least <= apart[maybe] ** 2)
    agent = maybe[which]
    heading = agents.heading[0]

    # samples around the nearest one that the object may touch
    extent = np.ceil((reach[agent].max(initial=0.0) + slack) / max(spacing, 1e-3))
    around = np.arange(-int(extent), int(extent) + 1)
    sample = rows.start + nearest[time, which] * _STRIDE
    sample = np.clip(sample[:, None] + around, rows.start, rows.stop - 1)
    cos, sin = np.cos(heading[agent]), np.sin(heading[agent])
    dx = lines.x[:, sample] - x[time, agent, None]
    dy = lines.y[:, sample] - y[time, agent, None]
    along = np.abs(dx * cos[:, None] + dy * sin[:, None]) - length[agent, None] / 2.0
    across = np.abs(dy * cos[:, None] - dx * sin[:, None]) - width[agent, None] / 2.0
    away = np.maximum(along, 0.0) ** 2 + np.maximum(across, 0.0) ** 2
    touched = away.min(-1) <= half_width**2
    centre = (dx**2 + dy**2).argmin(-1)
    foot = np.take_along_axis(sample, centre.T, 1).T
    line = np.arange(len(lines.x))[:, None]
    back_x = x[time, agent] - lines.x[line, foot]
    back_y = y[time, agent] - lines.y[line, foot]
    s = lines.s[line, foot] + back_x * lines.cos[foot] + back_y * lines.sin[foot]

    row, column = np.unique(agent[touched.any(0)], return_inverse=True)
    progress = np.full((len(lines.x), len(x), len(row)), -np.inf)
    on = touched.any(0)
    progress[:, time[on], column] = np.where(touched[:, on], s[:, on], -np.inf)
    return InCorridor(
        row=row,
        progress=progress,
        x=x[:, row],
        y=y[:, row],
        cos=np.cos(heading[row]),
        sin=np.sin(heading[row]),
        half_length=length[row] / 2.0,
        half_width=width[row] / 2.0,
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
    leader_every: int = 1,
) -> Proposals:
    """IDM along every line at each of the ``targets`` (m/s), all together; P = lines * targets.

    From ``s`` (L,) m along the lines at ``speed`` m/s. ``corridor`` holds the objects at every
    `HELD`-th step, ``closed`` where stretches behind red lights begin and end, each (L, R). The
    leader is chosen again at every ``leader_every``-th step; where that is not 1 the first step
    has, as published, somebody standing right ahead.
    """
    line = np.repeat(np.arange(len(lines.x)), len(targets))
    target = np.tile(targets, len(lines.x))
    count = len(line)
    front = vehicle.length - vehicle.rear_overhang
    ahead = corridor.progress[line]
    begin, middle = closed[0][line], (closed[0] + closed[1])[line] / 2.0
    free_end = lines.length[line] - vehicle.length / 2.0
    rows = np.arange(count)

    s, v = s[line], np.full(count, speed)
    pose = lines.pose(line, s)
    all_poses = np.empty((STEPS + 1, 3, count))
    speeds, leaders = np.empty((STEPS + 1, count)), np.full((STEPS + 1, count), NOBODY)
    all_poses[0], speeds[0] = pose, v
    end, end_speed = np.full(count, -np.inf), np.zeros(count)
    for k in range(1, STEPS + 1):
        if k % leader_every == 0:
            end, end_speed = free_end.copy(), np.zeros(count)
            room = np.full(count, np.inf)
            leaders[k] = NOBODY
            if len(corridor.row):
                apart, nearest = nearest_ahead(
                    corridor, ahead[:, k // HELD], s, pose, k // HELD, vehicle
                )
                found = np.isfinite(apart)
                room = np.where(found, apart, room)
                end = np.where(found, s + apart, end)
                towards = corridor.cos[nearest] * np.cos(pose[2])
                towards += corridor.sin[nearest] * np.sin(pose[2])
                end_speed = np.where(found, corridor.speed[nearest] * towards, 0.0)
                leaders[k] = np.where(found, corridor.row[nearest], NOBODY)
            if begin.shape[1]:
                light = np.where(middle > s[:, None], begin - s[:, None] - front, np.inf)
                light = np.where(np.isfinite(light), np.maximum(light, 0.0), light)
                least = light[rows, light.argmin(1)]
                stop = least < room
                end = np.where(stop, s + least, end)
                end_speed = np.where(stop, 0.0, end_speed)
                leaders[k] = np.where(stop, LIGHT, leaders[k])
        else:
            leaders[k] = leaders[k - 1]
        a = policy.accelerate(v, target, end - s, end_speed)
        s, v = s + v * DT, np.maximum(v + a * DT, 0.0)
        pose = lines.pose(line, s)
        all_poses[k], speeds[k] = pose, v
    poses = np.ascontiguousarray(all_poses.transpose(2, 0, 1))
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
    if not progress.shape[1]:
        return np.full(len(s), np.inf), np.zeros(len(s), np.int64)
    proposal, column = np.nonzero(progress > s[:, None])
    apart = np.full(progress.shape, np.inf)
    if len(proposal):
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        offset = vehicle.centre_offset
        cos_p, sin_p = cos[proposal], sin[proposal]
        dx = corridor.x[time, column] - (pose[0] + offset * cos)[proposal]
        dy = corridor.y[time, column] - (pose[1] + offset * sin)[proposal]
        cos_a, sin_a = corridor.cos[column], corridor.sin[column]
        c, k = cos_a * cos_p + sin_a * sin_p, sin_a * cos_p - cos_a * sin_p
        length, width = corridor.half_length[column], corridor.half_width[column]
        own = vehicle.length / 2.0, vehicle.width / 2.0
        theirs = _corner_distance(
            dx * cos_p + dy * sin_p, dy * cos_p - dx * sin_p, c, k, length, width, *own
        )
        mine = _corner_distance(
            -dx * cos_a - dy * sin_a, dx * sin_a - dy * cos_a, c, -k, *own, length, width
        )
        apart[proposal, column] = np.sqrt(np.minimum(theirs, mine))
    nearest = apart.argmin(1)
    return apart[np.arange(len(s)), nearest], nearest


_SIGNS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])[..., None]


def _corner_distance(
    x: Array, y: Array, cos: Array, sin: Array, length: Array | float, width: Array | float,
    box_length: Array | float, box_width: Array | float,
) -> Array:  # fmt: skip
    """(n,) m^2 from the nearest corner of boxes at ``x``, ``y`` to a box at the origin.

    ``cos`` and ``sin`` of the angle between, half lengths and half widths of both.
    """
    along = x + _SIGNS[:, 0] * (cos * length) - _SIGNS[:, 1] * (sin * width)
    across = y + _SIGNS[:, 0] * (sin * length) + _SIGNS[:, 1] * (cos * width)
    along = np.maximum(np.abs(along) - box_length, 0.0)
    across = np.maximum(np.abs(across) - box_width, 0.0)
    return (along * along + across * across).min(0)
