"""A contact sheet: one reading of every sensor of a rig on one picture.

Cameras lie as they look: the front row from left to right, below it those that look back. Beside
and below them are the LiDARs from above and as pictures of distance, the radars, and what IMU, GNSS
and odometry say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.readings import CameraImage, LidarSweep
from roadloop.rig import CameraSensor, LidarSensor, Mount, RadarSensor, SensorRig
from roadloop.semantics import COLOURS, SemanticClass
from roadloop.types import Observation
from roadloop.viz.camera_wall import as_they_look
from roadloop.viz.from_above import Plan, lidar_above, lidar_ranges, plan_for, radar_above
from roadloop.viz.palette import DARK, rgb
from roadloop.viz.readings import FAINT, FIELD, INK, camera_picture, write

Array = np.ndarray

WIDTH = 1920
"""px, of a sheet at most"""
TALLEST = 500
"""px, of a row at most"""
ENLARGED = 2.0
"""times a small camera picture is enlarged at most"""
GAP = 14
SHORTEST = 240
"""px, of what is seen from above at least"""
LEAST = 1100
"""px, what a sheet is wide at least"""
CAPTION = 40
"""px above every tile, for its two lines of text"""
LINE, COLUMN = 24, 340
"""px, of text: from line to line, and width of a column at least"""
QUALITY = 88
"""of JPEG"""


@dataclass(frozen=True)
class Tile:
    """A picture of the sheet that can be drawn in any size."""

    title: str
    detail: str
    aspect: float
    """width to height"""
    draw: Callable[[int, int], Array]
    """(width, height) -> (height, width, 3)"""


Shelf: TypeAlias = tuple[list[Tile], int]
"""tiles in a row, and their height in px"""


def contact_sheet(
    rig: SensorRig,
    observation: Observation,
    *,
    products: Sequence[str] = ("rgb",),
    note: str = "",
    width: int = WIDTH,
) -> Array:
    """(height, width, 3) uint8 RGB picture of one reading of every sensor of the rig.

    Args:
        observation: the readings; a sensor without one is left out. Its tracks, where it has any,
            are outlined in what is seen from above.
        products: of the cameras, in this order.
        note: beside the rig's name, e.g. what was driven and when.
        width: px, at most.

    Raises:
        RoadloopError: an unknown product, or one that an image does not have.
    """
    rows, height = _camera_rows(rig, observation, products, width)
    beside = list(_seen_from_above(rig, observation))
    again = list(_intensities(rig, observation))
    strips = list(_range_strips(rig, observation))
    columns = _said(rig, observation)
    if not (rows or beside or strips or columns):
        raise RoadloopError(f"no sensor of the rig {rig.name} has a reading: nothing to draw")
    tall = height or TALLEST
    wide = max((_width(row, tall) for row in rows), default=0)
    if wide < LEAST:  # room for the others beside one camera
        others = _width(beside, tall) + (COLUMN + GAP if columns else 0)
        wide = max(min(LEAST, width - 2 * GAP), min(wide + GAP + others, width - 2 * GAP))
    shelves = [(row, tall) for row in rows]
    for row, _ in shelves:  # what fits beside a short row of cameras goes there
        while tall >= SHORTEST and beside and _width([*row, beside[0]], tall) <= wide:
            row.append(beside.pop(0))
    while beside:
        row = [beside.pop(0)]
        while beside and _width([*row, beside[0]], TALLEST) <= wide:
            row.append(beside.pop(0))
        shelves.append((row, TALLEST))
    for row, height in shelves:  # and what is left over shows the points once more
        while (
            height >= SHORTEST and again and _width([*row, again[0]], height) + GAP + COLUMN <= wide
        ):
            row.append(again.pop(0))
    if columns:
        _shelve_text(shelves, columns, wide)
    shelves += [([strip], round(wide / strip.aspect)) for strip in strips]
    legend = _classes(observation) if "semantic" in products else []
    return _paste(shelves, wide, f"{rig.name}: {rig.description}", note, legend)


def write_jpeg(path: str | Path, picture: Array, quality: int = QUALITY) -> Path:
    """Write an RGB picture ``(height, width, 3)`` as JPEG, or as PNG where the name ends in .png.

    Raises:
        RoadloopError: a file that cannot be written, or another ending.
    """
    from PIL import Image

    path = Path(path)
    kind = check_picture_name(path)
    options = {"quality": quality, "optimize": True} if kind == "JPEG" else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden:
            Image.fromarray(picture).save(hidden, format=kind, **options)
    except OSError as error:
        raise RoadloopError(f"cannot write the picture to {path}: {error.strerror}") from error
    return path


def check_picture_name(path: Path) -> str:
    """The kind of picture that the path's ending asks for, as Pillow names it.

    Raises:
        RoadloopError: another ending than .jpg, .jpeg and .png.
    """
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}.get(path.suffix.lower())
    if kind is None:
        raise RoadloopError(f"{path}: pictures are written as .jpg or .png")
    return kind


# --- tiles --------------------------------------------------------------------------------------


def _camera_rows(
    rig: SensorRig, observation: Observation, products: Sequence[str], width: int
) -> tuple[list[list[Tile]], int]:
    """Rows of tiles and their height, 0 without cameras."""
    looks = [[c for c in row if c.name in observation.cameras] for row in as_they_look(rig.cameras)]
    looks = [row for row in looks if row]
    if not looks:
        return [], 0
    rows = [
        [_camera_tile(c, observation.cameras[c.name], product, products) for c in row]
        for product in products
        for row in looks
    ]
    if len(looks) == len(looks[0]) == 1:  # one camera: its products side by side
        rows = [[row[0] for row in rows[k : k + 2]] for k in range(0, len(rows), 2)]
    most = max(max(c.height for row in looks for c in row) * ENLARGED, 0.66 * SHORTEST)
    fits = min((width - (len(r) + 1) * GAP) / sum(t.aspect for t in r) for r in rows)
    return rows, int(min(most, fits, TALLEST))


def _camera_tile(
    camera: CameraSensor, image: CameraImage, product: str, products: Sequence[str]
) -> Tile:
    title = camera.name if tuple(products) == ("rgb",) else f"{camera.name} · {product}"
    lens = f"{2.0 * np.degrees(np.arctan(0.5 * camera.width / camera.fx)):.0f}°"
    lens = lens if camera.model == "pinhole" else camera.model
    return Tile(
        title,
        f"{camera.width} x {camera.height} · {lens} · {camera.rate:g} Hz · {_place(camera.mount)}",
        camera.width / camera.height,
        partial(camera_picture, image, product),
    )


def _place(mount: Mount) -> str:
    text = f"x {mount.x:.2f}  y {mount.y:.2f}  z {mount.z:.2f} m"
    turns = {"yaw": mount.yaw, "pitch": mount.pitch, "roll": mount.roll}
    degrees = {name: round(float(np.degrees(turn))) for name, turn in turns.items()}
    return text + "".join(f"  {name} {turn}°" for name, turn in degrees.items() if turn)


def _sweeps(
    rig: SensorRig, observation: Observation
) -> Iterable[tuple[LidarSensor, LidarSweep, Plan]]:
    for lidar in rig.lidars:
        if lidar.name in observation.lidars:
            yield lidar, observation.lidars[lidar.name], plan_for([lidar])


def _seen_from_above(rig: SensorRig, observation: Observation) -> Iterable[Tile]:
    for lidar, sweep, plan in _sweeps(rig, observation):
        yield Tile(
            lidar.name,
            f"{_beams(lidar)} · {len(sweep.points)} points",
            plan.aspect,
            partial(lidar_above, sweep, plan, observation),
        )
    radars = {r.name: r for r in rig.radars if r.name in observation.radars}
    if radars:
        plan = plan_for(radars.values())
        yield Tile(
            next(iter(radars)) if len(radars) == 1 else f"{len(radars)} radars",
            _radar_text(list(radars.values()), observation),
            plan.aspect,
            partial(radar_above, observation.radars, radars, plan, observation),
        )


def _beams(lidar: LidarSensor) -> str:
    return f"{len(lidar.beams)} beams x {lidar.columns} · {lidar.rate:g} Hz"


def _radar_text(radars: list[RadarSensor], observation: Observation) -> str:
    targets = sum(len(observation.radars[r.name].x) for r in radars)
    place = f" · {_place(radars[0].mount)}" if len(radars) == 1 else ""
    return f"{radars[0].rate:g} Hz · {targets} targets{place}"


def _intensities(rig: SensorRig, observation: Observation) -> Iterable[Tile]:
    for lidar, sweep, plan in _sweeps(rig, observation):
        draw = partial(lidar_above, sweep, plan, observation, intensity=True)
        yield Tile(f"{lidar.name} · intensity", "the same points", plan.aspect, draw)


def _range_strips(rig: SensorRig, observation: Observation) -> Iterable[Tile]:
    for lidar, sweep, _ in _sweeps(rig, observation):
        if sweep.ring is not None:
            yield Tile(
                f"{lidar.name} · distance",
                f"{_beams(lidar)} · {_place(lidar.mount)} · left is left",
                max(8.0, lidar.columns / len(lidar.beams) / 3.0),
                partial(lidar_ranges, sweep, lidar),
            )


Lines = list[tuple[str, str]]  # of a sensor without a picture: name and value, the head first


def _said(rig: SensorRig, observation: Observation) -> list[Lines]:
    """What IMUs, GNSS receivers and odometry say, one column each."""
    columns: list[Lines] = []
    for imu in rig.imus:
        columns.append([(f"{imu.name} · {imu.rate:g} Hz", _place(imu.mount))])
        last = observation.imus.get(imu.name)
        if last is not None and len(last.timestamp_us):
            columns[-1] += [
                ("acceleration", f"{_triple(last.acceleration[-1], 2)} m/s2"),
                ("turn rate", f"{_triple(last.angular_velocity[-1], 3)} rad/s"),
            ]
    for gnss in rig.gnss:
        columns.append([(f"{gnss.name} · {gnss.rate:g} Hz", _place(gnss.mount))])
        fix = observation.gnss.get(gnss.name)
        if fix is None:
            columns[-1] += [("position", "no fix")]
            continue
        columns[-1] += [("position", f"{_triple((fix.x, fix.y, fix.z), 2)} m")]
        if np.isfinite(fix.latitude):
            columns[-1] += [("lat, lon", f"{fix.latitude:.6f}°  {fix.longitude:.6f}°")]
        columns[-1] += [("speed, course", f"{fix.speed:.2f} m/s  {np.degrees(fix.course):.1f}°")]
    for wheels in rig.odometry:
        columns.append([(f"{wheels.name} · {wheels.rate:g} Hz", "")])
        sample = observation.odometry.get(wheels.name)
        if sample is not None:
            columns[-1] += [
                ("speed", f"{sample.speed:.2f} m/s"),
                ("steering", f"{np.degrees(sample.steering):.1f}°"),
                ("turn rate", f"{sample.yaw_rate:.3f} rad/s"),
            ]
    return columns


def _triple(values: Iterable[float], digits: int) -> str:
    return "  ".join(f"{v + 0.0:.{digits}f}" for v in values)


def _shelve_text(shelves: list[Shelf], columns: list[Lines], wide: int) -> None:
    """The columns below one another beside the last row where they fit, else on a row of theirs."""
    beneath = sum(len(lines) * LINE + LINE for lines in columns)
    for row, height in shelves:
        free = wide - _width(row, height) - GAP
        if free >= COLUMN and height >= beneath:
            row.append(_text_tile(columns, free / height))
            return
    while columns:
        fit = max(wide // COLUMN, 1)
        row, columns = columns[:fit], columns[fit:]
        height = max(len(lines) for lines in row) * LINE + LINE
        shelves.append(([_text_tile(row, wide / height)], height))


def _text_tile(columns: list[Lines], aspect: float) -> Tile:
    def draw(wide: int, high: int) -> Array:
        picture = np.full((high, wide, 3), FIELD, np.uint8)
        side_by_side = wide >= COLUMN * len(columns)
        one = wide // len(columns) if side_by_side else wide
        x, y = 0, LINE // 2
        for lines in columns:
            for k, (name, value) in enumerate(lines):
                at = y + k * LINE
                write(picture, name, x + 14, at, 15 if k == 0 else 14, INK if k == 0 else FAINT)
                ink = FAINT if k == 0 else INK
                write(picture, value, x + one - 14, at, 14, ink, "ra")
            if side_by_side:
                x += one
            else:
                y += (len(lines) + 1) * LINE
        return picture

    return Tile("motion", "the newest sample of each", aspect, draw)


# --- the sheet ----------------------------------------------------------------------------------


def _width(tiles: Sequence[Tile], height: int) -> int:
    return sum(round(tile.aspect * height) for tile in tiles) + GAP * (len(tiles) - 1)


def _classes(observation: Observation) -> list[int]:
    """Semantic classes on the pictures."""
    seen: set[int] = set()
    for image in observation.cameras.values():
        if image.semantic is not None:
            seen |= set(np.unique(image.semantic).tolist())
    return sorted(seen - {int(SemanticClass.NONE)})


def _paste(shelves: list[Shelf], width: int, title: str, note: str, legend: list[int]) -> Array:
    head, foot = 62, 34 * (-(-len(legend) * 150 // max(width, 1)))
    full = head + sum(height + CAPTION + GAP for _, height in shelves) + foot
    sheet = np.full((full, width + 2 * GAP, 3), rgb(DARK["ground"]), np.uint8)
    write(sheet, title, GAP, 10, 22, INK)
    write(sheet, note, GAP, 38, 15, FAINT)
    top = head
    for tiles, height in shelves:
        left = GAP
        for tile in tiles:
            wide = round(tile.aspect * height)
            room = sheet[top : top + CAPTION, left : left + wide]
            write(room, tile.title, 0, 2, 16, INK)
            write(room, tile.detail, 0, 21, 13, FAINT)
            under = top + CAPTION
            sheet[under : under + height, left : left + wide] = tile.draw(wide, height)
            left += wide + GAP
        top += CAPTION + height + GAP
    per_row = max(width // 150, 1)
    for k, label in enumerate(legend):
        y, x = top + 34 * (k // per_row), GAP + 150 * (k % per_row)
        sheet[y : y + 16, x : x + 16] = COLOURS[label]
        text = SemanticClass(label).name.lower().replace("_", " ")
        write(sheet, text, x + 22, y + 8, 14, FAINT, "lm")
    return sheet
