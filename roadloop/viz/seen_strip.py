"""What a driver saw as a strip above the frames of a video: pictures with boxes, map from above.

::

    +-----------+-----------+-----------+---------+
    | left      | front     | right     | map and |
    +-----------+--+--------+-----------+ tracks  |
    | narrow       | counts, faults     |         |
    +--------------+--------------------+---------+
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import numpy as np

from roadloop.geometry import inverse
from roadloop.logs.pictures import decoded
from roadloop.logs.side_tables import Table
from roadloop.types import LightState, Rollout
from roadloop.viz.palette import DARK, LAMP, rgb
from roadloop.viz.raster_picture import COLOURS, raster_picture
from roadloop.viz.readings import FAINT, FIELD, INK, PLATE, typeface, write
from roadloop.viz.seen import Seen, Told, Truth, rows_of
from roadloop.viz.seen_marks import (
    PictureBox,
    PictureLamp,
    Role,
    class_colour,
    laid_out,
    picture_boxes,
    picture_lamps,
)

Array = np.ndarray
Colour = tuple[int, int, int]

MISSED = rgb("#ff5a5a")
WRONG = rgb("#ffd166")
HIDDEN = rgb("#98a3ad")
HIGH = 0.235
"""height of the strip, as a share of its width"""
NARROW = 0.56
"""height of the narrow cameras, as a share of the strip's"""
THICK = 25.0
"""px from which on the lines of a box are thick"""
SEAM = 2
"""px between pictures"""
_LAMPS = {
    "off": LAMP[LightState.OFF],
    "red": LAMP[LightState.RED],
    "yellow": LAMP[LightState.YELLOW],
    "green": LAMP[LightState.GREEN],
}
_STYLE: dict[Role, tuple[Colour | None, int]] = {
    Role.DETECTED: (None, 0),
    Role.FOUND: (INK, 5),
    Role.MISSED: (MISSED, 5),
    Role.HIDDEN: (HIDDEN, 3),
}
"""colour, None: of the class, and px of a dash, 0: solid"""


class SeenStrip:
    """Pictures of one width for every step of a drive."""

    def __init__(self, seen: Seen, rollout: Rollout, width: int) -> None:
        self.size = (width, round(width * HIGH / 2) * 2)
        """px, width and height, both even"""
        self._seen = seen
        self._row = seen.of_step(rollout)
        self._time = rollout.time
        pictures = seen.log.tables["pictures"]
        shown = pictures["moment"]
        shown = shown if len(shown) else seen.log.tables["rasters"]["moment"]
        self._frames: list[int] = np.unique(shown).tolist()
        self._kept: tuple[tuple[int, int], Array] | None = None
        self._places = self._laid_out()

    def picture(self, step: int) -> Array:
        """(height, width, 3) uint8 RGB at a step of the drive."""
        moment = int(self._row[step])
        at = bisect.bisect_right(self._frames, moment) - 1
        frame = self._frames[at] if at >= 0 else -1
        key = (frame, moment)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._drawn(frame, moment, float(self._time[step]))
        return self._kept[1]

    def _laid_out(self) -> list[tuple[int, int, int, int, int]]:
        """Camera, left, top, width, height (px) of each picture."""
        width, height = self.size
        cameras = self._seen.log.cameras
        rows, narrow = laid_out(cameras)
        aspect = [c.lens.width / c.lens.height for c in cameras]
        wide, top = width - height - SEAM, 0
        share = (1.0 - NARROW if narrow else 0.88) / max(len(rows), 1)
        places = []
        for row in rows:
            high = min(height * share, (wide - SEAM * len(row)) / sum(aspect[k] for k in row))
            left = 0.0
            for k in row:
                places.append((k, round(left), top, round(high * aspect[k]), round(high)))
                left += round(high * aspect[k]) + SEAM
            top += round(high) + SEAM
        left = 0
        for k in narrow:
            high = min(height - top, (0.6 * wide / len(narrow)) / aspect[k])
            places.append((k, left, top, round(high * aspect[k]), round(high)))
            left += round(high * aspect[k]) + SEAM
        self._text = (left + 14, top + 8)
        return places

    def _drawn(self, frame: int, moment: int, time: float) -> Array:
        width, height = self.size
        strip = np.full((height, width, 3), FIELD, np.uint8)
        log = self._seen.log
        if frame >= 0:
            table = log.tables["pictures"]
            rows = rows_of(table, frame)
            jpegs = dict(zip(table["camera"][rows].tolist(), table["jpeg"][rows]))
            for k, left, top, wide, high in self._places:
                if k in jpegs:
                    place = strip[top : top + high, left : left + wide]
                    self._draw_camera(place, frame, k, jpegs[k])
            strip[:, width - height :] = self._from_above(frame, height)
        self._write(strip, moment, time)
        return strip

    def _draw_camera(self, place: Array, moment: int, camera: int, jpeg: bytes) -> None:
        import cv2

        one = self._seen.log.cameras[camera]
        size = (place.shape[1], place.shape[0])
        image = decoded(f"picture of {one.name}", jpeg)
        drawn = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
        scale = size[0] / one.lens.width
        boxes = picture_boxes(self._seen, moment, camera)
        for box in boxes:
            colour, dash = _STYLE[box.role]
            colour = colour or rgb(class_colour(self._seen.log.classes[box.label]))
            lines = (box.lines + 0.5) * scale - 0.5
            thick = dash == 0 and float(np.ptp(lines[..., 1])) > THICK
            _draw_lines(drawn, lines, colour, dash, thick)
        lamps = picture_lamps(self._seen, moment, camera)
        for lamp in lamps:
            left, top, wide, high = (round(v * scale) for v in lamp.box)
            corner = left + max(wide, 4), top + max(high, 4)
            cv2.rectangle(drawn, (left, top), corner, rgb(_LAMPS[lamp.state]), 2)
        self._name(drawn, boxes, lamps, scale)
        place[:] = drawn
        write(place, one.name, 6, size[1] - 16, 11, INK)

    def _name(
        self, drawn: Array, boxes: Iterable[PictureBox], lamps: Iterable[PictureLamp], scale: float
    ) -> None:
        """Class and score at detections, the surest first; none on top of another."""
        names = [(1.0 + p.score, p.box[0], p.box[1], p.state, _LAMPS[p.state]) for p in lamps]
        for box in boxes:
            if box.role == Role.DETECTED:
                left, top = box.lines.min((0, 1)).tolist()
                name = self._seen.log.classes[box.label]
                names.append((box.score, left, top, name, class_colour(name)))
        taken: list[tuple[int, int, int]] = []
        for score, left, top, name, colour in sorted(names, reverse=True):
            text = f"{name} {score % 1.0 if score > 1.0 else score:.2f}"
            wide = round(typeface(10).getlength(text)) + 7
            x = int(np.clip(left * scale, 0, max(drawn.shape[1] - wide, 0)))
            y = int(np.clip(top * scale - 14, 0, drawn.shape[0] - 13))
            if any(x < u + w and u < x + wide and abs(y - v) < 13 for u, v, w in taken):
                continue
            plate = drawn[y : y + 13, x : x + wide]
            if plate.shape[1] < wide:
                continue
            taken.append((x, y, wide))
            plate[:] = (0.3 * plate + 0.7 * np.array(PLATE)).astype(np.uint8)
            plate[:, :2] = rgb(colour)
            write(plate, text, 5, 0, 10, INK)

    def _from_above(self, moment: int, side: int) -> Array:
        """(side, side, 3) the raster map, moved to where the ego is now, with tracks and truth."""
        import cv2

        log, grid = self._seen.log, self._seen.log.grid
        poses = log.tables["moments"]["world_from_ego"]
        panel = np.full((side, side, 3), rgb(DARK["ground"]), np.uint8)
        scale = side / max(grid.nx, grid.ny) / grid.cell
        # pixels of this panel from metres of the ego frame: ahead is up, left is left
        px = np.array(
            [[0.0, -scale, grid.y_max * scale], [-scale, 0.0, grid.x_max * scale], [0, 0, 1]]
        )
        row = int(np.searchsorted(log.tables["rasters"]["moment"], moment, side="right")) - 1
        if row >= 0:
            layers = {
                name: values.astype(np.float32) / 255.0
                for name, values in zip(log.layers, log.raster(row))
                if name in COLOURS
            }
            fine = raster_picture(layers, scale=4)
            cell = grid.cell / 4
            cells = np.array(
                [
                    [0, -1 / cell, grid.y_max / cell - 0.5],
                    [-1 / cell, 0, grid.x_max / cell - 0.5],
                    [0, 0, 1],
                ]
            )
            before = int(log.tables["rasters"]["moment"][row])
            then_from_now = inverse(poses[before]) @ poses[moment]
            move = np.eye(3)
            move[:2, :2], move[:2, 2] = then_from_now[:2, :2], then_from_now[:2, 3]
            warp = cells @ move @ np.linalg.inv(px)
            panel = np.asarray(
                cv2.warpAffine(
                    fine,
                    warp[:2],
                    (side, side),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderValue=rgb(DARK["ground"]),
                ),
                np.uint8,
            )
        view = px @ _flat(inverse(poses[moment]))
        for table, states, style in (
            (self._seen.truth, self._seen.truth["state"], _truth_style),
            (log.tables["tracks"], self._seen.told, _track_style),
        ):
            rows = rows_of(table, moment)
            for k in range(rows.start, rows.stop):
                colour, dash = style(int(states[k]), log.classes[int(table["label"][k])])
                _draw_lines(panel, _outline(table, k, view), colour, dash, dash == 0)
        ego = np.array([[3.7, 0.95], [3.7, -0.95], [-1.0, -0.95], [-1.0, 0.95]])
        corners = ego @ px[:2, :2].T + px[:2, 2]
        cv2.fillPoly(panel, [np.rint(corners).astype(np.int32)], rgb(DARK["ego"]), cv2.LINE_AA)
        return panel

    def _write(self, strip: Array, moment: int, time: float) -> None:
        seen, (x, y) = self._seen, self._text
        edge = self.size[0] - self.size[1]
        if x > edge - 120:
            return
        write(strip[:, :edge], f"seen by {seen.log.detector}", x, y, 13, INK)
        if moment < 0:
            return
        counts = (
            f"{seen.visible[moment]} visible · {seen.found[moment]} found · "
            f"{seen.missed[moment]} missed · {seen.false_alarms[moment]} false"
        )
        wrong = seen.missed[moment] + seen.false_alarms[moment] > 0
        write(strip[:, :edge], counts, x, y + 24, 15, INK if not wrong else WRONG)
        legend = "solid: found by the network · dashed: really there, red: missed, grey: hidden"
        write(strip[:, :edge], legend, x, y + 48, 11, FAINT)
        faults = [lines for since, lines in seen.log.faults if since <= time + 1e-6]
        for k, line in enumerate(faults[-1][:3] if faults else ()):
            write(strip[:, :edge], line, x, y + 72 + 18 * k, 13, MISSED)


def _truth_style(state: int, name: str) -> tuple[Colour, int]:
    del name
    if state == Truth.MISSED:
        return MISSED, 4
    return (INK, 4) if state == Truth.FOUND else (HIDDEN, 2)


def _track_style(state: int, name: str) -> tuple[Colour, int]:
    return (WRONG, 0) if state == Told.FALSE else (rgb(class_colour(name)), 0)


def _flat(pose: Array) -> Array:
    """(3, 3) of a pose seen from above."""
    flat = np.eye(3)
    flat[:2, :2], flat[:2, 2] = pose[:2, :2], pose[:2, 3]
    return flat


def _outline(table: Table, k: int, view: Array) -> Array:
    """(4, 2, 2) px, the sides of a box from above."""
    length, width = float(table["length"][k]), float(table["width"][k])
    c, s = np.cos(float(table["heading"][k])), np.sin(float(table["heading"][k]))
    local = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * (length / 2, width / 2)
    world = local @ np.array([[c, s], [-s, c]]) + (float(table["x"][k]), float(table["y"][k]))
    corners = world @ view[:2, :2].T + view[:2, 2]
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def _draw_lines(
    picture: Array, lines: Array, colour: Colour, dash: int, thick: bool, shift: int = 4
) -> None:
    """Straight pieces (n, 2, 2) px; ``dash`` px long ones with gaps of that length, 0: solid."""
    import cv2

    if dash:
        lines = _dashes(lines, float(dash), picture.shape)
    if not len(lines):
        return
    whole = list(np.rint(np.clip(lines, -1e4, 1e4) * (1 << shift)).astype(np.int32))
    cv2.polylines(picture, whole, False, colour, 2 if thick else 1, cv2.LINE_AA, shift)


def _dashes(lines: Array, dash: float, shape: tuple[int, ...]) -> Array:
    """Every other piece of ``dash`` px of lines; those wholly outside are left out."""
    low, high = lines.min(1), lines.max(1)
    inside = (high >= 0.0).all(1) & (low < (shape[1], shape[0])).all(1)
    found = [np.zeros((0, 2, 2))]
    for a, b in lines[inside]:
        length = float(np.hypot(*(b - a)))
        at = np.arange(0.0, min(length, 4000.0), 2.0 * dash)
        if not len(at):
            continue
        along = (b - a) / max(length, 1e-9)
        starts = a + at[:, None] * along
        ends = a + np.minimum(at + dash, length)[:, None] * along
        found.append(np.stack([starts, ends], axis=1))
    return np.concatenate(found)
