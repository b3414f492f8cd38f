"""What several verbs ask: is that name known, and which drive and map does a folder hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from roadloop.config import unknown
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap
    from roadloop.types import Rollout


def known(noun: str, name: str, names: Iterable[str]) -> None:
    """Raise RoadloopError with the nearest name where ``name`` is not one of ``names``."""
    names = list(names)
    if name not in names:
        raise RoadloopError(f"{unknown(noun, name, names)}; `roadloop list` shows them all")


def read_drive(path: Path, map_file: Path | None) -> tuple[Rollout, RoadMap]:
    """A rollout and the map it was driven on: ``map_file``, the log's own, or built once more."""
    from roadloop.drive_folder import rollout_folder
    from roadloop.logs.parts import kept_map, read_meta
    from roadloop.logs.store import read_rollout
    from roadloop.maps.cache import load_map
    from sim.scenarios import build_scenario

    folder = rollout_folder(path)
    rollout = read_rollout(folder)
    meta = read_meta(folder)
    source = str(map_file or meta["map"]["source"])
    kept = None if source else kept_map(folder)
    if source:
        road_map = load_map(source)
    elif kept is not None:
        road_map = kept
    else:
        again = build_scenario(rollout.family, seed=rollout.seed, parameters=meta.get("parameters"))
        road_map = again.road_map
    if road_map.content_hash != rollout.map_hash:
        raise RoadloopError(
            f"{folder} was driven on another map than {source or rollout.family}: "
            f"name the file it was driven on with --map"
        )
    return rollout, road_map
