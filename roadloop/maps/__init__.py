"""Maps: the lane graph ``RoadMap`` and what reads, stores, generates and queries it."""

from __future__ import annotations

from pathlib import Path

from roadloop.maps.road_map import RoadMap


def load_map(path: str | Path, *, cache: bool = True) -> RoadMap:
    """The lane graph of an OpenDRIVE or Lanelet2 file; see ``roadloop.maps.cache.load_map``."""
    from roadloop.maps.cache import load_map as load

    return load(path, cache=cache)


__all__ = ["RoadMap", "load_map"]
