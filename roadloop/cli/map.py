"""``roadloop map``: what is in a map, and its picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from roadloop.cli.names import known
from roadloop.command_line import File, Seed, default_text

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

MESSAGES = 10
"""messages about a map's unusable elements that are printed"""


@dataclass(frozen=True)
class Map:
    """Read a map, say what is in it and what could not be used, and draw it.

    FILE is an OpenDRIVE map (.xodr), a Lanelet2 map (.osm), or generate:FAMILY
    (`roadloop list` names the families). Lengths are metres, speeds metres per second.

    Example: roadloop map generate:town --out town.png
    """

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """.xodr or .osm file, or generate:FAMILY"""
    seed: Seed = 0
    """for generated maps: same seed, same map"""
    out: Annotated[File, default_text("no picture")] = None
    """picture to write (.png)"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.viz.map_image import draw_map, map_statistics

        road_map = _read_map(self.file, self.seed)
        statistics = map_statistics(road_map)
        if self.out is not None:
            draw_map(road_map, self.out)
        if self.json:
            picture = None if self.out is None else str(self.out)
            messages = list(road_map.unsupported)
            print(json.dumps({**statistics, "not_used": messages, "picture": picture}, indent=2))
            return 0
        width = 2 + max(map(len, statistics))
        for name, value in statistics.items():
            print(f"{name:{width}}{f'{value:.6g}' if isinstance(value, float) else value}")
        for message in road_map.unsupported[:MESSAGES]:
            print(f"not used: {message}")
        if (more := len(road_map.unsupported) - MESSAGES) > 0:
            print(f"not used: {more} more, all of them with --json")
        if self.out is not None:
            print(self.out)
        return 0


def _read_map(name: str, seed: int) -> RoadMap:
    """The map of a file, or a generated one where ``name`` is ``generate:FAMILY``."""
    from roadloop.maps.cache import load_map

    prefix, _, family = name.partition(":")
    if prefix != "generate":
        return load_map(name)
    from roadloop.maps.generate import GENERATORS, generate_map

    known("map family", family, GENERATORS)
    return generate_map(family, seed=seed)
