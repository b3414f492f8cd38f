"""The detector tuned on real pictures, and what it then finds in the very pictures it learnt from.

    python benchmarks/real_pictures.py DATA/kitti/object DATA/nuscenes DATA/camvid/val \\
        --init runs/detector_compact --out runs/real --set samples=1200

Runs `roadloop train detector --config detector_real` on the folders, judges the detector on every
moment of them, each by itself, before and after, and writes sheet.jpg: real pictures with the boxes
that are there (white) and those that were found (by class), the virtual cameras, the classes of
their pixels as found, and the bird's-eye view. A few dozen pictures prove that data, geometry,
targets and losses fit together. They say nothing of pictures that were not learnt from.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception.detector_config import STRIDE, DetectorConfig, ObjectClass, RasterLayer
from perception.frame import NOT_JUDGED, Frame
from perception.objects import Objects, decode_objects
from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from perception.drive_scores import DriveScores
    from perception.network import DetectorNetwork

Array = np.ndarray

SHOWN = 0.3
"""least score of a box that is drawn"""
ROW = 288
"""px, height of a row of the sheet: three virtual pictures"""
REAL = 560
"""px, width of the real picture in it at most"""
COLUMNS = ((REAL, "the real camera ahead: there (white), found"), (256, "virtual cameras"),
           (256, "classes found"), (256, "from above: found"))  # fmt: skip
"""of the sheet: px, and what they show"""
TRUE = (255, 255, 255)
FOUND = {
    ObjectClass.VEHICLE: (92, 200, 242),
    ObjectClass.CYCLIST: (79, 224, 168),
    ObjectClass.PEDESTRIAN: (255, 138, 61),
    ObjectClass.OBSTACLE: (255, 209, 102),
}
NEAR = 0.2
"""m in front of a camera at which lines are cut"""
EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1]
TERMS = ("total", "heat", "box", "heading", "depth", "semantic")


@dataclass(frozen=True)
class Picture:
    """A real camera's picture, and where the camera was."""

    rgb: Array
    lens: Pinhole
    ego_from_camera: Array


@dataclass(frozen=True)
class Real:
    """One moment of a real drive."""

    where: str
    """data set, drive and step"""
    dataset: str
    frame: Frame
    boxes: Array
    """(M, 9)"""
    object_class: Array
    visible: Array
    labelled: bool
    single: bool
    """nobody knows how things move"""
    front: Picture | None
    """what the slot ahead is filled from"""


def moments(folders: Sequence[Path], config: DetectorConfig) -> Iterator[Real]:
    """Every moment of the folders' drives, as training has them."""
    from roadloop.datasets.formats import list_drives, open_recording
    from training.clips import is_single
    from training.detector_frames import DetectorFrames, detector_spec
    from training.sample_views import slots_of
    from training.samples import finish
    from training.sources import LogSource

    frames = DetectorFrames(config)
    for folder in folders:
        found, names = list_drives(folder)
        spec = detector_spec(config, open_recording(folder, names[0], found).rig)
        source = LogSource([folder], spec, found)
        for index in range(len(source)):
            raw = source.raw(index)
            sample = finish(raw, spec)
            single = is_single(source.drives[source.where(index)[0]])
            frame = frames(sample, velocity_known=not single)
            frame |= {"motion": np.zeros(3, np.float32), "motion_valid": np.bool_(False)}
            there = frames.objects(sample)
            mounts = raw.arrays["mounts"]
            ahead = slots_of(spec, raw.cameras, raw.lenses, mounts, raw.where)[0].source
            front = None
            if ahead >= 0:
                stored = raw.pictures[raw.cameras[ahead], 0, "rgb"]
                pose = raw.arrays["ego_from_camera"][ahead]
                front = Picture(stored.array(), raw.lenses[ahead], pose)
            labelled = bool(sample["has_boxes"])
            yield Real(raw.where, sample["dataset"], frame, there.boxes, there.object_class,
                       there.visible, labelled, single, front)  # fmt: skip


class Judge:
    """Counts what a network says of moments, each by itself, by data set."""

    def __init__(self, network: DetectorNetwork) -> None:
        self.network = network.eval()
        self.config = network.config
        self.drives: dict[str, list[DriveScores]] = {}
        self.labels: dict[str, Array] = {}

    def outputs(self, frame: Frame) -> dict[str, Array]:
        """The network's, with depth and classes."""
        import torch

        from perception.frame import INPUTS

        given = {k: torch.from_numpy(np.asarray(frame[k]))[None] for k in INPUTS if k in frame}
        with torch.inference_mode():
            said = self.network(given, auxiliary=True)
        return {key: value[0].float().numpy() for key, value in said.items()}

    def add(self, real: Real) -> tuple[dict[str, Array], Objects]:
        """Judge a moment; what the network said of it, and the objects in that."""
        from perception.object_tables import MomentTruth
        from training.evaluate_detector import Moment, judge_drive

        outputs = self.outputs(real.frame)
        counts = self.labels.setdefault(real.dataset, np.zeros(4))
        counts += [*_depth_right(outputs, real.frame), *_classes_right(outputs, real.frame)]
        if real.labelled:
            boxes = real.boxes.astype(np.float64)
            if real.single:
                boxes[:, 7:] = np.nan
            truth = MomentTruth(boxes, real.object_class, real.visible)
            moment = Moment(real.frame, truth, np.eye(4), 0.0)
            # by its own drive: no memory is carried on
            drive = judge_drive(lambda _: outputs, self.config, [moment], real.where, {})
            self.drives.setdefault(real.dataset, []).append(drive)
        grid = self.config.grid
        found = decode_objects(
            outputs["heat"], outputs["box"], outputs["box_log_var"], grid, threshold=SHOWN
        )
        return outputs, found

    def result(self) -> dict[str, dict[str, float]]:
        """By data set, and for all: AP at 2 m and objects by class, and shares of right labels."""
        from perception.detector_report import make_report

        table: dict[str, dict[str, float]] = {}
        every = [drive for drives in self.drives.values() for drive in drives]
        for name in [*self.labels, "all"]:
            drives = every if name == "all" else self.drives.get(name, [])
            right = np.sum(list(self.labels.values()), 0) if name == "all" else self.labels[name]
            row: dict[str, float] = {"moments": float(len(drives))}
            if drives:
                head = make_report(drives, self.config.grid, resamples=0).headline
                for k in ObjectClass:
                    key = k.name.lower()
                    row[key] = float(sum(
                        ((d.objects.truth.label == k) & d.objects.judged).sum() for d in drives
                    ))  # fmt: skip
                    row[f"{key}_ap"] = head[f"{key}_ap"] if row[key] else math.nan
                row["vehicle_iou"] = head["vehicle_iou"]
            for key, (good, count) in {"depth": right[:2], "semantic": right[2:]}.items():
                row[key] = good / count if count else math.nan
            table[name] = row
        return table


def _depth_right(outputs: dict[str, Array], frame: Frame) -> tuple[float, float]:
    """Cells whose depth bin is off by one at most, and all that are judged."""
    truth = frame["depth"].astype(int)
    on = truth != NOT_JUDGED
    near = np.abs(outputs["depth"].argmax(1) - truth) <= 1
    return float((near & on).sum()), float(on.sum())


def _classes_right(outputs: dict[str, Array], frame: Frame) -> tuple[float, float]:
    """Cells whose class is right, and all that are judged."""
    truth = frame["semantic"]
    on = truth != NOT_JUDGED
    return float(((outputs["semantic"].argmax(1) == truth) & on).sum()), float(on.sum())


# --- the sheet ------------------------------------------------------------------------------------


def row_picture(real: Real, outputs: dict[str, Array], found: Objects, grid: Any) -> Array:
    """A row of the sheet, (ROW, width, 3) uint8."""
    import cv2

    from roadloop.semantics import COLOURS, SemanticClass
    from roadloop.viz.readings import write

    wide = np.zeros((ROW, REAL, 3), np.uint8)
    judged = real.visible & _on(real.boxes, grid)
    if real.front is not None:
        scale = min(REAL / real.front.rgb.shape[1], ROW / real.front.rgb.shape[0])
        size = (round(real.front.rgb.shape[1] * scale), round(real.front.rgb.shape[0] * scale))
        shown = cv2.resize(real.front.rgb, size, interpolation=cv2.INTER_AREA)
        camera_from_ego = np.linalg.inv(real.front.ego_from_camera)
        # straight lines: what a lens bends is a pixel or two at this size
        pixels = real.front.lens.scaled(*size).matrix @ camera_from_ego[:3]
        draw_boxes(shown, pixels, real, found, judged)
        wide[: size[1], : size[0]] = shown
    virtual = []
    for n in (1, 0, 2):
        image = np.ascontiguousarray(np.moveaxis(real.frame["images"][n], 0, -1))
        if real.frame["camera_valid"][n]:
            draw_boxes(image, real.frame["pixel_from_ego"][n], real, found, judged)
        virtual.append(image)
    height, width = virtual[0].shape[:2]
    classes = []
    for n in (1, 0, 2):
        colours = COLOURS[outputs["semantic"][n].argmax(0)]
        lit = real.frame["images"][n].any(0).reshape(*colours.shape[:1], STRIDE, -1, STRIDE)
        colours = colours * lit.any((1, 3))[..., None]
        truth = real.frame["semantic"][n]
        known = truth != NOT_JUDGED
        if n == 0 and known.any():  # the truth in place of a side that has no camera
            classes.insert(0, COLOURS[np.where(known, truth, SemanticClass.NONE)])
        classes.append(colours)
    classes = [
        cv2.resize(c.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        for c in classes[:3]
    ]
    above = above_picture(real, outputs, found, judged, grid)
    row = np.concatenate(
        [wide, _high(np.concatenate(virtual)), _high(np.concatenate(classes)), above], axis=1
    )
    write(row, real.where, 8, ROW - 8, 14, TRUE, "ls")
    return row


def sheet_of(rows: Sequence[Array]) -> Array:
    """Rows below a line that says what they show."""
    from roadloop.viz.readings import write

    head = np.zeros((24, rows[0].shape[1], 3), np.uint8)
    left = 0
    for width, title in COLUMNS:
        write(head, title, left + 8, 17, 14, TRUE, "ls")
        left += width
    return np.concatenate([head, *rows])


def draw_boxes(image: Array, pixels: Array, real: Real, found: Objects, judged: Array) -> None:
    """What is there and what was found, as edges of boxes."""
    draw_edges(image, pixels, real.boxes[judged, :7], [TRUE] * int(judged.sum()))
    rows = np.column_stack([found.x, found.y, found.z, found.length, found.width, found.height,
                            found.yaw])  # fmt: skip
    draw_edges(image, pixels, rows, [FOUND[ObjectClass(k)] for k in found.object_class.tolist()])


def draw_edges(image: Array, pixels: Array, boxes: Array, colours: Sequence[Any]) -> None:
    """Edges of boxes (n, 7) through a pinhole (3, 4), cut where the camera is."""
    import cv2

    for box, colour in zip(boxes, colours):
        corners = (np.array(list(np.ndindex(2, 2, 2))) - 0.5) * box[3:6]
        c, s = np.cos(box[6]), np.sin(box[6])
        corners[:, :2] = corners[:, :2] @ np.array([[c, s], [-s, c]])
        there = (corners + box[:3]) @ pixels[:, :3].T + pixels[:, 3]
        for a, b in EDGES:
            p, q = there[a], there[b]
            if p[2] < q[2]:
                p, q = q, p
            if p[2] < NEAR:
                continue
            if q[2] < NEAR:
                q = p + (q - p) * (p[2] - NEAR) / (p[2] - q[2])
            ends = np.clip([p[:2] / p[2], q[:2] / q[2]], -5e3, 5e3)
            (u, v), (w, z) = np.rint(ends * 16).astype(int).tolist()
            cv2.line(image, (u, v), (w, z), colour, 1, cv2.LINE_AA, 4)


def above_picture(
    real: Real, outputs: dict[str, Array], found: Objects, judged: Array, grid: Any
) -> Array:
    """(ROW, ROW, 3): the raster's vehicles and drivable ground as found, and all boxes."""
    import cv2

    from roadloop.viz.raster_picture import raster_picture

    scale = ROW // grid.nx
    chance = 1.0 / (1.0 + np.exp(-outputs["raster"]))
    layers = {k.name.lower(): chance[k] for k in (RasterLayer.DRIVABLE, RasterLayer.VEHICLE)}
    origin = (grid.x_min, grid.y_min)
    picture = raster_picture(layers, scale=scale, origin=origin, cell=grid.cell)
    rows = np.column_stack([found.x, found.y, found.length, found.width, found.yaw])
    colours = [FOUND[ObjectClass(k)] for k in found.object_class.tolist()]
    true = real.boxes[judged][:, [0, 1, 3, 4, 6]]
    for box, colour in zip(np.concatenate([true, rows]), [TRUE] * len(true) + colours):
        c, s = np.cos(box[4]), np.sin(box[4])
        corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * box[2:4] / 2.0
        places = box[:2] + corners @ np.array([[c, s], [-s, c]])
        ij = (np.array(grid.shape) - 0.5 - grid.cells_of(places)) * scale
        points = np.rint(ij[:, ::-1] * 16).astype(np.int32)
        cv2.polylines(picture, [points], True, colour, 1, cv2.LINE_AA, 4)
    return _high(picture)


def _on(boxes: Array, grid: Any) -> Array:
    """(M,) bool: on the grid."""
    cells = np.rint(grid.cells_of(boxes[:, :2]))
    return (cells >= 0).all(1) & (cells < grid.shape).all(1)


def _high(picture: Array) -> Array:
    """The picture as high as a row, black below."""
    made = np.zeros((ROW, picture.shape[1], 3), np.uint8)
    made[: min(len(picture), ROW)] = picture[:ROW]
    return made


# --- all of it ------------------------------------------------------------------------------------


def judged(
    checkpoint: str, folders: Sequence[Path], sheet: Path | None, each: int
) -> dict[str, dict[str, float]]:
    """What a detector is worth on the folders' moments; writes the sheet of ``each`` per drive."""
    from perception.checkpoint import load_detector
    from roadloop.viz.contact_sheet import write_jpeg

    network, _ = load_detector(checkpoint)
    judge, grid = Judge(network), network.config.grid
    rows: dict[str, list[tuple[int, Array]]] = {}
    for real in moments(folders, network.config):
        outputs, found = judge.add(real)
        if sheet:
            count = int((real.visible & _on(real.boxes, grid)).sum())
            some = rows.setdefault(real.dataset, [])
            some.append((count, row_picture(real, outputs, found, grid)))
            some.sort(key=lambda row: -row[0])  # those with the most boxes are shown
            del some[each:]
    if sheet:
        write_jpeg(sheet, sheet_of([row for some in rows.values() for _, row in some]))
    return judge.result()


def loss_ends(run: Path) -> dict[str, tuple[float, float]]:
    """Mean of the first and of the last tenth of each term of a run's training loss."""
    with (run / "progress.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    some = max(len(rows) // 10, 1)

    def mean(term: str, part: list[dict[str, str]]) -> float:
        return float(np.mean([float(row[term]) for row in part]))

    return {term: (mean(term, rows[:some]), mean(term, rows[-some:])) for term in TERMS}


def table_of(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Before and after, by data set, as text."""
    lines = [f"{'':24s}" + "".join(f"{k.name.lower():>16s}" for k in ObjectClass)
             + f"{'depth':>8s}{'classes':>9s}"]  # fmt: skip
    for stage, table in results.items():
        for name, row in table.items():
            cells = [f"{stage + ' ' + name:24s}"]
            for k in ObjectClass:
                key = k.name.lower()
                ap, count = row.get(f"{key}_ap", math.nan), row.get(key, 0.0)
                cells.append(f"{ap:9.3f} ({count:3.0f}) " if count else f"{'-':>16s}")
            for key, wide in (("depth", 8), ("semantic", 9)):
                cells.append(
                    f"{row[key]:{wide}.3f}" if math.isfinite(row[key]) else f"{'-':>{wide}s}"
                )
            lines.append("".join(cells))
    return "\n".join(lines)


def main() -> int:
    """Train, judge, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of data sets, see docs/data.md")
    parser.add_argument("--init", default="", help="a detector to start from, or none")
    parser.add_argument("--out", type=Path, default=Path("runs") / "real", help="of the run")
    parser.add_argument("--set", action="append", default=[], help="as of roadloop train")
    parser.add_argument("--rows", type=int, default=2, help="of the sheet, by data set")
    parser.add_argument("--judge", action="store_true", help="the run is there: judge and draw it")
    args = parser.parse_args()
    try:
        return measure(args)
    except RoadloopError as error:
        print(f"real_pictures: {error}", file=sys.stderr)
        return 2


def measure(args: argparse.Namespace) -> int:
    """As the command line says."""
    import torch

    from roadloop.config import find_config, load_config
    from training.detector_training import DetectorTraining
    from training.train_detector import train

    torch.set_num_threads(1)
    results = {}
    if args.init:
        results["before"] = judged(args.init, args.folders, None, 0)
    begun = time.process_time()
    if not args.judge:
        folders = ",".join(str(folder) for folder in args.folders)
        words = [f"data.folders=[{folders}]", f"init={args.init}", "workers=0", "threads=1"]
        config = load_config(DetectorTraining, find_config("detector_real"), [*words, *args.set])
        if train(config, args.out, overwrite=True):
            return 130
    spent = time.process_time() - begun
    results["after"] = judged(str(args.out), args.folders, args.out / "sheet.jpg", args.rows)
    losses = loss_ends(args.out)
    print(table_of(results))
    for term, (first, last) in losses.items():
        print(f"{term:>10s} {first:7.3f} -> {last:7.3f}")
    print(f"{spent:.0f} s of processor time to learn")
    said = {"results": results, "losses": losses, "seconds": None if args.judge else spent}
    (args.out / "real_pictures.json").write_text(json.dumps(said, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
