"""A small scene in nuScenes' schema, and a small map expansion, written by the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

Array = np.ndarray
Record = dict[str, Any]

START = 1_600_000_000_000_000
"""us"""
SPEED = 8.0
"""m/s of the ego along +y"""
SCENE = "scene-0001"
LIDAR_POSE = ([0.9, 0.0, 1.8], 0.0, 0.0, -np.pi / 2.0)
"""translation, roll, pitch, yaw"""
RADAR_POSE = ([3.4, 0.0, 0.5], 0.0, 0.0, 0.1)


def quaternion(roll: float, pitch: float, yaw: float) -> list[float]:
    """w, x, y, z"""
    x, y, z, w = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_quat().tolist()
    return [w, x, y, z]


def ego_place(stamp: int) -> list[float]:
    return [100.0, 200.0 + SPEED * (stamp - START) * 1e-6, 0.0]


def write_scene(root: Path, version: str = "v1.0-mini") -> dict[str, list[Record]]:
    """Three keyframes 0.5 s apart with four LiDAR sweeps between two; the tables by name.

    Road users: a car that drives 4 m/s along x and turns 0.2 rad between the first two keyframes; a
    pedestrian that is there from the second keyframe on; a cone that stands.
    """
    tables: dict[str, list[Record]] = {
        "sensor": [
            {"token": "s-lidar", "channel": "LIDAR_TOP", "modality": "lidar"},
            {"token": "s-cam", "channel": "CAM_FRONT", "modality": "camera"},
            {"token": "s-radar", "channel": "RADAR_FRONT", "modality": "radar"},
        ],
        "calibrated_sensor": [
            calibration("lidar", *LIDAR_POSE),
            calibration("radar", *RADAR_POSE),
            {
                "token": "c-cam",
                "sensor_token": "s-cam",
                "translation": [1.7, 0.0, 1.5],
                "rotation": [0.5, -0.5, 0.5, -0.5],
                "camera_intrinsic": [[60.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]],
            },
        ],
        "log": [
            {
                "token": "log",
                "logfile": "n015",
                "vehicle": "n015",
                "date_captured": "2020-09-13",
                "location": "singapore-test",
            }
        ],
        "scene": [
            {
                "token": "scene",
                "log_token": "log",
                "nbr_samples": 3,
                "first_sample_token": "k0",
                "last_sample_token": "k2",
                "name": SCENE,
                "description": "a made-up street",
            }
        ],
        "category": [
            {"token": "c-car", "name": "vehicle.car", "description": ""},
            {"token": "c-ped", "name": "human.pedestrian.adult", "description": ""},
            {"token": "c-cone", "name": "movable_object.trafficcone", "description": ""},
        ],
        "instance": [
            {"token": f"i-{name}", "category_token": f"c-{name}"} for name in ("car", "ped", "cone")
        ],
        "sample": [
            {"token": f"k{n}", "timestamp": START + 500_000 * n, "scene_token": "scene"}
            for n in range(3)
        ],
        "ego_pose": [],
        "sample_data": [],
        "sample_annotation": [],
        "attribute": [],
        "visibility": [],
        "map": [],
    }
    for n in range(11):
        stamp = START + 100_000 * n
        sample, key = f"k{(n + 4) // 5}", n % 5 == 0
        measured(tables, root, "lidar", stamp, sample, key)
        if key:
            measured(tables, root, "cam", stamp - 20_000, sample, key)
            measured(tables, root, "radar", stamp - 10_000, sample, key)
    for n in range(3):
        turned = 0.2 * min(n, 1)
        box(tables, n, "car", [110.0 + 2.0 * n, 210.0, 0.8], [1.9, 4.5, 1.6], turned, 3 + n)
        if n:
            box(tables, n, "ped", [95.0, 205.0 + 0.7 * n, 0.9], [0.6, 0.6, 1.8], 1.5, 0)
        box(tables, n, "cone", [101.0, 230.0, 0.4], [0.3, 0.3, 0.8], 0.0, 1)
    save(root / version, tables)
    return tables


def calibration(name: str, place: list[float], roll: float, pitch: float, yaw: float) -> Record:
    return {
        "token": f"c-{name}",
        "sensor_token": f"s-{name}",
        "translation": place,
        "rotation": quaternion(roll, pitch, yaw),
        "camera_intrinsic": [],
    }


def measured(
    tables: dict[str, list[Record]], root: Path, sensor: str, stamp: int, sample: str, key: bool
) -> None:
    """One measurement: pose, record and file."""
    channel = {"lidar": "LIDAR_TOP", "cam": "CAM_FRONT", "radar": "RADAR_FRONT"}[sensor]
    suffix = {"lidar": "pcd.bin", "cam": "jpg", "radar": "pcd"}[sensor]
    name = f"{'samples' if key else 'sweeps'}/{channel}/{stamp}.{suffix}"
    token = f"{sensor}-{stamp - START}"
    turn = quaternion(0.0, 0.0, np.pi / 2.0)
    pose = {"token": token, "timestamp": stamp, "rotation": turn, "translation": ego_place(stamp)}
    tables["ego_pose"].append(pose)
    tables["sample_data"].append(
        {
            "token": token,
            "sample_token": sample,
            "ego_pose_token": token,
            "calibrated_sensor_token": f"c-{sensor}",
            "timestamp": stamp,
            "fileformat": "jpg" if sensor == "cam" else "pcd",
            "is_key_frame": key,
            "height": 48 if sensor == "cam" else 0,
            "width": 64 if sensor == "cam" else 0,
            "filename": name,
        }
    )
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if sensor == "cam":
        picture = np.full((48, 64, 3), (stamp // 500_000) % 200, np.uint8)
        Image.fromarray(picture).save(path, quality=90)
    elif sensor == "lidar":
        # x right, y forward: 10 m ahead, 5 m to the right, and 2 m above the sensor
        points = [[0.0, 10.0, -1.0, 51.0, 3.0], [5.0, 0.0, 0.0, 255.0, 31.0], [0, 0, 2, 0, 7]]
        np.array(points, "<f4").tofile(path)
    else:
        path.write_bytes(radar_file([radar_target(20.0, 0.0, -8.0, 0.0), radar_target(3, 4, 0, 5)]))


def radar_target(x: float, y: float, vx: float, vx_comp: float, invalid: int = 0) -> Record:
    """A target that moves along x."""
    return {"x": x, "y": y, "rcs": 7.5, "vx": vx, "vx_comp": vx_comp, "invalid_state": invalid}


def radar_file(targets: list[Record]) -> bytes:
    """A scan as nuScenes writes it."""
    names = "x y z dyn_prop id rcs vx vy vx_comp vy_comp is_quality_valid ambig_state x_rms y_rms"
    names += " invalid_state pdh0 vx_rms vy_rms"
    sizes = [4, 4, 4, 1, 2, 4, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1]
    layout = [
        (name, f"<f{size}" if size == 4 else f"<i{size}")
        for name, size in zip(names.split(), sizes, strict=True)
    ]
    rows = np.zeros(len(targets), np.dtype(layout))
    rows["ambig_state"] = 3
    for k, target in enumerate(targets):
        for name, value in target.items():
            rows[name][k] = value
    header = (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {names}\n"
        f"SIZE {' '.join(map(str, sizes))}\n"
        f"TYPE {' '.join('F' if size == 4 else 'I' for size in sizes)}\n"
        f"COUNT {' '.join('1' for _ in sizes)}\nWIDTH {len(rows)}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(rows)}\nDATA binary\n"
    )
    return header.encode() + rows.tobytes() + b"\n"


def box(
    tables: dict[str, list[Record]],
    n: int,
    name: str,
    centre: list[float],
    size: list[float],
    yaw: float,
    points: int,
) -> None:
    """An annotation of sample ``n``; size is width, length, height."""
    tables["sample_annotation"].append(
        {
            "token": f"a-{name}-{n}",
            "sample_token": f"k{n}",
            "instance_token": f"i-{name}",
            "visibility_token": "",
            "attribute_tokens": [],
            "translation": centre,
            "size": size,
            "rotation": quaternion(0.0, 0.0, yaw),
            "num_lidar_pts": points,
            "num_radar_pts": 0,
        }
    )


def save(folder: Path, tables: dict[str, list[Record]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


# --- map expansion --------------------------------------------------------------------------------


class Expansion:
    """Layers of a map expansion, filled by what the tests need."""

    def __init__(self) -> None:
        names = "polygon line node drivable_area road_segment road_block lane lane_connector"
        names += " ped_crossing walkway stop_line carpark_area road_divider lane_divider"
        self.layers: dict[str, Any] = {name: [] for name in (*names.split(), "traffic_light")}
        self.layers |= {"arcline_path_3": {}, "connectivity": {}, "version": "1.3"}

    def nodes(self, points: list[list[float]]) -> list[str]:
        tokens = []
        for x, y in points:
            tokens.append(f"n{len(self.layers['node'])}")
            self.layers["node"].append({"token": tokens[-1], "x": x, "y": y})
        return tokens

    def polygon(self, points: list[list[float]], hole: list[list[float]] | None = None) -> str:
        token = f"p{len(self.layers['polygon'])}"
        holes = [] if hole is None else [{"node_tokens": self.nodes(hole)}]
        self.layers["polygon"].append(
            {"token": token, "exterior_node_tokens": self.nodes(points), "holes": holes}
        )
        return token

    def lane(
        self,
        token: str,
        layer: str,
        points: list[list[float]],
        path: Record,
        before: tuple[str, ...] = (),
        after: tuple[str, ...] = (),
    ) -> None:
        self.layers[layer].append(
            {
                "token": token,
                "polygon_token": self.polygon(points),
                "lane_type": "CAR",
                "left_lane_divider_segments": [],
                "right_lane_divider_segments": [],
            }
        )
        self.layers["arcline_path_3"][token] = [path]
        self.layers["connectivity"][token] = {"incoming": list(before), "outgoing": list(after)}


def strip(x: float, y: float, length: float, width: float) -> list[list[float]]:
    """Corners of a lane that runs along +x from the middle of its left edge of the box."""
    half = width / 2.0
    return [[x, y - half], [x + length, y - half], [x + length, y + half], [x, y + half]]


def straight(x: float, y: float, length: float, heading: float = 0.0) -> Record:
    """An arc-line path that is a straight of ``length`` m."""
    end = [x + length * np.cos(heading), y + length * np.sin(heading), heading]
    return {
        "start_pose": [x, y, heading],
        "end_pose": end,
        "shape": "LSR",
        "radius": 999.999,
        "segment_length": [0.0, length, 0.0],
    }


def write_expansion(path: Path) -> Expansion:
    """Two lanes side by side along x; one turns left with 10 m radius into a lane along y."""
    town = Expansion()
    town.lane("a", "lane", strip(0, 0, 50, 3.6), straight(0, 0, 50), after=("turn",))
    town.lane("b", "lane", strip(0, 3.6, 50, 3.6), straight(0, 3.6, 50), after=("gone",))
    quarter = 10.0 * np.pi / 2.0
    turn = {"start_pose": [50.0, 0.0, 0.0], "end_pose": [60.0, 10.0, np.pi / 2.0]}
    turn |= {"shape": "LSR", "radius": 10.0, "segment_length": [quarter, 0.0, 0.0]}
    town.lane("turn", "lane_connector", strip(50, 0, 12, 4), turn, ("a",), ("c",))
    north = [[58.2, 10.0], [61.8, 10.0], [61.8, 50.0], [58.2, 50.0]]
    town.lane("c", "lane", north, straight(60, 10, 40, np.pi / 2.0), ("turn",))
    layers = town.layers
    layers["ped_crossing"].append(
        {"token": "x", "polygon_token": town.polygon([[44, -3], [47, -3], [47, 7], [44, 7]])}
    )
    layers["stop_line"].append(
        {
            "token": "s",
            "polygon_token": town.polygon([[48, -1.8], [49, -1.8], [49, 1.8], [48, 1.8]]),
            "stop_line_type": "TRAFFIC_LIGHT",
            "ped_crossing_tokens": [],
            "traffic_light_tokens": ["t"],
            "road_block_token": "",
        }
    )
    layers["line"].append({"token": "l", "node_tokens": town.nodes([[55, -3], [55, -3.5]])})
    pose = {"tx": 55.0, "ty": -3.0, "tz": 4.0, "rx": 0.0, "ry": 0.0, "rz": 2.9}
    layers["traffic_light"].append(
        {
            "token": "t",
            "line_token": "l",
            "traffic_light_type": "VERTICAL",
            "from_road_block_token": "block",
            "items": [],
            "pose": pose,
        }
    )
    paint = town.nodes([[0.0, 1.8], [20.0, 1.8], [50.0, 1.8]])
    layers["line"].append({"token": "divider", "node_tokens": paint})
    kinds = ("DOUBLE_DASHED_WHITE", "SINGLE_SOLID_YELLOW")
    layers["lane_divider"].append(
        {
            "token": "d",
            "line_token": "divider",
            "lane_divider_segments": [
                {"node_token": node, "segment_type": kind}
                for node, kind in zip(paint[:-1], kinds, strict=True)
            ],
        }
    )
    area = town.polygon(
        [[-5, -5], [70, -5], [70, 60], [-5, 60]], hole=[[10, 20], [40, 20], [40, 50], [10, 50]]
    )
    layers["drivable_area"].append({"token": "area", "polygon_tokens": [area]})
    layers["walkway"].append({"token": "w", "polygon_token": area})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(layers), encoding="utf-8")
    return town
