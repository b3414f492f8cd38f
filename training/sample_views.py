"""What a sample's spec makes of a recording's cameras: the size, lens and direction of each."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.virtual_camera import Slot, View, VirtualCameras, fitted, straightened, warped
from training.sample_spec import SampleSpec

Array = np.ndarray


def slots_of(
    spec: SampleSpec, names: list[str], lenses: list[Pinhole], mounts: Array, where: str
) -> list[Slot]:
    """The cameras of a sample, from those of the recording (``mounts``: (N, 4, 4)).

    Raises RoadloopError for a camera whose calibration cannot be, and, beginning with ``where``,
    for pictures of several sizes.
    """
    if spec.virtual:
        made = _cameras(spec).slots(names, lenses, mounts)
    else:
        made = [
            Slot(name, k, view_of(spec, lens), np.eye(4), mounts[k])
            for k, (name, lens) in enumerate(zip(names, lenses))
        ]
    sizes = {(slot.view.target.width, slot.view.target.height) for slot in made}
    if len(sizes) > 1:
        found = ", ".join(f"{w} x {h}" for w, h in sorted(sizes))
        raise RoadloopError(
            f"{where}: pictures of several sizes ({found}); give size, the one they shall have"
        )
    return made


@lru_cache(maxsize=4096)
def view_of(spec: SampleSpec, lens: Pinhole) -> View:
    """The view of a picture whose camera is not turned."""
    scaled, corner, target = fitted(lens, spec.size, spec.fit, spec.keep)
    if spec.rectify and type(lens) is not Pinhole:
        return warped(lens, straightened(target))
    return View(lens, target, scaled, corner)


@lru_cache(maxsize=16)
def _cameras(spec: SampleSpec) -> VirtualCameras:
    return VirtualCameras(spec.virtual, spec.size, spec.fit, spec.keep)
