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
from nuscenes_devkit_scores import compared_scores, noisy, submission, truth_table

from roadloop.datasets.nuscenes import reader as nuscenes
from roadloop.datasets.nuscenes.export import SPLIT, export_nuscenes
from roadloop.datasets.nuscenes.tables import Tables
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3
from roadloop.logs.recording import Recording

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
