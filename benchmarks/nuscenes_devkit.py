"""Our export in nuScenes' schema and our detection scores, against the original nuscenes-devkit.

    python benchmarks/nuscenes_devkit.py [--venv .venv-devkits] [--data DIR] [--seconds 4]

The devkit wants NumPy below 2, so it runs in a virtual environment of its own, which is made where
it is missing (about half a gigabyte, a minute). Exported are a drive of the simulator with six
cameras, a LiDAR and radars, and nuScenes' own first keyframe of scene-0061 where DIR has it. The
devkit opens the export, walks all tables and follows all links; compared with what our reader makes
of the same files are

* boxes in the frame of every sensor at every keyframe, and at every LiDAR sweep between;
* velocities of boxes, camera matrices;
* LiDAR and radar points in the ego frame;
* mAP, NDS and all their terms of made-up noisy detections, with ``perception.detection_metrics``.

Exit status 1 where a difference is above its tolerance.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perception.detection_benchmark import NUSCENES, BoxTable, in_range
from perception.detection_metrics import evaluate_detections
from roadloop.datasets.nuscenes import reader as nuscenes
from roadloop.datasets.nuscenes.export import SPLIT, export_nuscenes
from roadloop.datasets.nuscenes.tables import Tables
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3
from roadloop.logs.recording import Recording
from roadloop.types import at

Array = np.ndarray

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT_VENV = REPOSITORY / ".venv-devkits"
DEFAULT_DATA = REPOSITORY.parent / "shared" / "data" / "nuscenes" / "one_sample"
DEVKIT = "nuscenes-devkit==1.2.0"
VERSION = "v1.0-roadloop"

TOLERANCE = 1e-6
"""m, m/s, px, and scores"""
TURN_TOLERANCE = 2e-6
"""of a rotation matrix: below 2 degrees pyquaternion's slerp is a straight line"""
DETECTION_CLASS = {
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
}
"""category -> class of the detection task (devkit, ``category_to_detection_name``)"""

GUESS = {
    "pedestrian": "pedestrian.moving",
    "bicycle": "cycle.with_rider",
    "motorcycle": "cycle.with_rider",
    "barrier": "",
    "traffic_cone": "",
}
"""attribute that a detection has, else vehicle.moving"""


@dataclass(frozen=True)
class Parity:
    """The largest differences between the devkit and us; lengths in m, speeds in m/s."""

    records: int
    """of all tables"""
    boxes: int
    """compared, each in the frame of each sensor"""
    centre: float
    turn: float
    """of an element of the rotation matrix"""
    size: float
    velocity: float
    lens: float
    """px"""
    points: int
    point: float
    """beyond half a step of float32, in which we keep points"""
    radial_speed: float
    on_mask: float
    """share of the simulated drive's poses on the mask of drivable ground"""
    held: int
    """boxes that the devkit has between keyframes and we have not: only the later one has them"""
    truths: int
    predictions: int
    mean_ap: float
    """the devkit's; the others are differences"""
    nds: float
    mean_ap_off: float
    nds_off: float
    terms_off: float
    """of APs by class and distance, and of errors by class"""

    @property
    def passed(self) -> bool:
        """Whether every difference is within its tolerance."""
        plain = (self.centre, self.size, self.velocity, self.lens)
        scores = (self.mean_ap_off, self.nds_off, self.terms_off)
        return (
            max(*plain, *scores) <= TOLERANCE
            and self.turn <= TURN_TOLERANCE
            and self.point <= TOLERANCE
            and self.on_mask >= 0.99
            and self.radial_speed <= 1e-5
        )


def devkit_python(venv: Path) -> Path:
    """The interpreter of the devkit's environment, made where it is missing.

    Raises RoadloopError where it cannot be made, as without a network.
    """
    python = venv / "bin" / "python"
    check = [str(python), "-c", "import nuscenes.eval.detection.evaluate"]
    if python.is_file() and subprocess.run(check, capture_output=True).returncode == 0:
        return python
    steps = ([sys.executable, "-m", "venv", str(venv)], [str(python), "-m", "pip", "-q", "install"])
    for step in (steps[0], [*steps[1], DEVKIT]):
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RoadloopError(f"{venv}: {DEVKIT} cannot be installed: {reason}")
    (venv / ".gitignore").write_text("*\n", encoding="utf-8")
    return python


def simulated(folder: Path, seconds: float) -> Recording:
    """A drive of the simulator with the sensors of nuScenes, small pictures."""
    from deploy.drivers import make_driver
    from roadloop.datasets.formats import open_recording
    from roadloop.rig import load_rig
    from sim.record import record_drive
    from sim.scenarios import build_scenario

    rig = replace(load_rig("nuscenes-704x256"), radars=load_rig("nuscenes").radars)
    scenario = build_scenario("pedestrian_crossing", seed=0, duration=seconds, agents=40)
    record_drive(scenario, make_driver("route-follower"), rig, folder / "crossing")
    return open_recording(folder / "crossing", format="roadloop")


def compare(venv: Path, data: Path, seconds: float, folder: Path) -> Parity:
    """Everything, with scratch files in ``folder``. RoadloopError where the devkit fails."""
    python = devkit_python(venv)
    drives = [simulated(folder, seconds)]
    if nuscenes.drives(data):
        drives.append(nuscenes.open_drive(data, nuscenes.drives(data)[0]))
    out = folder / "export"
    export_nuscenes(drives, out, version=VERSION)
    ours = {drive.name: nuscenes.open_drive(out, drive.name) for drive in drives}
    truth, samples = truth_table(Tables(out / VERSION))
    found = noisy(truth, np.random.default_rng(0))
    detections = folder / "detections.json"
    detections.write_text(json.dumps(submission(found, samples)), encoding="utf-8")
    side = Path(__file__).with_name("nuscenes_devkit_side.py")
    arguments = (side, out, VERSION, detections, folder / "devkit.json")
    done = subprocess.run([str(python), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RoadloopError(f"the devkit fails on our export: {done.stderr.strip()[-400:]}")
    theirs = json.loads((folder / "devkit.json").read_text(encoding="utf-8"))
    with np.load(folder / "devkit.json.npz") as clouds:
        boxes = compared_boxes(theirs["readings"], ours)
        points = compared_points(theirs["readings"], dict(clouds), ours)
    return Parity(
        records=sum(theirs["records"].values()),
        **boxes,
        **points,
        velocity=compared_velocities(theirs["velocities"], ours),
        on_mask=theirs["on_mask"][drives[0].name],
        **compared_scores(theirs["detection"], truth, found, samples),
    )


# --- boxes and points -----------------------------------------------------------------------------


def _column(ours: dict[str, Recording], scene: str) -> dict[str, int]:
    return {str(token): a for a, token in enumerate(ours[scene].source_id)}


def compared_boxes(rows: Sequence[dict[str, Any]], ours: dict[str, Recording]) -> dict[str, Any]:
    """The largest differences of boxes in sensors' frames, and of camera matrices."""
    worst = {"centre": 0.0, "turn": 0.0, "size": 0.0, "lens": 0.0}
    count = held = 0
    for row in rows:
        drive = ours[row["scene"]]
        stamp = row["timestamp"] - drive.about["start_us"]
        frame = next(f for f in drive.frames_of(row["channel"]) if f.timestamp_us == stamp)
        if row["lens"] is not None:
            image = frame.read()
            pose = image.ego_from_camera
            off = np.abs(np.array(row["lens"]) - image.camera.matrix).max()
            worst["lens"] = max(worst["lens"], float(off))
        else:
            sensors = {s.name: s for s in drive.rig.sensors}
            pose = sensors[row["channel"]].mount.ego_from_sensor  # type: ignore[union-attr]
        k = frame.step
        if row["key"]:  # of the newest keyframe: that of the first labelled step from then on
            k += int(np.argmax(drive.is_labelled[k:]))
        elif drive.timestamp_us[k] != stamp:
            continue  # between our steps: the devkit interpolates to the moment of the picture
        assert drive.agents is not None
        column = _column(ours, row["scene"])
        sensor_from_world = inverse(frame.world_from_ego @ pose)
        if row["key"] and len(row["boxes"]) != int(drive.agents.valid[k].sum()):
            raise RoadloopError(f"{row['channel']} at {stamp} us: another number of boxes")
        for box in row["boxes"]:
            a = column[box["instance"]]
            if not drive.agents.valid[k, a]:
                held += 1
                continue
            world = _box(drive, k, a)
            height = float(drive.agents.height[k, a])
            world[:3, 3] += world[:3, 2] * (height / 2.0)
            mine = sensor_from_world @ world
            size = [float(getattr(drive.agents, f)[k, a]) for f in ("width", "length", "height")]
            for name, off in (
                ("centre", mine[:3, 3] - box["centre"]),
                ("turn", mine[:3, :3] - box["rotation"]),
                ("size", np.array(size) - box["wlh"]),
            ):
                worst[name] = max(worst[name], float(np.abs(off).max()))
            count += 1
    return {**worst, "boxes": count, "held": held}


def _box(drive: Recording, k: int, a: int) -> Array:
    """(4, 4) of a box with its origin on the ground."""
    if drive.world_from_agent is not None:
        return drive.world_from_agent[k, a].copy()
    assert drive.agents is not None
    x, y, z, heading = (float(getattr(drive.agents, f)[k, a]) for f in ("x", "y", "z", "heading"))
    return se3(rotation_from_euler(0.0, 0.0, heading), np.array([x, y, z]))


def compared_points(
    rows: Sequence[dict[str, Any]], clouds: dict[str, Array], ours: dict[str, Recording]
) -> dict[str, Any]:
    """The largest differences of LiDAR and radar points in the ego frame."""
    point = radial = 0.0
    count = 0
    for i, row in enumerate(rows):
        if str(i) not in clouds:
            continue
        drive = ours[row["scene"]]
        stamp = row["timestamp"] - drive.about["start_us"]
        frame = next(f for f in drive.frames_of(row["channel"]) if f.timestamp_us == stamp)
        theirs, reading = clouds[str(i)], frame.read()
        if frame.kind == "lidar":
            mine = reading.points[:, :3]
        else:
            mine = np.stack([reading.x, reading.y, reading.z], axis=-1)
            # the devkit has the speed over ground as a vector in the sensor's plane
            flat = np.hypot(theirs[8], theirs[9]) * np.cos(reading.elevation)
            off = np.abs(np.abs(reading.radial_speed) - flat)
            radial = max(radial, float(off.max(initial=0.0)))
        if mine.shape != theirs[:3].T.shape:
            raise RoadloopError(f"{row['channel']} at {stamp} us: another number of points")
        off = np.abs(mine - theirs[:3].T) - np.spacing(np.abs(mine)) / 2.0
        point = max(point, float(off.max(initial=0.0)))
        count += len(mine)
    return {"points": count, "point": point, "radial_speed": radial}


def compared_velocities(rows: Sequence[dict[str, Any]], ours: dict[str, Recording]) -> float:
    """The largest difference of velocities; where the devkit knows none we have 0."""
    where = {
        str(token): (drive, a) for drive in ours.values() for a, token in enumerate(drive.source_id)
    }
    worst = 0.0
    for row in rows:
        drive, a = where[row["instance"]]
        assert drive.agents is not None
        k = int(np.searchsorted(drive.timestamp_us, row["timestamp"] - drive.about["start_us"]))
        mine = [drive.agents.vx[k, a], drive.agents.vy[k, a]]
        worst = max(worst, float(np.abs(mine - np.nan_to_num(row["velocity"][:2])).max()))
    return worst


# --- detection scores -----------------------------------------------------------------------------


def truth_table(tables: Tables) -> tuple[BoxTable, list[dict[str, Any]]]:
    """The annotations that the devkit judges by, and the samples by number with the ego's place."""
    names = [c.name for c in NUSCENES.classes]
    attribute = {row["token"]: row["name"] for row in tables.rows("attribute")}
    pose = {row["token"]: row["translation"] for row in tables.rows("ego_pose")}
    sensors = {row["token"]: row["channel"] for row in tables.rows("sensor")}
    channel = {
        row["token"]: sensors[row["sensor_token"]] for row in tables.rows("calibrated_sensor")
    }
    moment = {row["token"]: row["timestamp"] for row in tables.rows("sample")}
    samples: list[dict[str, Any]] = []
    number: dict[str, int] = {}
    for row in tables.rows("sample_data"):
        if row["is_key_frame"] and channel[row["calibrated_sensor_token"]] == "LIDAR_TOP":
            number[row["sample_token"]] = len(samples)
            place = pose[row["ego_pose_token"]]
            samples.append({"token": row["sample_token"], "x": place[0], "y": place[1]})
    columns: dict[str, list[Any]] = {f: [] for f in BoxTable.__dataclass_fields__}
    scenes = [scene["name"] for scene in tables.rows("scene")]
    for drive in (nuscenes.open_drive(tables.folder, name) for name in scenes):
        offset = drive_offset(tables, drive)
        column = {str(token): a for a, token in enumerate(drive.source_id)}
        for row in tables.rows("sample_annotation"):
            if row["instance_token"] not in column:
                continue
            a = column[row["instance_token"]]
            label = DETECTION_CLASS.get(str(drive.category[a]))
            if label is None or row["num_lidar_pts"] + row["num_radar_pts"] == 0:
                continue
            assert drive.agents is not None
            stamp = moment[row["sample_token"]] - drive.about["start_us"]
            k = int(np.searchsorted(drive.timestamp_us, stamp))
            value = {
                f: float(getattr(drive.agents, f)[k, a])
                for f in ("x", "y", "heading", "length", "width", "height", "vx", "vy")
            }
            if not row["prev"] and not row["next"]:
                value["vx"] = value["vy"] = np.nan
            value["x"], value["y"] = value["x"] + offset[0], value["y"] + offset[1]
            named = [attribute[token] for token in row["attribute_tokens"]]
            value |= {"sample": number[row["sample_token"]], "label": names.index(label)}
            value |= {"attribute": named[0] if named else "", "score": 0.0}
            for f in columns:
                columns[f].append(value[f])
    return BoxTable(**{f: np.array(values) for f, values in columns.items()}), samples


def drive_offset(tables: Tables, drive: Recording) -> tuple[float, float]:
    """m that the export added to a drive's coordinates."""
    log = next(row for row in tables.rows("log") if row["logfile"] == drive.name)
    x, y = log["roadloop"]["world_offset"]
    return x, y


def noisy(truth: BoxTable, rng: np.random.Generator) -> BoxTable:
    """Made-up detections: most boxes a little off, some of another class, some twice."""
    rows = np.flatnonzero(rng.random(len(truth.x)) < 0.85)
    rows = np.concatenate([rows, rng.choice(len(truth.x), len(truth.x) // 4)])
    found = at(truth, rows)
    count = len(rows)

    def normal(size: float) -> Array:
        return size * rng.standard_normal(count)

    label = np.where(rng.random(count) < 0.9, found.label, rng.integers(0, 10, count))
    classes = [NUSCENES.classes[n].name for n in label]
    guess = np.array([GUESS.get(name, "vehicle.moving") for name in classes])
    right = (label == found.label) & (found.attribute != "") & (rng.random(count) < 0.8)
    return replace(
        found,
        label=label,
        x=found.x + normal(0.6),
        y=found.y + normal(0.6),
        heading=found.heading + normal(0.3),
        length=found.length * np.exp(normal(0.1)),
        width=found.width * np.exp(normal(0.1)),
        height=found.height * np.exp(normal(0.1)),
        vx=np.nan_to_num(found.vx) + normal(0.5),
        vy=np.nan_to_num(found.vy) + normal(0.5),
        attribute=np.where(right, found.attribute, guess),
        score=rng.random(count),
    )


def submission(found: BoxTable, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The detections as nuScenes' evaluation takes them."""
    results: dict[str, list[dict[str, Any]]] = {sample["token"]: [] for sample in samples}
    for i in range(len(found.x)):
        token = samples[found.sample[i]]["token"]
        half = found.heading[i] / 2.0
        results[token].append(
            {
                "sample_token": token,
                "translation": [float(found.x[i]), float(found.y[i]), 0.0],
                "size": [float(found.width[i]), float(found.length[i]), float(found.height[i])],
                "rotation": [float(np.cos(half)), 0.0, 0.0, float(np.sin(half))],
                "velocity": [float(found.vx[i]), float(found.vy[i])],
                "detection_name": NUSCENES.classes[found.label[i]].name,
                "detection_score": float(found.score[i]),
                "attribute_name": str(found.attribute[i]),
            }
        )
    return {"meta": {"use_lidar": True}, "results": results}


def compared_scores(
    theirs: dict[str, Any], truth: BoxTable, found: BoxTable, samples: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The devkit's scores and how far ours are off."""
    x, y = (np.array([sample[axis] for sample in samples]) for axis in ("x", "y"))
    truth, found = (at(boxes, in_range(boxes, x, y)) for boxes in (truth, found))
    if (len(truth.x), len(found.x)) != (theirs["truths"], theirs["predictions"]):
        raise RoadloopError(
            f"the devkit judges {theirs['predictions']} detections by {theirs['truths']} boxes, we "
            f"{len(found.x)} by {len(truth.x)}"
        )
    mine = evaluate_detections(truth, found)
    off = [
        abs(ap - theirs["label_aps"][name][str(distance)])
        for name, by in mine.label_aps.items()
        for distance, ap in by.items()
    ]
    for name, by in mine.label_tp_errors.items():
        for error, value in by.items():
            other = theirs["label_tp_errors"][name][error]
            if np.isnan(value) != np.isnan(other):
                raise RoadloopError(f"{error} of {name}: the devkit has {other}, we {value}")
            off.append(0.0 if np.isnan(value) else abs(value - other))
    return {
        "truths": len(truth.x),
        "predictions": len(found.x),
        "mean_ap": theirs["mean_ap"],
        "nds": theirs["nds"],
        "mean_ap_off": abs(mine.mean_ap - theirs["mean_ap"]),
        "nds_off": abs(mine.nds - theirs["nds"]),
        "terms_off": max(off),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", type=Path, default=DEFAULT_VENV)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            parity = compare(options.venv, options.data, options.seconds, Path(folder))
        except RoadloopError as error:
            print(f"nuscenes_devkit: {error}", file=sys.stderr)
            return 2
    for name, value in asdict(parity).items():
        print(f"{name:14} {value:.3g}" if isinstance(value, float) else f"{name:14} {value}")
    print(f"split {SPLIT!r}:", "all differences within tolerance" if parity.passed else "DIFFERS")
    return 0 if parity.passed else 1


if __name__ == "__main__":
    sys.exit(main())
