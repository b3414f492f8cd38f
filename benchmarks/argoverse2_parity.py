"""Our readers of Argoverse 2 against the ``av2`` package, log by log.

    python benchmarks/argoverse2_parity.py [--data DIR] [--devkit PYTHON]

``av2`` 0.3.6 needs packages that do not go together with ours (it brings an OpenCV of its own), so
it runs in a virtual environment of its own, which ``make devkits`` makes.
There this file runs a second time and writes what ``av2`` reads. Compared are, as the largest
difference in a log:

* poses: elements of city_SE3_egovehicle at every step, our ego frame moved back to the axle;
* boxes: the eight corners of every box in the city's frame, m;
* lanes: points of both edges of every lane segment, of crosswalks and of drivable areas, m;
* pixels: 500 points ahead of each camera, projected;
* place: latitude and longitude of the ego, m on the ground;
* ground: the ego's height raster, m;
* tracks (motion forecasting): positions, headings, velocities, times (us).

``points`` is the share of boxes with exactly as many LiDAR points as ``num_interior_pts`` says, on
their faces or inside, at steps whose sweep is there; ``on lanes`` the share of steps at which the
ego's rear axle is on a travel lane. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA = ROOT.parent / "shared" / "data" / "argoverse2"
DEVKIT = ROOT / ".venv-devkits" / "bin" / "python"

TARGETS = {
    "poses": 1e-6,
    "boxes": 1e-6,
    "lanes": 1e-6,
    "pixels": 1e-6,
    "place": 1e-3,
    "ground": 1e-6,
    "tracks": 1e-6,
}
"""most that each may differ"""

# a point per camera and metre, seen by most: x right, y down, z forward in m
AHEAD = np.stack(
    [np.linspace(-9.0, 9.0, 500), np.linspace(4.0, -4.0, 500), np.linspace(5.0, 60.0, 500)], axis=-1
)


# --- what av2 reads, run by the environment that has it -----------------------------------------


def write_devkit(folder: Path, target: Path) -> None:
    """What ``av2`` reads of a log or scenario, as one .npz."""
    table = next(folder.glob("scenario_*.parquet"), None)
    found = _devkit_log(folder) if table is None else _devkit_scenario(table)
    archive = next((folder / "map" if table is None else folder).glob("log_map_archive_*.json"))
    np.savez(target, allow_pickle=False, **found, **_devkit_map(archive))


def _devkit_log(folder: Path) -> dict[str, Array]:
    from av2.structures.cuboid import ORDERED_CUBOID_COL_NAMES, Cuboid
    from av2.utils.io import read_city_SE3_ego, read_feather

    poses = read_city_SE3_ego(folder)
    rows = read_feather(next(folder.glob("annotations*.feather")))
    rows = rows[rows["category"] != "EGO_VEHICLE"]
    stamps = rows["timestamp_ns"].to_numpy()
    corners = np.array(
        [
            Cuboid.from_numpy(row).transform(poses[stamp]).vertices_m
            for row, stamp in zip(rows[ORDERED_CUBOID_COL_NAMES].to_numpy(), stamps)
        ]
    )
    steps = np.unique(stamps)
    found = {
        "steps": steps,
        "poses": np.array([poses[stamp].transform_matrix for stamp in steps]),
        "box_stamp": stamps,
        "box_track": rows["track_uuid"].to_numpy().astype(str),
        "box_category": rows["category"].to_numpy().astype(str),
        "box_points": rows["num_interior_pts"].to_numpy(),
        "corners": corners,
    }
    return found | _devkit_places(folder, found["poses"]) | _devkit_cameras(folder)


def _devkit_places(folder: Path, poses: Array) -> dict[str, Array]:
    from av2.geometry.utm import CityName, convert_city_coords_to_wgs84
    from av2.map.map_api import GroundHeightLayer

    name = next((folder / "map").glob("log_map_archive_*.json")).stem
    city = CityName(name.split("____")[1].split("_")[0])
    ground = GroundHeightLayer.from_file(folder / "map")
    return {
        "place": convert_city_coords_to_wgs84(poses[:, :2, 3], city),
        "ground": ground.get_ground_height_at_xy(poses[:, :3, 3]),
    }


def _devkit_cameras(folder: Path) -> dict[str, Array]:
    from av2.geometry.camera.pinhole_camera import PinholeCamera
    from av2.utils.io import read_feather

    path = folder / "calibration" / "intrinsics.feather"
    if not path.is_file():
        return {}
    names = read_feather(path)["sensor_name"].tolist()
    cameras = [PinholeCamera.from_feather(folder, name) for name in names]
    points = [camera.ego_SE3_cam.transform_point_cloud(AHEAD) for camera in cameras]
    pixels = [c.project_ego_to_img(p)[0] for c, p in zip(cameras, points)]
    return {"cameras": np.array(names), "points_ego": np.array(points), "pixels": np.array(pixels)}


def _devkit_scenario(path: Path) -> dict[str, Array]:
    from av2.datasets.motion_forecasting.scenario_serialization import (
        load_argoverse_scenario_parquet,
    )

    scenario = load_argoverse_scenario_parquet(path)
    rows = [
        (
            *(track.track_id, track.object_type.value, state.timestep),
            *(*state.position, state.heading, *state.velocity),
        )
        for track in scenario.tracks
        for state in track.object_states
    ]
    tracks, types, step, *numbers = zip(*rows)
    return {
        "stamps": scenario.timestamps_ns - scenario.timestamps_ns[0],
        "track": np.array(tracks),
        "type": np.array(types),
        "step": np.array(step),
        "numbers": np.array(numbers).T,
    }


def _devkit_map(path: Path) -> dict[str, Array]:
    """Every line of the map, joined, with the length of each."""
    from av2.map.map_api import ArgoverseStaticMap

    static_map = ArgoverseStaticMap.from_json(path)
    lanes = static_map.vector_lane_segments
    lines = {
        "left": [lane.left_lane_boundary.xyz for lane in lanes.values()],
        "right": [lane.right_lane_boundary.xyz for lane in lanes.values()],
        "crosswalk": [c.polygon[:-1] for c in static_map.vector_pedestrian_crossings.values()],
        "area": [area.xyz[:-1] for area in static_map.vector_drivable_areas.values()],
    }
    found: dict[str, Array] = {"lanes": np.array([str(name) for name in lanes])}
    for name, parts in lines.items():
        found[name] = np.concatenate(parts)
        found[f"{name}_lengths"] = np.array([len(part) for part in parts])
    return found


# --- compared with ours -------------------------------------------------------------------------


def run_devkit(folders: list[Path], target: Path, python: Path = DEVKIT) -> list[dict[str, Array]]:
    """What ``av2`` reads of each log, through files in the folder ``target``."""
    files = [target / f"{k}.npz" for k in range(len(folders))]
    pairs = [str(path) for pair in zip(folders, files) for path in pair]
    subprocess.run([python, __file__, "--write", *pairs], check=True)
    return [dict(np.load(file)) for file in files]


def compare(root: Path, name: str, folder: Path, theirs: dict[str, Array]) -> dict[str, Any]:
    """One drive of ours and theirs: counts, shares and largest differences by name."""
    from roadloop.datasets.formats import open_recording
    from roadloop.maps.argoverse2 import city_code, map_file, read_draft
    from roadloop.maps.locate import lanes_at

    motion = "numbers" in theirs
    recording = open_recording(root, name, "argoverse2-motion" if motion else "argoverse2")
    path = map_file(folder if motion else folder / "map")
    assert path is not None and recording.road_map is not None and recording.agents is not None
    city = city_code(recording.about["city"])
    on_lane = lanes_at(recording.road_map, recording.ego.x, recording.ego.y, travel_only=True)
    found: dict[str, Any] = {
        "steps": len(recording),
        "tracks": len(recording.source_id),
        "labels": int(recording.agents.valid.sum()),
        "segments": recording.road_map.lanes,
        "on lanes": float((np.diff(on_lane.start) > 0).mean()),
        "lanes": _map_difference(read_draft(path, city), theirs),
    }
    if motion:
        return found | {"tracks_": _track_difference(recording, theirs)}
    return found | _log_differences(recording, folder, theirs)


def _log_differences(recording: Any, folder: Path, theirs: dict[str, Array]) -> dict[str, Any]:
    from roadloop.datasets.argoverse2.poses import AXLE_HEIGHT
    from roadloop.geometry import transform_points
    from roadloop.maps.argoverse2 import ground_height
    from roadloop.maps.georeference import parse_georeference

    lifted = np.eye(4)
    lifted[2, 3] = AXLE_HEIGHT
    poses = recording.world_from_ego @ lifted
    agents = recording.agents
    step = np.searchsorted(theirs["steps"], theirs["box_stamp"])
    order = np.argsort(recording.source_id)
    column = order[np.searchsorted(recording.source_id[order], theirs["box_track"])]
    size = np.stack([agents.length, agents.width, agents.height], axis=-1)[step, column]
    # front face first, as av2 numbers corners; the origin of our boxes is at the bottom
    side = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    unit = np.array([[x, y, z + 1] for x in (1, -1) for y, z in side])
    local = unit * size[:, None] / 2.0
    corners = transform_points(recording.world_from_agent[step, column], local)
    same = [
        (recording.source_id[column] == theirs["box_track"]).all(),
        (recording.category[column] == theirs["box_category"]).all(),
        (recording.lidar_points[step, column] == theirs["box_points"]).all(),
        agents.valid[step, column].all() and agents.valid.sum() == len(step),
    ]
    x, y = poses[:, 0, 3], poses[:, 1, 3]
    projection = parse_georeference(recording.road_map.georeference)
    assert projection is not None
    degrees = np.stack(projection.inverse(x, y), axis=-1) - theirs["place"]
    here = ground_height(folder / "map", x, y)
    found = {
        "poses": float(np.abs(poses - theirs["poses"]).max()),
        "boxes": float(np.abs(corners - theirs["corners"]).max()) if all(same) else np.inf,
        "place": float(np.abs(degrees).max()) * 111_200.0,
        "ground": float(np.nanmax(np.abs(here - theirs["ground"]))),
        "axle": float(np.nanmean(poses[:, 2, 3] - here)),
    }
    counts = points_in_boxes(recording)
    if len(counts):
        found["points"] = float((counts[:, 0] == counts[:, 1]).mean())
    if "cameras" in theirs:
        found["pixels"] = max(
            float(np.abs(sensor.camera.project(AHEAD)[0] - theirs["pixels"][k]).max())
            for k, sensor in enumerate(recording.rig.cameras)
        )
        apart = [
            np.abs(
                transform_points(sensor.ego_from_camera, AHEAD)
                - (theirs["points_ego"][k] + [0, 0, AXLE_HEIGHT])
            ).max()
            for k, sensor in enumerate(recording.rig.cameras)
        ]
        found["mounts"] = float(max(apart))
    return found


def points_in_boxes(recording: Any) -> Array:
    """(n, 2) points the data set counts in a box, and those on its faces or inside, at every step
    that has its sweep."""
    from scipy.spatial import KDTree

    from roadloop.geometry import inverse, transform_points

    agents, counts = recording.agents, []
    sweeps: dict[int, list[Any]] = {}
    for frame in recording.frames:
        if frame.kind == "lidar" and frame.timestamp_us == recording.timestamp_us[frame.step]:
            sweeps.setdefault(frame.step, []).append(frame)
    for step, frames in sweeps.items():
        points = [
            transform_points(f.world_from_ego, f.read().points[:, :3].astype(float)) for f in frames
        ]
        world = np.concatenate(points)
        tree = KDTree(world)
        for agent in np.flatnonzero(agents.valid[step]):
            pose = recording.world_from_agent[step, agent]
            size = np.array(
                [getattr(agents, f)[step, agent] for f in ("length", "width", "height")]
            )
            middle = pose[:3, 3] + pose[:3, 2] * size[2] / 2.0
            near = world[tree.query_ball_point(middle, np.linalg.norm(size) / 2.0 + 0.01)]
            local = transform_points(inverse(pose), near) - [0.0, 0.0, size[2] / 2.0]
            inside = (np.abs(local) <= size / 2.0).all(-1)
            counts.append((recording.lidar_points[step, agent], inside.sum()))
    return np.array(counts).reshape(-1, 2)


def _map_difference(draft: Any, theirs: dict[str, Array]) -> float:
    """m, the largest one between lines; inf where their number or points are not the same."""
    if [lane.id for lane in draft.lanes] != theirs["lanes"].tolist():
        return np.inf
    ours = {
        "left": [lane.left for lane in draft.lanes],
        "right": [lane.right for lane in draft.lanes],
        "crosswalk": list(draft.crosswalks),
        "area": list(draft.drivable),
    }
    largest = 0.0
    for name, lines in ours.items():
        if [len(line) for line in lines] != theirs[f"{name}_lengths"].tolist():
            return np.inf
        joined = np.concatenate(lines)
        difference = np.abs(joined - theirs[name][:, : joined.shape[1]])
        largest = max(largest, float(difference.max()))
    return largest


def _track_difference(recording: Any, theirs: dict[str, Array]) -> float:
    """Largest one of positions, headings, velocities and times (us); inf where tracks differ."""
    agents, numbers = recording.agents, theirs["numbers"]
    stamps = np.abs(recording.timestamp_us - theirs["stamps"] / 1000.0).max()
    ego = theirs["track"] == "AV"
    order = np.argsort(theirs["step"][ego])
    ego_numbers = numbers[ego][order]
    forward = np.stack([np.cos(recording.ego.heading), np.sin(recording.ego.heading)], axis=-1)
    largest = [
        float(stamps) * 1e-3,  # the table's double has 64 ns
        float(np.abs(recording.world_from_ego[:, :2, 3] - ego_numbers[:, :2]).max()),
        float(np.abs(recording.ego.speed - (ego_numbers[:, 3:] * forward).sum(-1)).max()),
    ]
    kept = ~ego & (theirs["type"] != "unknown")
    if agents.valid.sum() != kept.sum() or len(recording) != ego.sum():
        return np.inf
    column = np.searchsorted(recording.source_id, theirs["track"][kept])
    cell = (theirs["step"][kept], column)
    if not agents.valid[cell].all() or (recording.category[column] != theirs["type"][kept]).any():
        return np.inf
    turn = np.exp(1j * agents.heading[cell]) - np.exp(1j * numbers[kept, 2])
    fields = np.stack([agents.x, agents.y, agents.vx, agents.vy], axis=-1)[cell]
    largest += [
        float(np.abs(turn).max()),
        float(np.abs(fields - numbers[kept][:, [0, 1, 3, 4]]).max()),
    ]
    return max(largest)


# --- the table ----------------------------------------------------------------------------------

COLUMNS = (
    *("steps", "tracks", "labels", "segments", "poses", "boxes", "tracks_", "lanes", "pixels"),
    *("mounts", "place", "ground", "axle", "points", "on lanes"),
)


def missed(name: str, row: dict[str, Any]) -> list[str]:
    """Which targets a drive misses."""
    limits = {key: TARGETS.get(key.rstrip("_").replace("mounts", "poses")) for key in row}
    found = [
        f"{name} misses: {key} {row[key]:.3g}, at most {limit:g}"
        for key, limit in limits.items()
        if limit is not None and key not in ("tracks",) and not row[key] <= limit
    ]
    if row.get("points", 1.0) < 1.0:
        found.append(f"{name} misses: {row['points']:.3f} of the boxes hold the counted points")
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows under each other; a dash where a drive has nothing of the kind."""

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value}" if isinstance(value, int) else f"{value:.3g}"

    lines = [["drive", *(c.replace("tracks_", "motion") for c in COLUMNS)]]
    lines += [[name[:8], *(cell(row.get(c)) for c in COLUMNS)] for name, row in rows.items()]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths)) for line in lines
    )


def main(arguments: list[str] | None = None) -> int:
    """Compare the drives, print the table; 1 when a target is missed, 2 without data or av2."""
    parser = argparse.ArgumentParser(description="Argoverse 2 readers against the av2 package")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of the data sets")
    parser.add_argument("--devkit", type=Path, default=DEVKIT, help="Python that has av2")
    parser.add_argument("--write", nargs="+", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.write:
        for folder, target in zip(options.write[::2], options.write[1::2]):
            write_devkit(folder, target)
        return 0
    if not options.devkit.is_file():
        print(f"{options.devkit} is missing; the first lines of {__file__} say how to make it")
        return 2
    rows = compare_all(options.data, options.devkit)
    if not rows:
        print(f"no drive of Argoverse 2 in {options.data}; name the folder with --data")
        return 2
    print(table(rows))
    misses = [line for name, row in rows.items() for line in missed(name, row)]
    print("\n".join(misses) or "all targets met")
    return 1 if misses else 0


def compare_all(data: Path, devkit: Path = DEVKIT) -> dict[str, dict[str, Any]]:
    """Every drive under a folder by name."""
    from roadloop.datasets.argoverse2 import motion as argoverse2_motion
    from roadloop.datasets.argoverse2 import reader as argoverse2

    logs = argoverse2.find_logs(data)
    scenarios = {n: p.parent for n, p in argoverse2_motion.find_scenarios(data).items()}
    folders = logs | scenarios
    if not folders:
        return {}
    with tempfile.TemporaryDirectory() as target:
        theirs = run_devkit(list(folders.values()), Path(target), devkit)
    return {
        name: compare(data, name, folder, read)
        for (name, folder), read in zip(folders.items(), theirs)
    }


if __name__ == "__main__":
    sys.exit(main())
