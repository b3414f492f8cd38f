"""A drive along its route as CARLA's criteria see it: points passed, and what ends the run.

CARLA looks at the ego twenty times a second and at its route as points one metre apart; a point is
passed once the vehicle lies ahead of it in its direction. Rules and numbers are those of
scenario_runner (``srunner/scenariomanager/scenarioatomics/atomic_criteria.py``,
``srunner/scenarios/route_scenario.py``) and of the leaderboard's ``route_scenario.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadloop.maps.path import Path, route_path
from roadloop.scoring.carla import Infraction, InfractionKind
from roadloop.scoring.driven import GOAL_REACH, Driven

Array = np.ndarray

TICK = 0.05
"""s between two looks of CARLA's criteria (20 Hz)"""
POINT_SPACING = 1.0
"""m between the points of a route"""
PASS_AHEAD = 2
"""Points ahead of the last passed one that are looked at for route completion and speed"""
LEAVE_AHEAD = 3
"""... for distance outside the lanes and the route's time limit"""
NEAR_AHEAD = 5
"""... for the distance to the route"""
COMPLETE = 99.0
"""%, above this and with the target near the route is completed"""
TARGET_NEAR = 10.0
"""m"""
OFF_ROUTE = 30.0
"""m from the route, where a run ends"""
ASTRAY = 15.0
"""m from the route, from where metres count as driven astray"""
ASTRAY_SHARE = 30.0
"""% of the route's length driven astray, above which a run ends"""
STANDING = 0.1
"""m/s, below this the ego stands"""
PATIENCE = {"2.0": 180.0, "2.1": 180.0, "bench2drive": 60.0}
"""s the ego may stand until it counts as blocked"""
LEAST_TIME = 300.0
"""s a route may take in any case ..."""
SLOWEST_SHARE = 0.1
"""... and besides what every metre takes at this share of the speed limit"""
LONGEST_RUN = {"2.0": np.inf, "2.1": np.inf, "bench2drive": 200.0}
"""s, Bench2Drive ends every run after 4000 ticks"""


@dataclass(frozen=True, eq=False)
class CarlaRun:
    """A rollout on its map looked at every tick, up to where CARLA would have ended it."""

    driven: Driven
    version: str
    """of the score, decides PATIENCE and LONGEST_RUN"""

    @cached_property
    def ticks_per_step(self) -> int:
        """How many looks fall on one step of the rollout."""
        return max(round(self.driven.rollout.dt / TICK), 1)

    @cached_property
    def step(self) -> Array:
        """(ticks,) float, the place of each tick between the rollout's steps."""
        last = len(self.driven.rollout.time) - 1
        return np.linspace(0.0, last, last * self.ticks_per_step + 1)

    @cached_property
    def position(self) -> Array:
        """(ticks, 2) m, box centre, linear between the steps."""
        steps = np.arange(len(self.driven.centre))
        return np.column_stack([np.interp(self.step, steps, c) for c in self.driven.centre.T])

    @cached_property
    def path(self) -> Path:
        """The route, points POINT_SPACING apart, up to GOAL_REACH before the goal.

        A drive of ours is over when it comes to rest that close to its goal; CARLA's routes lead
        through their target, so to its rules ours end there.
        """
        whole = route_path(self.driven.road_map, self.driven.rollout.route, spacing=POINT_SPACING)
        kept = int(np.searchsorted(whole.s, whole.length - GOAL_REACH, side="right"))
        kept = min(max(kept, 2), len(whole.s))  # a route of a few metres keeps its start
        return Path(
            whole.s[:kept], whole.xyz[:kept], whole.heading[:kept], whole.curvature[:kept],
            whole.speed_limit[:kept], whole.lane[:kept], whole.lane_s[:kept],
        )  # fmt: skip

    def passed(self, ahead: int) -> Array:
        """(ticks,) index of the last route point passed, looking ``ahead`` points further."""
        x, y = self.path.xyz[:, 0].tolist(), self.path.xyz[:, 1].tolist()
        along = np.cos(self.path.heading).tolist(), np.sin(self.path.heading).tolist()
        index, found = 0, []
        for px, py in self.position.tolist():
            for i in range(index, min(index + ahead + 1, len(x))):
                if (px - x[i]) * along[0][i] + (py - y[i]) * along[1][i] > 0.0:
                    index = i
            found.append(index)
        return np.array(found)

    @cached_property
    def reached(self) -> Array:
        """(ticks,) index of the last route point passed, for completion and speed."""
        return self.passed(PASS_AHEAD)

    @cached_property
    def _ending(self) -> tuple[int, InfractionKind | None, bool]:
        """Tick at which the run is over, what ended it, whether the route was completed.

        Several at one tick: completing comes first, then the order of the leaderboard's criteria.
        """
        never = len(self.step)
        completed = first(route_completed(self), never)
        late = self.time > LONGEST_RUN[self.version]
        reasons: list[tuple[int, InfractionKind | None]] = [
            (first(off_route(self), never), InfractionKind.ROUTE_DEVIATION),
            (first(blocked(self), never), InfractionKind.VEHICLE_BLOCKED),
            (first(out_of_time(self), never), InfractionKind.ROUTE_TIMEOUT),
            (first(late, never), None),
        ]
        tick, kind = min(reasons, key=lambda reason: reason[0])
        if completed <= tick and completed < never:
            return completed, None, True
        return (tick, kind, False) if tick < never else (never - 1, None, False)

    @property
    def end(self) -> int:
        """Tick at which the run is over: nothing after it counts."""
        return self._ending[0]

    @property
    def end_step(self) -> int:
        """Step of the rollout at which the run is over, the one after where it is between two."""
        return int(np.ceil(self.step[self.end] - 1e-9))

    @cached_property
    def time(self) -> Array:
        """(ticks,) s since the start of the rollout."""
        time = self.driven.rollout.time
        return np.interp(self.step, np.arange(len(time)), time - time[0])

    @property
    def completion(self) -> float:
        """% of the route driven, two decimals, 100 where it was completed."""
        if self._ending[2]:
            return 100.0
        share = self.path.s[self.reached[self.end]] / self.path.length
        return round(100.0 * float(share), 2)

    @property
    def ended_by(self) -> Infraction | None:
        """Route deviation, standing too long or running out of time, where that ended the run."""
        tick, kind, _ = self._ending
        if kind is None:
            return None
        said = {
            InfractionKind.ROUTE_DEVIATION: "left the route",
            InfractionKind.VEHICLE_BLOCKED: f"stood for {PATIENCE[self.version]:.0f} s",
            InfractionKind.ROUTE_TIMEOUT: "took too long",
        }
        at = float(self.driven.rollout.time[0] + self.time[tick])
        return Infraction(kind, time=at, detail=said[kind])


def first(broken: Array, never: int) -> int:
    """Index of the first True, ``never`` where there is none."""
    return int(np.argmax(broken)) if broken.any() else never


def route_completed(run: CarlaRun) -> Array:
    """(ticks,) bool: more than COMPLETE % of the route driven and its end within TARGET_NEAR.

    ``RouteCompletionTest``: driven is the route's length up to the last point passed, two decimals.
    """
    share = np.round(100.0 * run.path.s[run.reached] / run.path.length, 2)
    away = np.hypot(*(run.position - run.path.xyz[-1, :2]).T)
    return (share > COMPLETE) & (away < TARGET_NEAR)


def off_route(run: CarlaRun) -> Array:
    """(ticks,) bool: the ego has left its route, from the tick on at which that ends the run.

    ``InRouteTest``: the nearest of the next NEAR_AHEAD points is OFF_ROUTE or further away, or more
    than ASTRAY_SHARE % of the route's length was driven ASTRAY or further from it.
    """
    points, arc = run.path.xyz[:, :2].tolist(), run.path.s.tolist()
    index, astray, safe = 0, 0.0, True
    left = np.zeros(len(run.position), dtype=bool)
    for tick, (x, y) in enumerate(run.position.tolist()):
        window = range(index, min(index + NEAR_AHEAD + 1, len(points)))
        away = [(points[i][0] - x) ** 2 + (points[i][1] - y) ** 2 for i in window]
        least = min(away)
        nearest = max(i for i, distance in zip(window, away) if distance == least)
        off = least >= OFF_ROUTE**2
        if not off:
            safe = least < ASTRAY**2
        if nearest != index and not safe:
            astray += arc[nearest] - arc[index]
            off = off or 100.0 * astray / arc[-1] > ASTRAY_SHARE
        index = nearest
        if off:
            left[tick:] = True
            break
    return left


def blocked(run: CarlaRun) -> Array:
    """(ticks,) bool: slower than STANDING for longer than the version's PATIENCE.

    ``ActorBlockedTest``.
    """
    speed = np.abs(run.driven.rollout.ego.speed)[np.rint(run.step).astype(np.int64)]
    moved = np.maximum.accumulate(np.where(speed >= STANDING, run.time, 0.0))
    return run.time - moved > PATIENCE[run.version] + 1e-9


def out_of_time(run: CarlaRun) -> Array:
    """(ticks,) bool: longer under way than LEAST_TIME plus what the metres driven may take.

    ``RouteTimeoutBehavior``: a metre may take 1 / (SLOWEST_SHARE x speed limit) s. The limit is the
    lane's of the route; CARLA takes the one of the last sign passed.
    """
    metres = np.diff(run.path.s, prepend=0.0)
    allowed = LEAST_TIME + np.cumsum(metres / (SLOWEST_SHARE * run.path.speed_limit))
    return run.time > allowed[run.passed(LEAVE_AHEAD)] + 1e-9
