"""How the learned planner is trained: the classes behind ``configs/planner_*.yaml``.

``docs/learned-planner.md`` shows them at work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from planning.learned_config import PlannerConfig
from roadloop.errors import RoadloopError

LEAST_SEED = 1000
"""seeds below judge"""


@dataclass(frozen=True)
class Round:
    """One round of DAgger (Ross et al., AISTATS 2011): drives, then steps on all moments so far."""

    drives: int
    """per family"""
    teacher: float
    """share of the time the teacher drives; what is left the pupil does, in the first round chance
    does"""
    passes: float
    """over all moments there are"""
    chance: float = 0.1
    """share of the time some proposal is driven for a second, whatever it is: to learn the way back
    from where nobody would go"""

    def __post_init__(self) -> None:
        if self.drives < 0 or self.passes < 0.0:
            raise RoadloopError(
                f"a round has {self.drives} drives, {self.passes} passes: expected 0 or more"
            )
        for name in ("teacher", "chance"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: a share is from 0 to 1")


FAMILIES = (
    "lane_following", "lead_vehicle_brake", "cut_in", "red_light", "stop_sign",
    "unprotected_left_turn", "pedestrian_crossing", "cyclist_ahead", "parked_obstruction", "merge",
    "roundabout", "uncontrolled_junction", "random_route", "dense_town",
)  # fmt: skip
ROUNDS = (
    Round(drives=5, teacher=0.8, passes=3.0, chance=0.2),
    Round(drives=4, teacher=0.4, passes=2.0),
    Round(drives=3, teacher=0.2, passes=2.0),
    Round(drives=3, teacher=0.0, passes=5.0),
)


@dataclass(frozen=True)
class PlannerData:
    """What is driven, and what of it is kept."""

    families: tuple[str, ...] = FAMILIES
    """scenarios of the simulator, each as often"""
    seconds: float = 32.0
    """s of each drive, at most"""
    seed: int = 3000
    """of the first drive of each family; each has the next one"""
    judges: int = 1
    """drives per family, by the teacher, that judge after each pass"""
    judge_seed: int = 900_000
    """of the first one that judges"""
    keep: float = 0.5
    """share of the moments that are kept, of five a second"""
    scored: int = 1
    """drives per family by which the pupil is scored after each round; 0: none"""
    made: Path | None = None
    """folder for the drives, which other runs may share; empty: in the run's own"""

    def __post_init__(self) -> None:
        if not self.families:
            raise RoadloopError("families is empty: name what is to be driven")
        if min(self.seed, self.judge_seed) < LEAST_SEED:
            raise RoadloopError(
                f"seed is {self.seed}, judge_seed {self.judge_seed}: below {LEAST_SEED} they are "
                "for evaluation"
            )
        if not 0.0 < self.keep <= 1.0 or not 1.0 < self.seconds < math.inf:
            raise RoadloopError(
                f"keep is {self.keep}, seconds {self.seconds}: expected a share above 0, and more "
                "than 1 s"
            )
        if self.judges < 0 or self.scored < 0:
            raise RoadloopError(
                f"judges is {self.judges}, scored {self.scored}: it must be 0 or more"
            )


@dataclass(frozen=True)
class PlannerLoss:
    """What is made small."""

    temperature: float = 1.0
    """of the softmax over likeness to the teacher's plan that is to be met"""
    terms: float = 0.3
    """weight of what is expected of proposals, beside"""
    manoeuvres: float = 3.0
    """weight of moments in which the teacher leaves its lane or changes it"""
    drop_ego: float = 0.5
    """of a moment that is shown without the ego's motion (PlanTF, Cheng et al., ICRA 2024): what
    the ego does is no reason to go on doing it"""
    drop_agents: float = 0.2
    """of somebody far from every proposal who is left out"""

    def __post_init__(self) -> None:
        for name in ("temperature", "manoeuvres"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("drop_ego", "drop_agents"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: a share is from 0 to 1")


@dataclass(frozen=True)
class PlannerTraining:
    """A training run. Defaults: the compact planner on a CPU."""

    model: PlannerConfig = field(default_factory=PlannerConfig)
    data: PlannerData = field(default_factory=PlannerData)
    rounds: tuple[Round, ...] = ROUNDS
    loss: PlannerLoss = field(default_factory=PlannerLoss)

    batch: int = 32
    """moments per step"""
    learning_rate: float = 2e-3
    """of AdamW, at most, in each round"""
    weight_decay: float = 0.01
    warmup: float = 0.05
    """share of a round's steps in which the learning rate rises"""
    ema: float = 0.995
    """how much of the averaged weights stays in each step; they are what drives and is kept"""
    clip: float = 2.0
    """gradients are scaled down to this norm"""
    seed: int = 1
    """same seed, same machine, same run"""
    device: str = "auto"
    """auto: cuda where there is one, else cpu"""
    workers: int = 0
    """processes that drive at once; 0: this one alone"""
    threads: int = 0
    """of PyTorch on the CPU; 0: all cores"""
    checkpoint_every: int = 250
    """steps"""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if not self.rounds:
            raise RoadloopError("rounds is empty: give one at least")
        for name in ("batch", "learning_rate", "clip", "checkpoint_every"):
            if not 0 < getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("workers", "threads", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        for name in ("warmup", "ema"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be in [0, 1)")
