"""Traffic that goes where a forecaster says it will, in place of the built-in rules.

Vehicles of the background traffic are led: every ``EVERY`` s all are forecast, and each drives its
most probable future until the next forecast, as a vehicle, by controls. Where that would leave the
road it is bent back, and who would run into somebody brakes. Walkers, parked and replayed road
users, and those with an action of their own (a cut-in, a sudden stop) stay what they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import warp as wp

from roadloop.interfaces import Forecaster
from roadloop.maps.locate import nearest_lane
from roadloop.maps.road_map import RoadMap
from roadloop.types import Behaviour, Forecasts, Observation, Scenario, Trigger
from sim.state import Agent, SimState, Traits

Array = np.ndarray

EVERY = 0.4
"""s between forecasts"""
FORESIGHT, STEP = 4.0, 0.2
"""s that a forecast reaches, and between its points"""
LEAST, MOST = -6.0, 3.0
"""m/s^2 that a future is followed with"""
HARDEST = -8.0
"""m/s^2 for who would otherwise run into somebody"""
SPEED_TIME = 0.4
"""s in which the speed of the future is taken up"""
CATCH_UP = 1.0
"""1/s^2, acceleration by the distance one is behind"""
LOOK = 0.6
"""s at the present speed that steering looks ahead ..."""
LOOK_LEAST = 3.0
"""... m at least"""
OVER = 0.0
"""m that the side of a vehicle may be beyond the edge of the road"""
SEEN = 40.0
"""m within which others are minded"""
GAP = 1.0
"""m kept to who stands ahead"""
ASIDE = 0.2
"""m that is kept to those beside the path"""
FROM = 1.5
"""m/s^2 of necessary braking from which one brakes for somebody"""


class ForecastTraffic:
    """Leads the traffic of one world. Its forecaster is asked or shown every step."""

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        self._show = getattr(forecaster, "observe", None)

    def reset(self, scenario: Scenario, state: SimState) -> SimState:
        """The first state of a world whose traffic is led, from that of built-in traffic."""
        self._forecaster.reset(scenario)
        self._map = scenario.road_map
        agents = scenario.agents
        led = (agents.behaviour == Behaviour.TRAFFIC) & (agents.trigger == Trigger.NEVER)
        self._led = np.zeros(state.agents.shape[1], bool)
        self._led[1 : 1 + len(led)] = led
        traits = state.fixed.traits.numpy().copy()
        traits["controlled"][0, self._led] = 1
        self._traits = traits[0]
        self._known = np.zeros(len(self._led), bool)
        self._path = np.zeros((len(self._led), round(FORESIGHT / STEP) + 1, 2))
        self._facing = np.zeros(len(self._led))
        self._made = -np.inf
        device = state.agents.device
        return replace(
            state, fixed=replace(state.fixed, traits=wp.array(traits, dtype=Traits, device=device))
        )

    def controls(self, state: SimState, observation: Observation) -> Array:
        """``(agents, 2)`` acceleration (m/s^2) and steering (rad); 0 for who is not led.

        Args:
            state: of the one world.
            observation: of it, all that are there among the tracks.
        """
        assert observation.tracks is not None
        now = state.agents.numpy()[0]
        if observation.time - self._made >= EVERY - 1e-6:
            there = np.flatnonzero(now["valid"][1:] == 1) + 1
            forecasts = self._forecaster.forecast(observation, observation.tracks, FORESIGHT, STEP)
            self._take(forecasts, there, observation.time)
        elif self._show is not None:
            self._show(observation, observation.tracks)
        found = np.zeros((len(now), 2))
        rows = np.flatnonzero(self._led & self._known & (now["valid"] == 1))
        if len(rows):
            found[rows] = self._followed(now, rows, observation.time - self._made)
        return found

    def left(self, state: SimState) -> SimState:
        """The state without the led who have driven off the lanes, where the map ends."""
        now: Array = state.agents.numpy()
        gone = self._led & (now["valid"][0] == 1) & (now["lane"][0] < 0)
        if not gone.any():
            return state
        now = now.copy()
        now["valid"][0, gone] = 0
        return replace(state, agents=wp.array(now, dtype=Agent, device=state.agents.device))

    def _take(self, forecasts: Forecasts, there: Array, time: float) -> None:
        """The most probable future of each, on the road."""
        rows = np.flatnonzero(self._led[there])
        mode = forecasts.probability[rows].argmax(1)
        x, y, heading = (getattr(forecasts, name)[rows, mode] for name in ("x", "y", "heading"))
        who = there[rows]
        if len(who):
            x, y = on_road(self._map, x, y, heading, self._traits["width"][who])
        self._known[:] = False
        self._known[who] = True
        self._path[who] = np.stack([x, y], axis=-1)
        self._facing[who] = heading[:, -1]
        self._made = time

    def _followed(self, now: Array, rows: Array, after: float) -> Array:
        """(rows, 2) controls of those who follow their paths, ``after`` s from the forecast."""
        a, t = now[rows], self._traits[rows]
        here = np.stack([a["x"], a["y"]], axis=-1)
        speed = a["speed"].astype(np.float64)
        facing = np.stack([a["cos"], a["sin"]], axis=-1).astype(np.float64)
        path = _rest(self._path[rows], after)
        moved = path[:, 1] - path[:, 0]
        step = np.linalg.norm(moved, axis=-1)
        along = np.where((step > 0.02)[:, None], moved / np.maximum(step, 1e-9)[:, None], facing)
        behind = ((path[:, 0] - here) * along).sum(-1)
        wanted = (step / STEP - speed) / SPEED_TIME + CATCH_UP * behind
        wanted = np.clip(wanted, LEAST, MOST)

        end = np.stack([np.cos(self._facing[rows]), np.sin(self._facing[rows])], axis=-1)
        # who drives straight on beyond the end meets everybody that comes along a bend
        way = np.concatenate([path, (path[:, -1] + GAP * end)[:, None]], axis=1)
        wanted = np.minimum(wanted, self._room(now, rows, way, speed))
        axle = here - t["centre_offset"][:, None] * facing
        line = np.concatenate([path, (path[:, -1] + 30.0 * end)[:, None]], axis=1)
        reach = np.maximum(LOOK * speed, LOOK_LEAST) + t["centre_offset"]
        goal = _at_distance(line, reach) - axle
        aside = facing[:, 0] * goal[:, 1] - facing[:, 1] * goal[:, 0]
        steering = np.arctan(2.0 * t["wheelbase"] * aside / np.maximum((goal**2).sum(-1), 1.0))
        return np.stack([wanted, steering], axis=-1)

    def _room(self, now: Array, rows: Array, line: Array, speed: Array) -> Array:
        """(rows,) m/s^2 that is safe behind whoever is on the lines (rows, points, 2)."""
        others = np.flatnonzero(now["valid"] == 1)
        o, ot = now[others], self._traits[others]
        mine, t = now[rows], self._traits[rows]
        away = np.hypot(mine["x"][:, None] - o["x"], mine["y"][:, None] - o["y"])
        i, j = np.nonzero((away < SEEN) & (rows[:, None] != others))
        most = np.full(len(rows), np.inf)
        if not len(i):
            return most
        place = np.stack([o["x"], o["y"]], axis=-1)[j]
        s, d, tangent = _beside(line[i], place)
        c = np.abs(tangent[:, 0] * o["cos"][j] + tangent[:, 1] * o["sin"][j])
        q = np.sqrt(np.maximum(1.0 - c * c, 0.0))
        long, wide = 0.5 * ot["length"][j], 0.5 * ot["width"][j]
        inside = np.abs(d) < 0.5 * t["width"][i] + long * q + wide * c + ASIDE
        gap = s - 0.5 * t["length"][i] - (long * c + wide * q)
        ahead = o["cos"][j] * tangent[:, 0] + o["sin"][j] * tangent[:, 1]
        theirs = np.maximum(o["speed"][j] * ahead, 0.0)
        v = speed[i]
        needed = (v * v - theirs * theirs) / (2.0 * np.maximum(gap - GAP, 0.2))
        safe = np.where((needed > FROM) & (v > theirs), -needed, np.inf)
        safe = np.where((gap < GAP) & (theirs <= v + 0.1), np.minimum(safe, -1.0), safe)
        # who is not ahead of the bumper is for others to mind
        safe = np.where(inside & (s > 0.5 * t["length"][i]), safe, np.inf)
        np.minimum.at(most, i, np.maximum(safe, HARDEST))
        return most


def on_road(
    road_map: RoadMap, x: Array, y: Array, heading: Array, width: Array
) -> tuple[Array, Array]:
    """Paths (n, T) of boxes ``width`` (n,) m wide, bent back where a side would be more than
    ``OVER`` m beyond the edge of the road.

    That is the edge of the lane where it has no neighbour on that side; one way's lanes only.
    """
    found = nearest_lane(road_map, x, y, heading)
    lane = np.maximum(found.lane, 0)
    room = 0.5 * (road_map.point_width[road_map.point_start[lane]] - width[:, None])
    room = np.maximum(room, 0.0) + OVER
    left = np.where(road_map.lane_left[lane] >= 0, np.inf, room)
    right = np.where(road_map.lane_right[lane] >= 0, np.inf, room)
    shift = np.clip(found.lateral, -right, left) - found.lateral
    # beyond the end of a lane there is no edge
    known = (found.lane >= 0) & (found.distance < np.abs(found.lateral) + 0.5)
    shift = np.where(known, shift, 0.0)
    way = heading - found.heading_error
    return x - shift * np.sin(way), y + shift * np.cos(way)


def _rest(path: Array, after: float) -> Array:
    """(n, T', 2) what is left of paths (n, T, 2) after a time, its first point then."""
    k = min(int(after / STEP + 1e-6), path.shape[1] - 3)
    w = after / STEP - k
    return (1.0 - w) * path[:, k:-1] + w * path[:, k + 1 :]


def _at_distance(line: Array, reach: Array) -> Array:
    """(n, 2) the places ``reach`` (n,) m along lines (n, P, 2)."""
    length = np.linalg.norm(np.diff(line, axis=1), axis=-1)
    s = np.concatenate([np.zeros((len(line), 1)), length.cumsum(1)], axis=1)
    k = np.clip((s < reach[:, None]).sum(1) - 1, 0, line.shape[1] - 2)
    row = np.arange(len(line))
    w = np.clip((reach - s[row, k]) / np.maximum(length[row, k], 1e-9), 0.0, 1.0)[:, None]
    return (1.0 - w) * line[row, k] + w * line[row, k + 1]


def _beside(line: Array, place: Array) -> tuple[Array, Array, Array]:
    """Where places (n, 2) are beside lines (n, P, 2): m along, m to the left, the line's way."""
    step = np.diff(line, axis=1)
    length = np.linalg.norm(step, axis=-1)
    way = step / np.maximum(length, 1e-9)[..., None]
    to = place[:, None] - line[:, :-1]
    along = (to * way).sum(-1)
    # only the first piece goes on backwards
    low = np.where(np.arange(length.shape[1]) == 0, -np.inf, 0.0)
    inside = np.clip(along, low, length)
    off = to - inside[..., None] * way
    away = np.where(length > 1e-3, (off**2).sum(-1), np.inf)
    k, row = away.argmin(1), np.arange(len(line))
    s = np.concatenate([np.zeros((len(line), 1)), length.cumsum(1)], axis=1)
    d = way[row, k, 0] * off[row, k, 1] - way[row, k, 1] * off[row, k, 0]
    return s[row, k] + inside[row, k], d, way[row, k]
