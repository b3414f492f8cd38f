"""Procedural roads: named families, each a dataclass of parameters, written as OpenDRIVE.

Generated maps go through the same reader as every other map. The same family, seed and parameters
give the same bytes. ``variation`` says how far the seed moves lengths, angles and radii: 0 gives
the plain shape for every seed, 0.1 changes them by up to 10 percent. All roads keep right.

    road_map = generate_map("four_way", seed=3, control="stop", lanes=2)
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from roadloop.config import unknown
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.maps.generate_draft import Profile
    from roadloop.maps.road_map import RoadMap

Control = Literal["none", "lights", "stop", "yield"]
"""what traffic that enters a junction must obey"""

TOWN_SPEED = 50.0 / 3.6
"""m/s, the usual limit in towns"""
RURAL_SPEED = 80.0 / 3.6
MOTORWAY_SPEED = 120.0 / 3.6
RAMP_SPEED = 60.0 / 3.6


@dataclass(frozen=True)
class _Roads:
    """Parameters every family has."""

    lanes: int = 1
    """per direction (``merge``, ``exit``: of the carriageway)"""
    lane_width: float = 3.5
    """m"""
    speed_limit: float = TOWN_SPEED
    """m/s"""
    variation: float = 0.1
    """how far the seed moves lengths, angles and radii, as a share of them"""

    def __post_init__(self) -> None:
        _check(self, "lanes", 1, 4)
        _check(self, "lane_width", 2.5, 5.0)
        _check(self, "speed_limit", 1.0, 70.0)
        _check(self, "variation", 0.0, 0.3)

    def profile(
        self, edge: Literal["sidewalk", "shoulder"] = "sidewalk", road_type: str = "town"
    ) -> Profile:
        """Cross-section of the family's roads; pavements are 2 m wide, shoulders 1.5 m."""
        from roadloop.maps.generate_draft import Profile

        width = 2.0 if edge == "sidewalk" else 1.5
        return Profile(self.lane_width, edge, width, road_type, self.speed_limit)


@dataclass(frozen=True)
class Straight(_Roads):
    """A straight street with pavements and, if asked, crosswalks between junctions."""

    length: float = 300.0
    """m"""
    pavement: bool = True
    crossings: int = 0
    """crosswalks, evenly spread"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "length", 20.0, 10_000.0)
        _check(self, "crossings", 0, int(self.length // 20.0))


@dataclass(frozen=True)
class Curve(_Roads):
    """A country road through an S-curve with transition spirals, over a hill if asked."""

    speed_limit: float = RURAL_SPEED
    radius: float = 200.0
    """m, of both bends; at 80 km/h that is 2.5 m/s^2 to the side"""
    turn: float = math.radians(60.0)
    """rad each bend turns, the first to the left"""
    approach: float = 100.0
    """m of straight road before and after"""
    hill: float = 0.0
    """m the middle lies above the ends; negative: a dip"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "radius", 15.0 + self.lanes * self.lane_width, 5_000.0)
        _check(self, "turn", 0.05, math.radians(150.0))
        _check(self, "approach", 1.0, 5_000.0)
        _check(self, "hill", -50.0, 50.0)


@dataclass(frozen=True)
class Merge(_Roads):
    """A ramp that joins a one-way motorway carriageway through an acceleration lane.

    At its end that lane goes over into the next one in a taper junction, where it gives way.
    """

    lanes: int = 2
    speed_limit: float = MOTORWAY_SPEED
    ramp_speed_limit: float = RAMP_SPEED
    """m/s"""
    approach: float = 300.0
    """m of carriageway before the ramp's nose"""
    ramp_length: float = 150.0
    """m"""
    parallel: float = 200.0
    """m of acceleration (or deceleration) lane"""
    beyond: float = 300.0
    """m of carriageway after the whole"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "ramp_speed_limit", 1.0, 70.0)
        for name in ("approach", "ramp_length", "parallel", "beyond"):
            _check(self, name, 50.0, 5_000.0)


@dataclass(frozen=True)
class Exit(Merge):
    """A ramp that leaves a one-way motorway carriageway through a deceleration lane."""


@dataclass(frozen=True)
class Crossroads(_Roads):
    """Parameters of a single junction of town roads."""

    minor_lanes: int = 1
    """lanes per direction of the minor road"""
    arm_length: float = 100.0
    """m of road from the junction to the end of the map"""
    corner_radius: float = 6.0
    """m, tightest point of the outermost lane's centre in a right turn"""
    control: Control = "lights"
    """lights; stop or yield: signs on the minor road; none"""
    crossings: bool = True
    """crosswalks on all arms"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "lanes", 1, 3)
        _check(self, "minor_lanes", 1, 3)
        _check(self, "arm_length", 15.0, 5_000.0)
        _check(self, "corner_radius", 5.0, 50.0)
        _check_control(self.control)


@dataclass(frozen=True)
class FourWay(Crossroads):
    """Two town roads that cross."""


@dataclass(frozen=True)
class TJunction(Crossroads):
    """A minor road that ends at a major one."""

    control: Control = "stop"


@dataclass(frozen=True)
class Roundabout(_Roads):
    """A roundabout with one circulating lane and yield signs at its entries."""

    arms: int = 4
    radius: float = 17.0
    """m, of the circulating lane's centre"""
    arm_length: float = 100.0
    """m of road from an entry to the end of the map"""
    speed_limit: float = 30.0 / 3.6
    crossings: bool = True
    """crosswalks on all arms, one car's length before the entry"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "lanes", 1, 1)
        _check(self, "arms", 3, 4)
        _check(self, "radius", 14.0, 60.0)
        _check(self, "arm_length", 30.0, 5_000.0)


@dataclass(frozen=True)
class Town(_Roads):
    """A grid of blocks: signalised crossroads, signed T-junctions, avenues of two lanes."""

    rows: int = 4
    """junctions from south to north"""
    columns: int = 4
    """junctions from west to east"""
    block: float = 150.0
    """m between junctions"""
    avenues: int = 1
    """rows, and as many columns, with one lane more per direction"""
    missing: float = 0.15
    """share of the streets that are left out, as far as that makes T-junctions of crossroads"""
    roundabouts: int = 1
    """crossroads of streets that become roundabouts, as far as there are any"""
    corner_radius: float = 6.0
    """m, tightest point of the outermost lane's centre in a right turn"""
    crossings: bool = True
    """crosswalks at all junctions"""
    variation: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "lanes", 1, 2)
        _check(self, "rows", 3, 20)
        _check(self, "columns", 3, 20)
        _check(self, "block", 100.0, 1_000.0)
        _check(self, "avenues", 0, min(self.rows, self.columns) - 2)
        _check(self, "missing", 0.0, 0.5)
        _check(self, "roundabouts", 0, 100)
        _check(self, "corner_radius", 5.0, 12.0)
        _check(self, "variation", 0.0, 0.2)


def _check(parameters: Any, name: str, low: float, high: float) -> None:
    value = getattr(parameters, name)
    kind = int if isinstance(low, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        what = "a whole number" if isinstance(low, int) else "a number"
        raise RoadloopError(f"{name} is {value!r}: expected {what} from {low:g} to {high:g}")


def _check_control(control: str) -> None:
    if control not in get_args(Control):
        expected = ", ".join(get_args(Control))
        raise RoadloopError(f"control is {control!r}: expected one of {expected}")


class Vary:
    """Draws the seed's share of the parameters, always in the same order."""

    def __init__(self, seed: int, variation: float) -> None:
        self.random = np.random.default_rng(seed)
        self._variation = variation

    def __call__(self, value: float) -> float:
        """``value`` times a factor within 1 +- variation."""
        return value * (1.0 + self.angle())

    def angle(self) -> float:
        """A number within +- variation: rad, or a share."""
        return float(self.random.uniform(-self._variation, self._variation))


# --- what callers use ---------------------------------------------------------------------------

_PARAMETERS: dict[str, type[_Roads]] = {
    "straight": Straight,
    "curve": Curve,
    "merge": Merge,
    "exit": Exit,
    "t_junction": TJunction,
    "four_way": FourWay,
    "roundabout": Roundabout,
    "town": Town,
}

GENERATORS: dict[str, str] = {
    name: (kind.__doc__ or "").partition("\n")[0] for name, kind in _PARAMETERS.items()
}
"""every family with a line that describes it"""


def parameters_of(family: str, **parameters: Any) -> _Roads:
    """The family's parameters with the given ones set; RoadloopError names what does not exist."""
    if family not in _PARAMETERS:
        raise RoadloopError(unknown("road family", family, _PARAMETERS))
    kind = _PARAMETERS[family]
    names = [f.name for f in dataclasses.fields(kind)]
    for name in parameters:
        if name not in names:
            raise RoadloopError(unknown(f"parameter of {family}", name, names))
    try:
        return kind(**parameters)
    except RoadloopError as error:
        raise RoadloopError(f"road family {family}: {error}") from None


def generate_xodr(family: str, *, seed: int = 0, **parameters: Any) -> str:
    """OpenDRIVE text of a map of ``family`` (see ``GENERATORS``); same arguments, same bytes.

    ``parameters`` are the fields of the family's dataclass in this module.
    """
    from roadloop.maps import generate_roads, generate_town
    from roadloop.maps.generate_draft import Draft

    p = parameters_of(family, **parameters)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise RoadloopError(f"seed is {seed!r}: expected a whole number from 0")
    draw = getattr(generate_roads, f"draw_{family}", None) or getattr(
        generate_town, f"draw_{family}"
    )
    draft = Draft(f"{family}_{seed}")
    draw(draft, p, Vary(int(seed), p.variation))
    return draft.text()


def generate_map(family: str, *, seed: int = 0, cache: bool = True, **parameters: Any) -> RoadMap:
    """A compiled map of ``family``; with ``cache``, the maps used last are kept in memory."""
    if not cache:
        return _generate_map(family, seed, **parameters)
    return _cached_map(family, seed, **parameters)


def _generate_map(family: str, seed: int, **parameters: Any) -> RoadMap:
    from roadloop.maps.opendrive import read_opendrive

    text = generate_xodr(family, seed=seed, **parameters)
    return read_opendrive(text.encode(), name=f"{family}_{seed}")


_cached_map = lru_cache(maxsize=32)(_generate_map)
