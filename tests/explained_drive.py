"""Made-up but consistent explanations of the drive in ``drawn_scene``, and a driver that has them.

The ego comes at 12 m/s, brakes for pedestrian 106, and drives on; what limits it and what the guard
does is known here by the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from deploy.plan_log import PlanRecorder
from deploy.stack import Stack
from perception.ground_truth import GroundTruth
from planning.controllers import TrackingController
from planning.explanation import POINT_STEP, Explanation
from planning.route_follower import RouteFollower
from roadloop.logs.plans import PlanLog
from roadloop.types import (
    AgentStates,
    Forecasts,
    Observation,
    Rollout,
    Scenario,
    Tracks,
    Trajectory,
)

Array = np.ndarray
PEDESTRIAN = 106
YIELDS = (6.0, 11.0)
"""s, the pedestrian limits the plan, first "keep lane, 20 %" and for a while "stop for it" """
STOPS = (8.0, 10.0)
PASSES = (14.0, 16.5)
"""s, "change left, 100 %" is chosen, nothing limits it"""
GUARD = (8.3, 8.9)
"""s, the guard brakes for the pedestrian"""
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
SIDES = {"keep lane": 0.0, "change left": 3.5, "aside to the right": -1.0}
TERMS = (
    "no_collision", "drivable_area", "direction", "time_to_collision", "progress", "comfort",
    "speed_limit", "steadiness",
)  # fmt: skip
POINTS = 13


@dataclass(frozen=True)
class Intervention:
    """As those of `planning.guard`."""

    step: int
    time: float
    kind: str
    what: str
    agent_id: int
    until: float


class ExplainingDriver:
    """Something that listens can be told; it drives nothing."""

    name = "explaining"
    sensors = ("tracks",)
    plan = None

    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self.explanation: Explanation | None = None
        self.guard = SimpleNamespace(interventions=[])

    def act(self, observation: Observation) -> None:
        """Explain the step."""
        self.explanation = explained(self.rollout, observation.step)
        if observation.step == round(GUARD[0] / self.rollout.dt):
            step, time = observation.step, observation.time
            self.guard.interventions.append(
                Intervention(
                    step, time, "emergency_brake", "pedestrian 106 <near>", PEDESTRIAN, GUARD[1]
                )
            )


def observation_of(rollout: Rollout, step: int) -> Observation:
    """What a driver with perfect senses is given at a step."""
    agents = rollout.agents
    states = AgentStates(*(getattr(agents, f)[step] for f in AgentStates.__dataclass_fields__))
    ego = type(rollout.ego)(
        *(
            getattr(rollout.ego, f)[step]
            for f in ("x", "y", "z", "heading", "speed", "acceleration", "steering", "yaw_rate")
        )
    )
    nobody = np.zeros(len(agents.id[step]))
    return SimpleNamespace(  # pyright: ignore[reportReturnType]
        step=step,
        time=float(rollout.time[step]),
        dt=rollout.dt,
        ego=ego,
        tracks=Tracks(states, nobody, nobody.astype(np.int64)),
    )


def explained(rollout: Rollout, step: int) -> Explanation:
    """The explanation of one step."""
    time, ego = float(rollout.time[step]), rollout.ego
    at = np.array([ego.x[step], ego.y[step]])
    names = [f"{side}, {share:.0%}".replace("%", " %") for side in SIDES for share in SHARES]
    names.append("stop for it")
    speed = [13.9 * share for _ in SIDES for share in SHARES] + [0.0]
    side = [offset for offset in SIDES.values() for _ in SHARES] + [0.0]
    t = np.arange(POINTS) * POINT_STEP
    now = float(ego.speed[step])
    reach = now * t[None] + (np.array(speed) - now)[:, None] * (t - 2.0 * (1 - np.exp(-t / 2.0)))
    reach = np.maximum.accumulate(np.maximum(reach, 0.0), axis=1)
    turn = np.clip(t / 4.0, 0.0, 1.0)
    across = np.array(side)[:, None] * (3 * turn**2 - 2 * turn**3)
    xy = at + np.stack([reach, across], axis=-1)
    terms = _terms(time, np.array(speed), np.array(side))
    gate = terms["no_collision"] * terms["drivable_area"] * terms["direction"]
    weighed = {"time_to_collision": 5, "progress": 5, "comfort": 2, "speed_limit": 1,
               "steadiness": 1}  # fmt: skip
    weights = {name: w / 14.0 for name, w in weighed.items()}
    score = gate * sum(w * terms[name] for name, w in weights.items())
    chosen = int(np.argmax(score))
    yields = YIELDS[0] <= time < YIELDS[1]
    return Explanation(
        names=tuple(names),
        terms=terms,
        score=score,
        chosen=chosen,
        xy=xy,
        limit="it crosses ahead" if yields else "" if time < PASSES[1] else "the speed limit",
        limit_id=PEDESTRIAN if yields else -1,
        weights=weights,
    )


def _terms(time: float, speed: Array, side: Array) -> dict[str, Array]:
    n = len(speed)
    one = np.ones(n)
    fast = speed / 13.9
    yields = YIELDS[0] <= time < YIELDS[1]
    stops = STOPS[0] <= time < STOPS[1]
    passes = PASSES[0] <= time < PASSES[1]
    collides = yields & ((fast > 0.3) | (stops & (fast > 0.0)))
    right = side < 0.0
    return {
        "no_collision": np.where(collides, 0.0, one),
        "drivable_area": np.where(right & (time > 12.0), 0.0, one),
        "direction": np.where((side > 0.0) & ~passes, 0.5, one),
        "time_to_collision": np.where(yields, np.clip(1.0 - 0.6 * fast, 0.0, 1.0), one),
        "progress": 0.05 + 0.95 * fast * np.where(passes & (side == 0.0), 0.7, 1.0),
        "comfort": np.where(side != 0.0, 0.8, one) - 0.1 * (fast == 0.0),
        "speed_limit": np.where(fast > 0.9, 0.93, one),
        "steadiness": np.where((side > 0.0) == passes, one, 0.4),
    }


def plan_log(rollout: Rollout, steps: int | None = None, **options) -> PlanLog:
    """What the recorder keeps of it."""
    driver = ExplainingDriver(rollout)
    recorder = PlanRecorder(driver, **options)  # pyright: ignore[reportArgumentType]
    for step in range(len(rollout.time) if steps is None else steps):
        observation = observation_of(rollout, step)
        driver.act(observation)
        recorder.listen(observation)
    log = recorder.log()
    assert log is not None
    return log


class ExplainingPlanner(RouteFollower):
    """The careful planner with two made-up proposals: its plan, and a faster one."""

    def __init__(self) -> None:
        super().__init__()
        self.explanation: Explanation | None = None

    def plan(
        self, observation: Observation, tracks: Tracks, forecasts: Forecasts | None = None
    ) -> Trajectory:
        plan = super().plan(observation, tracks, forecasts)
        rows = np.linspace(0, len(plan.x) - 1, POINTS).round().astype(int)
        here = np.array([plan.x[0], plan.y[0]])
        way = np.stack([plan.x, plan.y], axis=-1)[rows]
        self.explanation = Explanation(
            names=("as planned", "faster"),
            terms={"no_collision": np.array([1.0, 0.0]), "progress": np.array([0.5, 0.7])},
            score=np.array([0.5, 0.0]),
            chosen=0,
            xy=np.stack([way, here + 1.2 * (way - here)]),
            limit=self.reason,
            limit_id=int(tracks.states.id[0]) if len(tracks.states.id) else -1,
        )
        return plan


class ShyGuard:
    """A guard that reports itself at the third step and lets every plan pass."""

    def __init__(self) -> None:
        self.interventions: list[Intervention] = []

    def reset(self, scenario: Scenario) -> None:
        self.interventions = []

    def check(
        self,
        observation: Observation,
        tracks: Tracks,
        forecasts: Forecasts | None,
        plan: Trajectory,
    ) -> Trajectory:
        if observation.step == 2:
            time = observation.time
            self.interventions.append(Intervention(2, time, "rss", "too near", -1, time))
        return plan


def explaining_stack() -> Stack:
    """A whole driver that explains itself."""
    return Stack(
        "explaining", GroundTruth(), ExplainingPlanner(), TrackingController(), guard=ShyGuard()
    )
