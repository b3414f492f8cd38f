"""A stored sample as the members of a tar file, as WebDataset has them, and back.

::

    000000042.json                dataset, drive, step, timestamp_us; cameras with their lenses
    000000042.safetensors         every array that is no picture, by its name in a sample
    000000042.front.jpg           colours of the camera "front", as JPEG, or PNG where they came so
    000000042.front.depth.png     depth and classes as in a sensor log (docs/logs.md)
    000000042.front.back1.jpg     the picture of one moment before

A tool that knows WebDataset reads all of it; the arrays by ``safetensors.numpy.load(bytes)``.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.errors import RoadloopError
from roadloop.logs.sensor_files import image_bytes
from training.jpeg import JPEG, check_size
from training.sample_spec import LENSES, PICTURES, SampleSpec
from training.sample_views import slots_of
from training.samples import PER_CAMERA, RawSample, Stored, finish

Array = np.ndarray
Members = dict[str, bytes]
"""the files of a sample by what stands behind the first dot of their name"""

SIZE = ("width", "height", "fx", "fy", "cx", "cy")
_MODELS = dict(zip(LENSES, (Pinhole, BrownConrady, Fisheye)))


def members_of(raw: RawSample, spec: SampleSpec) -> Members:
    """The files of a sample, sorted.

    Pictures are resized and warped as the spec says and encoded anew, or copied byte by byte where
    it says nothing. Depth is kept in whole centimetres.

    Raises RoadloopError for a damaged picture.
    """
    raw = baked(raw, spec)
    cameras = [{"name": n, **_lens_facts(lens)} for n, lens in zip(raw.cameras, raw.lenses)]
    facts = {**raw.facts, "cameras": cameras}
    arrays = {key: np.asarray(value, order="C") for key, value in raw.arrays.items()}
    members = {
        "json": (json.dumps(facts, sort_keys=True) + "\n").encode(),
        "safetensors": save(arrays),
    }
    for (camera, back, product), stored in raw.pictures.items():
        content = stored.content
        if content is None:
            end = ".jpg" if product == "rgb" else ".png"
            content = image_bytes(product, stored.array(), end)
        end = "jpg" if content.startswith(JPEG) else "png"
        members[_name(camera, back, product, end)] = content
    return dict(sorted(members.items()))


def raw_of(members: Members, where: str) -> RawSample:
    """The sample of its files; RoadloopError, beginning with ``where``, where one is damaged."""
    try:
        facts = json.loads(members["json"])
        loaded = sorted(load(members["safetensors"]).items())  # it keeps no order
        arrays = {key: np.array(value) for key, value in loaded}
        cameras = facts.pop("cameras")
        names = [str(camera.pop("name")) for camera in cameras]
        lenses = [_lens(tuple(camera.items())) for camera in cameras]
    except (KeyError, ValueError, TypeError, SafetensorError) as error:
        raise RoadloopError(f"{where}: a sample is damaged or of something else: {error}") from None
    pictures = {}
    for name in members:
        if name not in ("json", "safetensors"):
            camera, back, product = _parsed(name)
            stored = Stored(product, f"{where}.{name}", members[name])
            pictures[camera, back, product] = stored
    return RawSample(facts, names, lenses, arrays, pictures)


def baked(raw: RawSample, spec: SampleSpec) -> RawSample:
    """The sample with its pictures in the size and lens of the spec; itself where they are so."""
    if not spec.cameras or not (raw.cameras or spec.virtual):
        return raw
    slots = slots_of(spec, raw.cameras, raw.lenses, raw.arrays["mounts"], raw.where)
    if not spec.virtual and all(slot.view.is_same for slot in slots):
        for (camera, _, product), stored in raw.pictures.items():
            lens = raw.lenses[raw.cameras.index(camera)]
            if product == "rgb" and stored.content is None:
                check_size(stored.where, stored.array().shape, (lens.height, lens.width))
        return raw
    sample = finish(raw, spec)
    arrays = {key: value for key, value in raw.arrays.items() if key not in PER_CAMERA}
    arrays |= {key: sample[key] for key in PER_CAMERA if key in sample}
    arrays["mounts"] = np.array([slot.mount for slot in slots])
    pictures = {}
    for (camera, back, product), stored in raw.pictures.items():
        for k, slot in enumerate(slots):
            if slot.source >= 0 and raw.cameras[slot.source] == camera:
                key = "images" if product == "rgb" else product
                values = sample[f"history_{key}"][back - 1] if back else sample[key]
                content = _encoded(product, values[k])
                pictures[slot.name, back, product] = Stored(product, stored.where, content)
    names, lenses = [slot.name for slot in slots], [slot.view.target for slot in slots]
    return RawSample(raw.facts, names, lenses, arrays, pictures)


def narrowed(raw: RawSample, spec: SampleSpec) -> RawSample:
    """The sample with only what a spec asks for, which is no more than was stored."""
    keep = range(len(raw.cameras))
    if spec.cameras != ("all",):
        keep = [raw.cameras.index(name) for name in spec.cameras]
    off = [key for key, on in _switches(spec) if not on]
    arrays = {}
    for key, value in raw.arrays.items():
        if any(key == word or key.startswith(f"{word}_") for word in off):
            continue
        if key in PER_CAMERA and not keep:
            continue
        count = {"history": spec.history, "past": spec.past, "future": spec.future}
        for word, limit in count.items():
            if key.startswith((f"{word}_", f"ego_{word}")):
                value = value[:limit]
            elif key.startswith(f"agents_{word}"):
                value = value[:, :limit]
        if key in PER_CAMERA:
            value = value[:, keep] if key.startswith("history") else value[keep]
        arrays[key] = value
    return dataclasses.replace(
        raw,
        cameras=[raw.cameras[k] for k in keep],
        lenses=[raw.lenses[k] for k in keep],
        arrays=arrays,
    )


def _switches(spec: SampleSpec) -> list[tuple[str, bool]]:
    """Beginnings of names of arrays, and whether the spec asks for them."""
    return [
        ("boxes", spec.boxes),
        ("has_boxes", spec.boxes),
        ("has_map", spec.map),
        ("box", spec.boxes),
        ("agents", spec.boxes),
        ("agents_past", spec.past > 0),
        ("agents_future", spec.future > 0),
        ("ego_past", spec.past > 0),
        ("ego_future", spec.future > 0),
        ("points", bool(spec.lidars)),
        ("radar", bool(spec.radars)),
        ("lights", spec.lights),
        ("light", spec.lights and spec.map),
        ("map", spec.map),
        ("history", spec.history > 0),
    ]


def _name(camera: str, back: int, product: str, end: str) -> str:
    parts = [camera, *([f"back{back}"] if back else []), *([product] if product != "rgb" else [])]
    return ".".join([*parts, end])


def _parsed(name: str) -> tuple[str, int, str]:
    """Camera, moments back and product of a picture's name."""
    camera, *words = name.split(".")[:-1]
    back = next((int(w[4:]) for w in words if w.startswith("back") and w[4:].isdigit()), 0)
    product = next((w for w in words if w in PICTURES), "rgb")
    return camera, back, product


def _encoded(product: str, values: Array) -> bytes:
    if product == "rgb":
        return image_bytes("rgb", np.ascontiguousarray(np.moveaxis(values, 0, -1)), ".jpg")
    if product == "depth":
        values = np.where(values > 0.0, values, np.float32(np.inf))
    return image_bytes(product, np.ascontiguousarray(values), ".png")


def _lens_facts(lens: Pinhole) -> dict[str, Any]:
    model = next(name for name, made in _MODELS.items() if type(lens) is made)
    bent = {f.name: getattr(lens, f.name) for f in dataclasses.fields(lens) if f.name not in SIZE}
    return {"model": model, **{name: getattr(lens, name) for name in SIZE}, **bent}


@lru_cache(maxsize=4096)
def _lens(facts: tuple[tuple[str, Any], ...]) -> Pinhole:
    values = dict(facts)
    model = values.pop("model")
    return _MODELS[model](**values)
