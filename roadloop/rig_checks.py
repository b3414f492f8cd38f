"""What makes a sensor rig wrong, said in one line: the checks behind ``roadloop.rig``."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from roadloop.config import unknown
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.rig import CameraSensor, LidarSensor, Mount, RadarSensor, SensorRig

PRODUCTS = ("rgb", "depth", "semantic", "instance", "flow", "boxes")
"""what a camera may give; all come out of one pass"""

DETAILS = ("plain", "full")

COEFFICIENTS = {"pinhole": (0,), "brown-conrady": (4, 5, 8), "fisheye": (4,)}
"""lens model -> how many distortion coefficients it may have"""

TURN = {"deg": 360.0, "rad": 2.0 * math.pi}
"""unit of a LiDAR's angles -> a full turn"""

RESERVED = ("tracks", "lights")
"""what a driver asks for by name besides the sensors of its rig"""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*")
_ABOVE_ZERO = (
    *("rate", "width", "height", "fx", "fy", "columns", "max_range"),
    *("fov", "vertical_fov", "max_targets", "drift_time", "antialias"),
)
_WHOLE = ("width", "height", "columns", "max_targets", "antialias")
_SHARES = ("dropout", "ghosts", "vignetting", "dirt")
_ANY_SIGN = ("cx", "cy")


def check_name(noun: str, name: str) -> None:
    """Letters and digits, in words joined by - or _."""
    if not _NAME.fullmatch(name):
        raise RoadloopError(f'{noun} "{name}": expected letters and digits, words joined by - or _')


def check_numbers(noun: str, value: Any) -> None:
    """Every number of a dataclass is finite and has the sign and size its name asks for."""
    for f in dataclasses.fields(value):
        number = getattr(value, f.name)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        if not math.isfinite(number):
            raise RoadloopError(f"{noun}: {f.name} is {number}: expected a finite number")
        if f.name in _ANY_SIGN:
            continue
        if f.name in _ABOVE_ZERO and number <= 0:
            raise RoadloopError(f"{noun}: {f.name} is {number}: expected a number above 0")
        if number < 0:
            raise RoadloopError(f"{noun}: {f.name} is {number}: expected 0 or more")
        if f.name in _WHOLE and number != int(number):
            raise RoadloopError(f"{noun}: {f.name} is {number}: expected a whole number")
        if f.name in _SHARES and number > 1:
            raise RoadloopError(f"{noun}: {f.name} is {number}: expected a share from 0 to 1")


def check_mount(mount: Mount) -> None:
    """Finite, and on or above the ground."""
    for f in dataclasses.fields(mount):
        if not math.isfinite(getattr(mount, f.name)):
            raise RoadloopError(f"{f.name} is {getattr(mount, f.name)}: expected a finite number")
    if mount.z < 0.0:
        raise RoadloopError(f"z is {mount.z}: a sensor cannot sit below the ground (z = 0)")


def check_camera(camera: CameraSensor) -> None:
    """Lens model and coefficients, products, detail."""
    noun = f'camera "{camera.name}"'
    if camera.model not in COEFFICIENTS:
        raise RoadloopError(f"{noun}: {unknown('lens model', camera.model, COEFFICIENTS)}")
    allowed = COEFFICIENTS[camera.model]
    if len(camera.distortion) not in allowed:
        raise RoadloopError(
            f"{noun}: {len(camera.distortion)} distortion coefficients: the lens model "
            f"{camera.model} has {' or '.join(map(str, allowed))}"
        )
    if not all(map(math.isfinite, camera.distortion)):
        raise RoadloopError(f"{noun}: distortion is {camera.distortion}: expected finite numbers")
    if not camera.products:
        raise RoadloopError(f"{noun}: no products: give at least one of {', '.join(PRODUCTS)}")
    for product in camera.products:
        if product not in PRODUCTS:
            raise RoadloopError(f"{noun}: {unknown('product', product, PRODUCTS)}")
    if camera.detail not in DETAILS:
        raise RoadloopError(f"{noun}: {unknown('detail', camera.detail, DETAILS)}")
    if camera.antialias not in range(1, 5):
        raise RoadloopError(f"{noun}: antialias is {camera.antialias}: expected 1, 2, 3 or 4")


def check_lidar(lidar: LidarSensor) -> None:
    """Beams, field of view, ranges."""
    noun = f'LiDAR "{lidar.name}"'
    if lidar.beam_unit not in TURN:
        raise RoadloopError(f"{noun}: {unknown('beam unit', lidar.beam_unit, TURN)}")
    turn, unit = TURN[lidar.beam_unit], lidar.beam_unit
    for beam in lidar.beams:
        if not abs(beam) <= turn / 4.0:
            raise RoadloopError(f"{noun}: a beam at {beam} {unit}: expected {turn / 4.0:g} at most")
    if len(lidar.beam_azimuth) not in (0, len(lidar.beams)):
        raise RoadloopError(
            f"{noun}: {len(lidar.beam_azimuth)} azimuth offsets for {len(lidar.beams)} beams: give "
            "one for each beam, or none"
        )
    for offset in lidar.beam_azimuth:
        if not abs(offset) <= turn / 2.0:
            raise RoadloopError(f"{noun}: a beam azimuth of {offset} {unit}: expected half a turn")
    beams = zip(lidar.beams, lidar.beam_azimuth or (0.0,) * len(lidar.beams))
    beam, times = max(Counter(beams).items(), key=lambda item: item[1], default=((0.0, 0.0), 0))
    if times > 1:
        raise RoadloopError(f"{noun}: {times} beams at {beam[0]} {unit}: each may be given once")
    first, last = lidar.fov
    if not first < last:
        raise RoadloopError(f"{noun}: fov is {first} ... {last} {unit}: expected from less to more")
    if last - first > turn * (1.0 + 1e-6):
        raise RoadloopError(f"{noun}: fov is {first} ... {last} {unit}: more than a full turn")
    _check_ranges(noun, lidar.min_range, lidar.max_range)


def check_radar(radar: RadarSensor) -> None:
    """Field of view, ranges."""
    noun = f'radar "{radar.name}"'
    for name, most in (("fov", 2.0 * math.pi), ("vertical_fov", math.pi)):
        if getattr(radar, name) > most + 1e-6:
            raise RoadloopError(
                f"{noun}: {name} is {getattr(radar, name)} rad: expected {most:.4f} at most"
            )
    _check_ranges(noun, radar.min_range, radar.max_range)


def check_rig(rig: SensorRig, names: Iterable[str]) -> None:
    """No name twice, whatever the kinds: drivers ask for sensors by name."""
    check_name("rig", rig.name)
    for name, times in Counter(names).items():
        if times > 1:
            raise RoadloopError(f'rig "{rig.name}": {times} sensors are called "{name}"')
        if name in RESERVED:
            raise RoadloopError(
                f'rig "{rig.name}": no sensor may be called "{name}", which every world offers'
            )


def _check_ranges(noun: str, nearest: float, farthest: float) -> None:
    if not nearest < farthest:
        raise RoadloopError(
            f"{noun}: min_range is {nearest} m and max_range {farthest} m: expected less to more"
        )
