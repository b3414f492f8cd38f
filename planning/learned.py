"""The planner `learned`: a small network chooses among proposals, as it was taught by `rule`.

Each step proposals are made (`planning.learned_proposals`), the network says how probably the
teacher would drive like each of them, and what it expects to come of each: collisions, lights,
comfort. What is driven is the best one, averaged with those much like it, so that the plan is not
bound to the steps between proposals. The network decides alone: no rule corrects it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from planning.explanation import POINT_STEP, Explanation
from planning.learned_config import MOMENTS, SIDEWAYS, TERMS, PlannerConfig
from planning.learned_inputs import Look, Watched, beside, look_around, poses_of
from planning.learned_proposals import HORIZON, STEP, TIMES, Sideways
from planning.learned_route import RouteGuide
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, Forecasts, Observation, Scenario, Tracks, Trajectory

Array = np.ndarray
Engine = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""`PlannerConfig.inputs` -> `PlannerConfig.outputs`, of one moment"""

PLAN_STEP = 0.1
"""s between the plan's points"""
ALIKE = 3.0
"""`likeness` up to which proposals are averaged with the best"""
CREEPING = 0.1
"""m within the horizon up to which a proposal stands"""
OFF_PLAN, OFF_HEADING = 0.5, 0.2
"""m and slope beside the last plan from which sideways motion begins anew at the ego"""
CAUTION = {"no collision": 0.5, "lights": 0.5}
"""how much what is expected of a proposal counts beside how like the teacher it is"""
EARLY = np.array([1.5, 1.5, 1.25, 1.0, 0.8, 0.75, 0.7, 0.5])
"""weight of each of `MOMENTS` in `likeness`"""


def likeness(s: Array, d: Array, other_s: Array, other_d: Array) -> Array:
    """(...) how far motions (..., T) at `MOMENTS` are apart; 1 is 0.3 m/s^2, or 0.3 m sideways.

    What is far ahead counts less, along and across: the next plans will change it.
    """
    along = (s - other_s) / (0.08 + 0.17 * MOMENTS**2)
    across = (d - other_d) / (0.15 + 0.12 * MOMENTS)
    return ((along**2 + across**2) * EARLY).mean(axis=-1)


class LearnedPlanner:
    """A `Planner`; `explanation` says how it chose, after each plan.

    Args:
        engine: the network, `planning.learned_engine.planner_engine`.
        config: its sizes.
    """

    def __init__(self, engine: Engine, config: PlannerConfig | None = None) -> None:
        self.engine, self.config = engine, config or PlannerConfig()
        self.reason = "not started"
        self.explanation: Explanation | None = None
        self._guide: RouteGuide | None = None

    def reset(self, scenario: Scenario) -> None:
        """Compile the scenario's route; forget everything about the last one."""
        self._guide = RouteGuide(scenario)
        self._watched = Watched()
        self._waited = 0.0
        self._sideways: Sideways | None = None
        self.reason, self.explanation = "free", None

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        """5 s along the route, ``(51,)`` points, from the ego's foot on the planned way.

        Without ``forecasts`` everybody is taken to go on at constant velocity. Raises RoadloopError
        before `reset`, or when the map has lights the observation lacks.
        """
        look = self.look(observation, tracks, forecasts)
        return self.decide(look, self.engine(look.arrays), tracks)

    def look(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Look:
        """What the network is told; once per step, whoever drives. Raises as `plan`."""
        guide = self.guide
        if observation.lights is None and guide.lit.any():
            raise RoadloopError(
                'observation holds no lights: declare the sensor "lights" in the driver\'s sensors'
            )
        ego = observation.ego
        speed = max(float(ego.speed), 0.0)
        place = guide.place(float(ego.x), float(ego.y), speed, observation.dt)
        s, _, window = place
        d, slope = beside(window, ego, s)
        guide.note(s, d, s + ego.vehicle.length - ego.vehicle.rear_overhang, speed)
        self._waited = self._waited + observation.dt if speed < 0.3 else 0.0
        planned = None
        if self._sideways is not None:
            was = [float(q[0]) for q in self._sideways(np.array([s]))]
            if abs(was[0] - d) < OFF_PLAN and abs(was[1] - slope) < OFF_HEADING:
                planned = (was[0], was[1], was[2])
        return look_around(
            self.config, guide, self._watched, observation, tracks, forecasts, planned, place,
            self._waited,
        )  # fmt: skip

    def decide(self, look: Look, outputs: Mapping[str, Array], tracks: Tracks) -> Trajectory:
        """The plan that the network's answers mean."""
        proposals = look.proposals
        logit = np.where(proposals.valid, np.asarray(outputs["logit"], np.float64), -np.inf)
        share = np.exp(logit - logit.max())
        share /= share.sum()
        expected = 1.0 / (1.0 + np.exp(-np.asarray(outputs["terms"], np.float64)))
        terms = {name: expected[:, k] for k, name in enumerate(TERMS)}
        score = np.log(np.maximum(share, 1e-12))
        for name, weight in CAUTION.items():
            score = score + weight * np.log(np.maximum(terms[name], 1e-6))
        score = np.where(proposals.valid, score, -np.inf)
        best = int(np.argmax(score))

        s, d = proposals.at_moments(proposals.s), proposals.at_moments(proposals.d)
        alike = likeness(s, d, s[best], d[best]) < ALIKE
        # standing and going are not averaged: that would be creeping
        stands = proposals.s[:, -1] - look.start.s < CREEPING
        weight = np.exp(score - score[best]) * (alike & (stands == stands[best]))
        weight /= weight.sum()
        self._sideways = _mixed(proposals.steps, np.bincount(proposals.aim, weight, SIDEWAYS))
        plan = _laid_out(look, weight @ proposals.s, weight @ proposals.v, self._sideways)
        self._explain(look, share, terms, best, tracks)
        return plan

    @property
    def guide(self) -> RouteGuide:
        """The route; RoadloopError before `reset`."""
        if self._guide is None:
            raise RoadloopError("LearnedPlanner has no route yet: call reset(scenario) first")
        return self._guide

    def forget_plan(self) -> None:
        """Somebody else drives: the next plan begins where the ego is."""
        self._sideways = None

    def _explain(
        self, look: Look, share: Array, terms: dict[str, Array], best: int, tracks: Tracks
    ) -> None:
        proposals = look.proposals
        shown = np.flatnonzero(proposals.valid)
        k = np.minimum(
            np.round(np.arange(round(HORIZON / POINT_STEP)) * POINT_STEP / STEP).astype(np.int64),
            len(TIMES) - 1,
        )
        x, y, _ = poses_of(look.window, proposals.s[shown][:, k], proposals.d[shown][:, k],
                           proposals.slope[shown][:, k])  # fmt: skip
        limit, who = self._limit(look, terms, best, tracks)
        self.reason = limit or "free"
        self.explanation = Explanation(
            names=tuple(proposals.names[i] for i in shown),
            terms={name: values[shown] for name, values in terms.items()},
            score=share[shown],
            chosen=int(np.searchsorted(shown, best)),
            xy=np.stack([x, y], axis=-1),
            limit=limit,
            limit_id=who,
        )

    @staticmethod
    def _limit(look: Look, terms: dict[str, Array], best: int, tracks: Tracks) -> tuple[str, int]:
        """In words, what the network expects of going on faster, and whom that is about."""
        proposals = look.proposals
        faster = proposals.valid & (proposals.aim == proposals.aim[best]) & ~proposals.stops
        faster &= proposals.s[:, -1] > proposals.s[best, -1] + 3.0
        if not faster.any():
            return "", -1
        rival = int(np.flatnonzero(faster)[np.argmin(proposals.s[faster, -1])])
        cost = {name: float(terms[name][best] - terms[name][rival]) for name in TERMS[:3]}
        name = max(cost, key=lambda key: cost[key])
        if cost[name] < 0.1:
            return "as the teacher would", -1
        if name == "lights":
            return "traffic light", -1
        poses, futures = look.arrays["poses"][rival], look.arrays["futures"]
        gap = np.hypot(futures[..., 0] - poses[:, 0], futures[..., 1] - poses[:, 1]).min(axis=1)
        gap = np.where(look.arrays["agent_valid"] > 0.0, gap, np.inf)
        nearest = int(np.argmin(gap))
        if not np.isfinite(gap[nearest]):
            return name, -1
        row = int(look.agent_row[nearest])
        kind = AgentKind(int(tracks.states.kind[row])).name.lower()
        return f"{kind} {int(tracks.states.id[row])}", int(tracks.states.id[row])


def _mixed(steps: tuple[Sideways, ...], share: Array) -> Sideways:
    """The mean of sideways motions, each by its share."""
    parts = [(step, float(w)) for step, w in zip(steps, share, strict=True) if w > 1e-3]
    total = sum(w for _, w in parts)

    def mixed(s: Array) -> tuple[Array, Array, Array]:
        found = [[w / total * q for q in step(s)] for step, w in parts]
        d, slope, bend = (np.sum([f[k] for f in found], axis=0) for k in range(3))
        return d, slope, bend

    return mixed


def _laid_out(look: Look, s: Array, v: Array, sideways: Sideways) -> Trajectory:
    """A motion (K,) at `TIMES` along the line as a trajectory."""
    t = np.arange(round(HORIZON / PLAN_STEP) + 1) * PLAN_STEP
    # constant acceleration within each step
    k = np.minimum((t / STEP + 1e-9).astype(np.int64), len(TIMES) - 2)
    rest = t - TIMES[k]
    speed = v[k] + (v[k + 1] - v[k]) / STEP * rest
    at = s[k] + v[k] * rest + 0.5 * (v[k + 1] - v[k]) / STEP * rest**2
    at = np.maximum.accumulate(np.clip(at, s[k], s[k + 1]))
    d, slope, _ = sideways(at)
    x, y, heading = poses_of(look.window, at, d, slope)
    return Trajectory(x, y, np.pi - np.mod(np.pi - heading, 2.0 * np.pi), speed, PLAN_STEP)
