"""What is simulated to learn from: the mix of scenarios, and how much of each; plain settings."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from roadloop.errors import RoadloopError

HELD_OUT = 100
"""seeds below are for evaluation"""


@dataclass(frozen=True)
class SceneShare:
    """One kind of scenario in a mix."""

    family: str
    """see ``roadloop list``"""
    share: float = 1.0
    """how often, relative to the others"""
    agents: int | None = None
    """vehicles of background traffic; none: the family's own number"""
    map: str = ""
    """a map file (OpenDRIVE, Lanelet2) to be on; empty: maps are generated"""

    def __post_init__(self) -> None:
        if not 0.0 < self.share < math.inf:
            raise RoadloopError(f"share of {self.family} is {self.share}: it must be above 0")


@dataclass(frozen=True)
class StreetLife:
    """What is added to a scenario."""

    walkers: float = 2.5
    """people on pavements per 100 m of pavement"""
    riders: float = 0.15
    """share of the background traffic that rides a bicycle or motorcycle"""
    parked: float = 1.0
    """cars parked beside the road per 100 m of lane"""
    things: float = 1.0
    """cones, barriers, boxes at the road's edge per 100 m of lane"""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0.0 <= value < math.inf:
                raise RoadloopError(f"{name} is {value}: it must be 0 or more")
        if self.riders > 1.0:
            raise RoadloopError(f"riders is {self.riders}: a share is 1 or less")


MIX = (
    SceneShare("dense_town", 6.0, agents=150),
    SceneShare("random_route", 2.0, agents=120),
    SceneShare("red_light", 2.0, agents=20),
    SceneShare("unprotected_left_turn", 2.0, agents=20),
    SceneShare("uncontrolled_junction", 1.0, agents=20),
    SceneShare("roundabout", 2.0, agents=20),
    SceneShare("pedestrian_crossing", 2.0, agents=12),
    SceneShare("cyclist_ahead", 1.0, agents=12),
    SceneShare("stop_sign", 1.0, agents=16),
    SceneShare("cut_in", 1.0, agents=16),
    SceneShare("merge", 1.0, agents=40),
    SceneShare("parked_obstruction", 1.0, agents=10),
    SceneShare("lane_following", 1.0, agents=12),
    SceneShare("lead_vehicle_brake", 1.0, agents=12),
)


@dataclass(frozen=True)
class SimulatedData:
    """Drives that are simulated while one learns; an epoch is worlds x seats x moments samples."""

    worlds: int = 16
    """scenarios of an epoch"""
    seats: int = 8
    """vehicles of each that are looked from"""
    moments: int = 16
    """samples of each of these drives"""
    scenes: tuple[SceneShare, ...] = MIX
    """what the scenarios are drawn from"""
    life: StreetLife = field(default_factory=StreetLife)
    seconds: float = 20.0
    """s, of each drive"""
    every: int = 5
    """sensors measure at every so manyth step of 0.1 s"""
    seed: int = 1_000_000
    """of the first scenario; each has the next one"""
    maps: int = 8
    """generated maps of each family that take turns; 0: each scenario has its own"""
    endless: bool = True
    """other scenarios in each epoch"""
    weather: str = "random"
    """of all drives; random: each its own"""
    rig: str = "compact"
    """the sensors, a rig by name or file"""
    detail: Literal["", "plain", "full"] = ""
    """of the pictures; empty: as the rig says"""
    effects: float = 0.0
    """from 0 to 1: how much noise, wandering exposure, vignetting, dirt and drops there may be on
    a drive's cameras, beyond what the rig has"""

    def __post_init__(self) -> None:
        for name in ("worlds", "seats", "moments", "every"):
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if self.seed < HELD_OUT or self.maps < 0:
            raise RoadloopError(
                f"seed is {self.seed}, maps {self.maps}: seeds below {HELD_OUT} are held out for "
                "evaluation, maps must be 0 or more"
            )
        if not 0.0 < self.seconds < math.inf or not 0.0 <= self.effects <= 1.0:
            raise RoadloopError(
                f"seconds is {self.seconds}, effects {self.effects}: expected a time above 0 and a "
                "share from 0 to 1"
            )
        if not self.scenes:
            raise RoadloopError("scenes is empty: name what is to be simulated")
