"""Maps compiled once and kept: ``load_map`` reads a map or the copy stored by its content hash.

The copy is an uncompressed .npz (no pickle) in the user's cache directory, named by the SHA-256 of
the file's content and a fingerprint of the code that compiles maps, so that it can never be stale.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap

_SCALARS = ("name", "content_hash", "georeference", "left_hand")


def cache_directory() -> Path:
    """Where compiled maps are kept: ROADLOOP_CACHE, else XDG_CACHE_HOME/roadloop/maps."""
    chosen = os.environ.get("ROADLOOP_CACHE")
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "roadloop" / "maps"


@functools.cache
def code_fingerprint(folder: Path = Path(__file__).parent) -> str:
    """Hex digest of a folder's source files: whoever changes them need not think of caches."""
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def map_bytes(road_map: RoadMap) -> bytes:
    """A compiled map as a compressed .npz, for the folder of a log."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **_arrays(road_map))
    return file.getvalue()


def map_of(path: Path, content: bytes) -> RoadMap:
    """The map that ``map_bytes`` was given; RoadloopError where it is damaged."""
    try:
        return _map_in(io.BytesIO(content))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RoadloopError(f"{path} is damaged or no compiled map: {error}") from error


def _arrays(road_map: RoadMap) -> dict[str, np.ndarray]:
    arrays = road_map.arrays()
    arrays["unsupported"] = np.array(road_map.unsupported, dtype=str)
    arrays.update({name: np.array(getattr(road_map, name)) for name in _SCALARS})
    return arrays


def store_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz whole or not at all, also where other processes write the same one.

    Raises OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _stored(path: Path, content_hash: str) -> RoadMap:
    """The map in ``path``; OSError, EOFError, ValueError, KeyError or BadZipFile if damaged."""
    road_map = _map_in(path)
    if road_map.content_hash != content_hash:
        raise ValueError("it holds another map")
    return road_map


def _map_in(source: Path | io.BytesIO) -> RoadMap:
    with np.load(source, allow_pickle=False) as file:
        values = {
            f.name: file[f.name]
            for f in dataclasses.fields(RoadMap)
            if f.name in file or f.default_factory is dataclasses.MISSING
        }
    values["unsupported"] = tuple(values["unsupported"].tolist())
    for name in _SCALARS:
        values[name] = values[name].item()
    return RoadMap(**values)


def load_map(path: str | Path, *, cache: bool = True) -> RoadMap:
    """The lane graph of a map file, compiled or from the cache.

    ``.osm`` and ``.osm.gz`` are Lanelet2, everything else is OpenDRIVE (.xodr, .xodr.gz). A damaged
    copy is rebuilt with one line on standard error; a cache directory that cannot be written costs
    only time. RoadloopError as ``read_opendrive`` and ``load_lanelet2``.
    """
    read, key, name = _lanelet2(path) if _is_lanelet2(path) else _opendrive(path)
    if not cache:
        return read(path)
    stored = cache_directory() / f"{key}-{code_fingerprint()}.npz"
    try:
        return dataclasses.replace(_stored(stored, key), name=name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"roadloop: rebuilding the damaged map cache {stored} ({error})", file=sys.stderr)
    road_map = read(path)
    with contextlib.suppress(OSError):  # e.g. a read-only home: the map is there all the same
        store_arrays(stored, _arrays(road_map))
    return road_map


def _is_lanelet2(path: str | Path) -> bool:
    return Path(path).name.lower().endswith((".osm", ".osm.gz"))


def _opendrive(path: str | Path) -> tuple[Callable[[str | Path], RoadMap], str, str]:
    """What reads the file, its content hash and the map's name."""
    from roadloop.maps.opendrive import content_hash, read_bytes, read_opendrive

    xml, _, name = read_bytes(path)
    return read_opendrive, content_hash(xml), name


def _lanelet2(path: str | Path) -> tuple[Callable[[str | Path], RoadMap], str, str]:
    from roadloop.maps.compile_draft import content_hash
    from roadloop.maps.lanelet2 import load_lanelet2, read_bytes, source_hash

    xml, _, name = read_bytes(path)
    return load_lanelet2, content_hash(source_hash(xml)), name
