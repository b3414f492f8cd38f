"""Named, seeded scenario families, and a scenario of each.

A family runs on its own generated map, or on any map that has the place it needs. The everyday ones
are in ``sim.everyday``, those of test protocols in ``sim.euro_ncap`` and ``sim.alks``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.types import EgoState, Scenario, VehicleParameters
from roadloop.weather import Weather
from sim.alks import ALKS
from sim.euro_ncap import EURO_NCAP
from sim.euro_ncap_turn import CCFTAP
from sim.everyday import EVERYDAY
from sim.lights import light_programme
from sim.population import agents_from, pose_on, traffic
from sim.scene import Family, Scene

DT = 0.1
"""s per step"""


def build_scenario(
    name: str,
    *,
    seed: int = 0,
    road_map: RoadMap | None = None,
    agents: int | None = None,
    duration: float | None = None,
    dt: float = DT,
    parameters: Mapping[str, float] | None = None,
    weather: Weather | None = None,
) -> Scenario:
    """The scenario of family ``name`` and ``seed``, on its own map or the given one.

    Args:
        agents: vehicles of background traffic, beside those the family needs.
        duration: s; the drive ends earlier when the route is driven.
        parameters: those of the family that are not to have their default.
        weather: what its sensors see through; by default a clear afternoon. It changes no motion.

    Raises:
        RoadloopError: unknown family or parameter, a map without the place it needs, impossible
            numbers.
    """
    if name not in FAMILIES:
        from difflib import get_close_matches

        close = get_close_matches(name, FAMILIES, n=1, cutoff=0.0)
        raise RoadloopError(f"unknown scenario {name!r}: did you mean {close[0]!r}?")
    family = FAMILIES[name]
    count = family.agents if agents is None else agents
    length = family.duration if duration is None else duration
    if count < 0 or not (length > 0.0 and np.isfinite(length)) or not dt > 0.0:
        raise RoadloopError(
            f"scenario {name} with {count} agents, {length} s in steps of {dt} s: agents must be 0 "
            "or more, times above 0"
        )
    given = dict(parameters or {})
    values = family.values(name, given)
    if road_map is None:
        road_map = family.road_map(seed, values)
    rng = np.random.default_rng([seed, *name.encode()])
    scene = Scene(
        road_map=road_map, rng=rng, seed=seed, background=count, parameters=values,
        duration=float(length), dt=dt,
    )  # fmt: skip
    family.arrange(scene)
    lane, s = scene.start
    x, y, z, heading = pose_on(road_map, lane, s)
    circles = [(x, y, scene.clear)] + [(u.x, u.y, scene.clear) for u in scene.users]
    scene.users += traffic(road_map, rng, scene.background, keep_clear=circles)
    speed = 0.8 * scene.limit(lane) if scene.speed is None else scene.speed
    start = (x, y, z, heading, speed, 0.0, 0.0, 0.0)
    ego = EgoState(*(np.asarray(value, float) for value in start), vehicle=VehicleParameters())
    return Scenario(
        name=f"{name}{family.label(values)}-{seed}",
        family=name,
        seed=seed,
        road_map=road_map,
        duration=float(length),
        dt=dt,
        ego=ego,
        route=scene.route,
        agents=agents_from(scene.users),
        lights=scene.lights or light_programme(road_map, seed),
        description=family.description,
        parameters={key: values[key] for key in values if key in given},
        weather=weather or Weather(),
    )


FAMILIES: dict[str, Family] = {**EVERYDAY, **EURO_NCAP, "ccftap": CCFTAP, **ALKS}
"""every scenario family by name"""
