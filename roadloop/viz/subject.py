"""What a recording of a drive is about: its facts, map, route and sensors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from roadloop.maps.path import Path, route_path
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig
from roadloop.types import Rollout, Route, Scenario


@dataclass(frozen=True)
class Subject:
    """What is known of a drive before its first step; whatever is None is not shown."""

    facts: dict[str, str]
    """for people: scenario, seed, driver, map, map_hash ..."""
    road_map: RoadMap | None = None
    route: Route | None = None
    rig: SensorRig | None = None
    """as the calibration has it"""

    @property
    def title(self) -> str:
        """One line."""
        names = [self.facts.get("scenario", "drive")]
        names += [f"{key} {self.facts[key]}" for key in ("seed", "driver") if key in self.facts]
        return ", ".join(names)

    @property
    def identity(self) -> str:
        """Hexadecimal; the same for the same facts and sensors."""
        names = [] if self.rig is None else [s.name for s in self.rig.sensors]
        return hashlib.sha256(repr((sorted(self.facts.items()), names)).encode()).hexdigest()[:32]

    @cached_property
    def path(self) -> Path | None:
        """The route as a curve."""
        if self.road_map is None or self.route is None:
            return None
        return route_path(self.road_map, self.route)


def subject_of_scenario(scenario: Scenario, driver: str, rig: SensorRig | None = None) -> Subject:
    """What a drive that begins is about."""
    facts = _facts(scenario.name, scenario.family, scenario.seed, driver)
    facts |= {"map": scenario.road_map.name, "map_hash": scenario.road_map.content_hash}
    return Subject(facts, scenario.road_map, scenario.route, rig)


def subject_of_rollout(
    rollout: Rollout, road_map: RoadMap | None, rig: SensorRig | None = None
) -> Subject:
    """What a drive in a log is about; without its map it is shown without roads and route."""
    facts = _facts(rollout.scenario, rollout.family, rollout.seed, rollout.driver)
    facts |= {"map": rollout.map_name, "map_hash": rollout.map_hash}
    return Subject(facts, road_map, rollout.route, rig)


def _facts(scenario: str, family: str, seed: int, driver: str) -> dict[str, str]:
    return {"scenario": scenario, "family": family, "seed": str(seed), "driver": driver}
