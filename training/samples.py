"""A sample in two halves: what is stored of a moment (``gather``), and its arrays (``finish``).

Between the two nothing is decoded: a shard holds the first half, a model gets the second, and both
are made here, so that a sample is the same whether it comes from a log or from a shard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from roadloop.logs.recording import Frame, Recording
from roadloop.virtual_camera import Slot, View
from training.jpeg import check_size, picture_into, picture_of
from training.sample_labels import (
    box_labels,
    ego_motion,
    ego_path,
    lidar_points,
    light_labels,
    newest,
    radar_targets,
    steps_at,
    tracks,
)
from training.sample_lights import light_relevance
from training.sample_map import MapPieces
from training.sample_spec import LENSES, Sample, SampleSpec, identity, named
from training.sample_views import slots_of

Array = np.ndarray

TYPES = {"rgb": np.uint8, "depth": np.float32, "semantic": np.uint8, "instance": np.int32}
"""of the arrays of pictures, by product"""

PER_CAMERA = (
    "mounts",
    "image_valid",
    "image_timestamp_us",
    "ego_from_camera",
    "history_image_valid",
    "history_ego_from_camera",
)
"""arrays with an axis of the recording's cameras"""

_HISTORY = PER_CAMERA[-2:]
_STRAIGHT = tuple(f.name for f in fields(Pinhole))


class Allocate(Protocol):
    """Makes the array of a sample that is called ``key``, with any content."""

    def __call__(self, key: str, shape: tuple[int, ...], dtype: Any) -> Array: ...


@dataclass(frozen=True)
class Stored:
    """One picture: the bytes of its file, or a function that reads it."""

    kind: str
    """rgb, depth, semantic or instance"""
    where: str
    """file, or camera and time, for messages"""
    content: bytes | None = None
    """JPEG or PNG as ``roadloop.logs.sensor_files`` has it"""
    values: Callable[[], Array | None] | None = None

    def array(self) -> Array:
        """The picture, decoded: (H, W, 3) uint8, (H, W) float32 or uint8."""
        if self.content is not None:
            return picture_of(self.kind, self.where, self.content)
        values = self.values() if self.values else None
        if values is None:
            raise RoadloopError(f"{self.where} was recorded without {self.kind}")
        return values


@dataclass(frozen=True)
class RawSample:
    """A moment as it is stored."""

    facts: dict[str, Any]
    """dataset, drive, step, timestamp_us"""
    cameras: list[str]
    lenses: list[Pinhole]
    arrays: dict[str, Array]
    """as in a sample; ``mounts`` (N, 4, 4) is ego_from_camera by the calibration"""
    pictures: dict[tuple[str, int, str], Stored] = field(default_factory=dict)
    """by camera, how many moments back, and product; those that there are"""

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.facts['dataset']} drive {self.facts['drive']} step {self.facts['step']}"


def gather(
    recording: Recording, step: int, spec: SampleSpec, pieces: MapPieces | None = None
) -> RawSample:
    """What is to be stored of a step.

    Args:
        pieces: of the recording's map, where the spec wants it and there is one.

    Raises:
        RoadloopError: a file that is missing or damaged; a sensor the rig does not have.
    """
    where = f"{recording.dataset} drive {recording.name}"
    rig = recording.rig
    names = named(spec.cameras, tuple(c.name for c in rig.cameras), "camera", where)
    sensors = {camera.name: camera for camera in rig.cameras}
    mounts = np.array([sensors[n].ego_from_camera for n in names]).reshape(-1, 4, 4)
    arrays: dict[str, Array] = {
        "world_from_ego": recording.world_from_ego[step].astype(np.float64),
        "motion": ego_motion(recording, step),
    }
    there: Array = np.zeros(0, np.int64)
    if spec.boxes:
        labels, there = box_labels(recording, step, spec)
        arrays |= labels
        arrays["has_boxes"] = np.array(recording.agents is not None)
    pictures: dict[tuple[str, int, str], Stored] = {}
    if spec.cameras:
        frames, valid, poses = _moment(recording, step, spec, names, mounts)
        stamps = np.array([frame.timestamp_us if frame else 0 for frame in frames], np.int64)
        arrays |= {"mounts": mounts, "image_valid": valid, "image_timestamp_us": stamps}
        arrays["ego_from_camera"] = poses
        images = _look(recording, names, frames, 0, spec, pictures)
        if spec.boxes:
            _count_pixels(arrays, images)
    if spec.history:
        arrays |= _history(recording, step, spec, names, mounts, pictures)
    for key, count, sign in (("past", spec.past, -1.0), ("future", spec.future, 1.0)):
        if count:
            seconds = sign * spec.spacing * np.arange(1, count + 1)
            arrays[f"ego_{key}"], arrays[f"ego_{key}_valid"] = ego_path(recording, step, seconds)
            if spec.boxes:
                found = tracks(recording, step, there, seconds)
                arrays[f"agents_{key}"], arrays[f"agents_{key}_valid"] = found
    if spec.lidars:
        lidars = named(spec.lidars, tuple(s.name for s in rig.lidars), "LiDAR", where)
        arrays["points"] = lidar_points(recording, step, spec, lidars)
    if spec.radars:
        radars = named(spec.radars, tuple(s.name for s in rig.radars), "radar", where)
        arrays["radar"] = radar_targets(recording, step, spec, radars)
    if spec.lights:
        arrays |= light_labels(recording, step, spec.map)
        if spec.map:
            arrays |= light_relevance(recording, step)
    if spec.map:
        pose = recording.world_from_ego[step]
        arrays |= (pieces or no_map(spec)).near(pose, spec.map_radius)
        arrays["has_map"] = np.array(recording.load_map is not None)
    facts = {
        "dataset": recording.dataset,
        "drive": recording.name,
        "step": int(step),
        "timestamp_us": int(recording.timestamp_us[step]),
    }
    return RawSample(facts, names, [sensors[n].camera for n in names], arrays, pictures)


def finish(raw: RawSample, spec: SampleSpec, allocate: Allocate | None = None) -> Sample:
    """The arrays of a sample, its pictures decoded; see ``training.sample_spec``.

    Raises RoadloopError for a picture that is damaged, or of another size than its lens.
    """
    facts = raw.facts
    sample: Sample = {
        "drive": facts["drive"],
        "dataset": facts["dataset"],
        "cameras": (),
        "step": np.int64(facts["step"]),
        "timestamp_us": np.int64(facts["timestamp_us"]),
    }
    sample |= {key: a for key, a in raw.arrays.items() if key not in PER_CAMERA}
    if not spec.cameras or not (raw.cameras or spec.virtual):
        return sample
    fixed = _fixed(spec, tuple(raw.cameras), tuple(raw.lenses), raw.arrays["mounts"].tobytes())
    slots = fixed.slots
    sample["cameras"] = fixed.names
    sample |= _calibration(raw, fixed)
    make = allocate or _empty
    width, height = slots[0].view.target.width, slots[0].view.target.height
    for product in spec.products:
        key = "images" if product == "rgb" else product
        shape = (len(slots), height, width, *((3,) if product == "rgb" else ()))
        for moments in ((), (spec.history,)) if spec.history else ((),):
            name = f"history_{key}" if moments else key
            out = make(name, (*moments, *shape), TYPES[product])
            for back in range(1, spec.history + 1) if moments else (0,):
                group = out[back - 1] if moments else out
                for slot, place in zip(slots, group):
                    there = None if slot.source < 0 else (raw.cameras[slot.source], back, product)
                    _put(place, slot.view, raw.pictures.get(there) if there else None)
            sample[name] = np.moveaxis(out, -1, -3) if product == "rgb" else out
    return sample


def lens_arrays(lenses: list[Pinhole]) -> tuple[Array, Array]:
    """(N,) uint8 index into ``LENSES`` and (N, 8) coefficients in the order of roadloop.camera."""
    kinds = np.zeros(len(lenses), np.uint8)
    values = np.zeros((len(lenses), 8))
    for k, lens in enumerate(lenses):
        if isinstance(lens, BrownConrady):
            kinds[k] = LENSES.index("brown-conrady")
        elif isinstance(lens, Fisheye):
            kinds[k] = LENSES.index("fisheye")
        given = lens_coefficients(lens)
        values[k, : len(given)] = given
    return kinds, values


def lens_coefficients(lens: Pinhole) -> tuple[float, ...]:
    """Those that bend light, in the order of their class."""
    return tuple(float(getattr(lens, f.name)) for f in fields(lens) if f.name not in _STRAIGHT)


def no_map(spec: SampleSpec) -> MapPieces:
    """The pieces of a drive without a map."""
    return MapPieces(None, spec.map_points, spec.map_spacing)


def _look(
    recording: Recording,
    names: list[str],
    frames: list[Frame | None],
    back: int,
    spec: SampleSpec,
    pictures: dict[tuple[str, int, str], Stored],
) -> list[Any]:
    """Adds the pictures of one moment; what the cameras gave, None where there is nothing."""
    images = []
    for name, frame in zip(names, frames):
        image = None if frame is None else frame.read()
        images.append(image)
        if frame is None or image is None:
            continue
        where = f"{recording.dataset} drive {recording.name}: {name} at {frame.timestamp_us} us"
        for product in spec.products:
            read = getattr(image, "encoded", None) if product == "rgb" else None
            values = partial(getattr, image, product)
            content = None if read is None else read()
            pictures[name, back, product] = Stored(product, where, content, values)
    return images


def _moment(
    recording: Recording, step: int, spec: SampleSpec, names: list[str], mounts: Array
) -> tuple[list[Frame | None], Array, Array]:
    """Of each camera the newest measurement at a step, whether there is one, and its pose then."""
    found = [newest(recording, name, step, spec.max_age) for name in names]
    frames = [group[0] if group else None for group in found]
    poses = mounts.copy()
    there = np.array([frame is not None for frame in frames], bool)
    if spec.motion and there.any():
        then = np.stack([frame.world_from_ego for frame in frames if frame is not None])
        poses[there] = inverse(recording.world_from_ego[step]) @ then @ mounts[there]
    return frames, there, poses


def _history(
    recording: Recording,
    step: int,
    spec: SampleSpec,
    names: list[str],
    mounts: Array,
    pictures: dict[tuple[str, int, str], Stored],
) -> dict[str, Array]:
    """The arrays of earlier moments; adds their pictures."""
    count = spec.history
    steps, known = steps_at(recording, step, -spec.spacing * np.arange(1, count + 1))
    now_from_past = identity(count)
    valid = np.zeros((count, len(names)), bool)
    poses = np.broadcast_to(mounts, (count, *mounts.shape)).copy()
    ego_from_world = inverse(recording.world_from_ego[step])
    for k in np.flatnonzero(known).tolist():
        past = int(steps[k])
        now_from_past[k] = ego_from_world @ recording.world_from_ego[past]
        frames, valid[k], poses[k] = _moment(recording, past, spec, names, mounts)
        _look(recording, names, frames, k + 1, spec, pictures)
    arrays: dict[str, Array] = {"history_now_from_past": now_from_past, "history_valid": known}
    if spec.cameras:
        arrays |= {"history_image_valid": valid, "history_ego_from_camera": poses}
    return arrays


def _count_pixels(arrays: dict[str, Array], images: list[Any]) -> None:
    """Adds up how many pixels of all the pictures show each box."""
    ids, total = arrays["box_id"], arrays["box_pixels"]
    for image in images:
        seen = None if image is None else image.boxes
        if seen is not None and len(seen.id):
            np.maximum(total, 0, out=total)
            at = np.minimum(np.searchsorted(ids, seen.id), max(len(ids) - 1, 0))
            match = ids[at] == seen.id if len(ids) else np.zeros(len(seen.id), bool)
            np.add.at(total, at[match], np.asarray(seen.pixels)[match].astype(np.int32))


@dataclass(frozen=True)
class _Fixed:
    """What the cameras of a drive have in all its samples."""

    slots: list[Slot]
    names: tuple[str, ...]
    source: Array
    """(N,) index of the recording's camera, -1: none"""
    source_from_target: Array
    """(N, 4, 4)"""
    mounts: Array
    """(N, 4, 4)"""
    same: bool
    """the cameras of the sample are those of the recording, not turned"""
    intrinsics: Array
    lens: Array
    distortion: Array


@lru_cache(maxsize=1024)
def _fixed(
    spec: SampleSpec, cameras: tuple[str, ...], lenses: tuple[Pinhole, ...], mounts: bytes
) -> _Fixed:
    poses = np.frombuffer(mounts).reshape(-1, 4, 4)
    where = f"cameras {', '.join(cameras)}"
    slots = slots_of(spec, list(cameras), list(lenses), poses, where)
    source = np.array([slot.source for slot in slots])
    targets = [slot.view.target for slot in slots]
    kinds, coefficients = lens_arrays(targets)
    return _Fixed(
        slots,
        tuple(slot.name for slot in slots),
        source,
        np.array([slot.source_from_target for slot in slots]),
        np.array([slot.mount for slot in slots]),
        not spec.virtual,
        np.array([lens.matrix for lens in targets]),
        kinds,
        coefficients,
    )


def _calibration(raw: RawSample, fixed: _Fixed) -> dict[str, Array]:
    """The arrays with an axis of cameras, in the order of the slots."""
    found: dict[str, Array] = {
        "intrinsics": fixed.intrinsics.copy(),
        "lens": fixed.lens.copy(),
        "distortion": fixed.distortion.copy(),
    }
    keys = [key for key in PER_CAMERA[1:] if key in raw.arrays]
    if fixed.same:
        return found | {key: raw.arrays[key] for key in keys}
    count, seen = len(fixed.source), fixed.source >= 0
    for key in keys:
        values = np.moveaxis(raw.arrays[key], 1, 0) if key in _HISTORY else raw.arrays[key]
        here = values[fixed.source[seen]]
        made = np.zeros((count, *values.shape[1:]), values.dtype)
        if key.endswith("ego_from_camera"):
            wide = (count, *[1] * (values.ndim - 3), 4, 4)
            made[:] = fixed.mounts.reshape(wide)
            here = here @ fixed.source_from_target[seen].reshape(-1, *wide[1:])
        made[seen] = here
        found[key] = np.moveaxis(made, 0, 1) if key in _HISTORY else made
    return found


def _put(out: Array, view: View, stored: Stored | None) -> None:
    """One picture into its place; black where there is none."""
    if stored is None:
        out[...] = 0
        return
    if view.is_same and stored.kind == "rgb" and stored.content is not None:
        try:
            picture_into(out, stored.where, stored.content)
        except RoadloopError:
            if stored.values is not None:
                stored.values()  # the reader knows the file's name
            raise
        return
    image = stored.array()
    check_size(stored.where, image.shape, (view.source.height, view.source.width))
    if stored.kind == "depth":
        image = view.depth(np.where(np.isfinite(image), image, np.float32(0.0)))
    else:
        image = view(image, exact=stored.kind != "rgb")
    out[...] = image


def _empty(key: str, shape: tuple[int, ...], dtype: Any) -> Array:
    return np.empty(shape, dtype)
