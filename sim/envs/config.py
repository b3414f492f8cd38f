"""What a driving environment can be told: one dataclass, unknown or impossible options refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig
from sim.envs.raster_bev import BevConfig
from sim.scenarios import FAMILIES

OBSERVATIONS = ("vector", "full", "bev", "cameras")
ACTIONS = ("continuous", "discrete", "trajectory", "control")
ENDINGS = ("collision", "off_road", "off_route", "red_light", "goal")
"""what can end an episode, and the reward term that tells"""


class OptionError(RoadloopError, gymnasium.error.Error):
    """An environment was asked for something it does not have: an error of both worlds."""


@dataclass(frozen=True)
class RewardWeights:
    """What one unit of each reward term is worth; the defaults train well with PPO."""

    progress: float = 0.1
    """per m of the route driven for the first time"""
    goal: float = 5.0
    """once, when the goal is reached"""
    collision: float = -5.0
    """per step in which the boxes of the ego and another road user overlap"""
    off_road: float = -5.0
    """per step with a corner off the road"""
    off_route: float = -5.0
    """per step far off the route"""
    wrong_way: float = -0.2
    """per m driven against the traffic"""
    red_light: float = -5.0
    """per red light run"""
    stop_sign: float = -1.0
    """per stop line of a sign crossed without a stop"""
    speeding: float = -0.3
    """per m driven in excess of the limit: (speed - limit) * time"""
    time_to_collision: float = -1.0
    """per s with a time to collision within nuPlan's bound"""
    lane_centre: float = -0.1
    """per m beside the route and s, 2 m at most"""
    comfort: float = -0.05
    """per s and comfort bound exceeded to the double or more"""


TERMS = tuple(f.name for f in dataclasses.fields(RewardWeights))
"""names of the reward terms, in the order the kernel writes them"""


@dataclass(frozen=True)
class DriveConfig:
    """Options of ``roadloop/Drive-v0`` and its kin."""

    scenario: str = "dense_town"
    """scenario family (``roadloop list scenarios``)"""
    pool: int | Sequence[int] = 256
    """how many seeds of the family are driven (0, 1, ...), or which ones; each episode draws one"""
    map: RoadMap | str | None = None
    """one map for all: a RoadMap or its file; None: the one the family makes of ``map_seed``"""
    map_seed: int = 0
    agents: int | None = None
    """vehicles of background traffic; None: as many as the family has"""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """of the family"""
    max_seconds: float | None = None
    """s until an episode is truncated; None: the family's duration"""
    dt: float = 0.1
    """s per step"""
    observation: str = "vector"
    """one of OBSERVATIONS"""
    action: str = "continuous"
    """one of ACTIONS"""
    reward: RewardWeights | Mapping[str, float] = field(default_factory=RewardWeights)
    """the weights, or those that are not to have their default"""
    end_on: tuple[str, ...] = ("collision", "off_road", "off_route", "goal")
    """which of ENDINGS end an episode"""
    bev: BevConfig | Mapping[str, float] = field(default_factory=BevConfig)
    """size of observation ``bev``, or what is not to have its default"""
    rig: SensorRig | str = "compact-3cam"
    """whose cameras observation ``cameras`` shows: a rig, its name or its file"""
    max_tracks: int = 64
    """rows for other road users in observation ``full``"""
    frame_size: tuple[int, int] = (640, 360)
    """px, width and height of what ``render`` draws"""
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.scenario not in FAMILIES:
            raise OptionError(unknown("scenario", str(self.scenario), FAMILIES))
        for name, known in (("observation", OBSERVATIONS), ("action", ACTIONS)):
            if getattr(self, name) not in known:
                raise OptionError(unknown(name, str(getattr(self, name)), known))
        for ending in self.end_on:
            if ending not in ENDINGS:
                raise OptionError(unknown("ending in end_on", str(ending), ENDINGS))
        if isinstance(self.pool, Sequence) and not isinstance(self.pool, str):
            fine = len(self.pool) > 0 and all(map(_whole, self.pool))
        else:
            fine = _whole(self.pool) and self.pool != 0
        if not fine:
            raise OptionError(f"pool is {self.pool!r}: give a count of seeds above 0, or the seeds")
        for name in ("max_seconds", "dt"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0.0):
                raise OptionError(f"{name} is {value}: must be above 0 s")
        if not _whole(self.max_tracks) or self.max_tracks < 1:
            raise OptionError(f"max_tracks is {self.max_tracks!r}: must be at least 1")
        object.__setattr__(self, "reward", _weights(self.reward))
        object.__setattr__(self, "bev", _bev(self.bev))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the pool."""
        if isinstance(self.pool, Sequence):
            return tuple(int(s) for s in self.pool)
        return tuple(range(int(self.pool)))

    @property
    def weights(self) -> RewardWeights:
        """``reward`` as weights."""
        return _weights(self.reward)

    @property
    def bird_view(self) -> BevConfig:
        """``bev`` as BevConfig."""
        return _bev(self.bev)


def drive_config(options: Mapping[str, Any]) -> DriveConfig:
    """The configuration with these options; raises OptionError for one that does not exist."""
    known = [f.name for f in dataclasses.fields(DriveConfig)]
    for name in options:
        if name not in known:
            raise OptionError(unknown("option", name, known))
    if isinstance(options.get("map"), Path):
        options = {**options, "map": str(options["map"])}
    return DriveConfig(**options)


def _weights(given: RewardWeights | Mapping[str, float]) -> RewardWeights:
    if isinstance(given, RewardWeights):
        return given
    if not isinstance(given, Mapping):
        raise OptionError(f"reward is {given!r}: give RewardWeights or a dict of weights by name")
    for name, value in given.items():
        if name not in TERMS:
            raise OptionError(unknown("reward term", str(name), TERMS))
        if not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
            raise OptionError(f"reward weight {name} is {value!r}: must be a finite number")
    return RewardWeights(**given)


def _bev(given: BevConfig | Mapping[str, float]) -> BevConfig:
    if not isinstance(given, BevConfig):
        known = [f.name for f in dataclasses.fields(BevConfig)]
        for name in given:
            if name not in known:
                raise OptionError(unknown("option of bev", str(name), known))
        given = BevConfig(**given)  # type: ignore[arg-type]
    if not (_whole(given.width) and _whole(given.height) and min(given.width, given.height) >= 8):
        raise OptionError(f"bev is {given.width} x {given.height} px: must be at least 8 x 8")
    if not (0.0 < given.resolution < np.inf and np.isfinite(given.behind)):
        raise OptionError(f"bev has {given.resolution} m per px: must be above 0")
    return given


def _whole(value: object) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and bool(value >= 0)  # type: ignore[operator]
