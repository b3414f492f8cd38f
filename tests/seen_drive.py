"""What a driver might have seen of the drive in ``drawn_scene``, with mistakes at known moments."""

from __future__ import annotations

import cv2
import numpy as np

from perception.detector_config import ObjectClass, RasterLayer, object_classes
from roadloop.logs.percepts import TABLES, PerceptGrid, PerceptLog, PictureCamera, empty_table
from roadloop.rig import load_rig
from roadloop.types import AgentKind, LightState, Rollout

Array = np.ndarray
GRID = PerceptGrid(-3.2, -25.6, 64, 64, 0.8)
PEDESTRIAN, TRUCK, PARKED = 106, 101, 107
"""agents: not followed from 4.0 to 5.2 s; taken for a cyclist; always hidden"""
UNSEEN = (4.0, 5.2)
GHOST = (8.0, 9.0)
"""s, a vehicle 20 m ahead that is not there, track 900"""
OFF, SLIP = 0.6, 0.5
"""m and m/s, errors of every track along x"""
TOLD_WRONG = (3.0, 4.0)
"""s, signal 0 is told to be red and is green"""
BLACK = (10.0, 11.0)
"""s, a fault"""


def seen_log(rollout: Rollout, *, every: int = 1, pictures: int = 2) -> PerceptLog:
    """A moment every ``every`` steps, with pictures at every ``pictures``-th of them."""
    cameras = tuple(
        PictureCamera(c.name, c.camera, c.ego_from_camera) for c in load_rig("compact").cameras
    )
    rows: dict[str, list[dict]] = {name: [] for name in TABLES}
    rng = np.random.default_rng(0)
    for m, step in enumerate(range(0, len(rollout.time), every)):
        time = float(rollout.time[step])
        pose = _pose(rollout, step)
        rows["moments"].append({"step": step, "time": time, "world_from_ego": pose})
        _add_users(rows, rollout, step, m, time)
        if TOLD_WRONG[0] - 1e-6 <= time < TOLD_WRONG[1] - 1e-6:
            rows["told"].append({"moment": m, "signal": 0, "state": LightState.RED})
            rows["lights"].append(
                {"moment": m, "camera": 0, "u": 150.0, "v": 20.0, "width": 4.0, "height": 10.0,
                 "score": 0.9, "off": 0.0, "red": 0.8, "yellow": 0.1, "green": 0.1}
            )  # fmt: skip
        if m % 5 == 0:
            values = np.zeros((len(RasterLayer), GRID.nx, GRID.ny), np.uint8)
            values[RasterLayer.DRIVABLE, :, 24:40] = 200
            values[RasterLayer.ROAD_EDGE, :, [23, 40]] = 220
            rows["rasters"].append({"moment": m, "values": values.tobytes()})
        if pictures and m % pictures == 0:
            for k, camera in enumerate(cameras):
                rows["pictures"].append(
                    {"moment": m, "camera": k, "jpeg": _jpeg(camera.lens.width, rng)}
                )
        for k, ms in enumerate((30.0, 45.0)):
            rows["times"].append({"step": step, "stage": k, "ms": ms})
    return PerceptLog(
        detector="drawn@12345678",
        rig="compact",
        classes=tuple(c.name.lower() for c in ObjectClass),
        layers=tuple(layer.name.lower() for layer in RasterLayer),
        grid=GRID,
        visible_pixels=10,
        cameras=cameras,
        faults=((BLACK[0], ("camera front is black",)), (BLACK[1], ())),
        budget_ms={"network": 60.0, "all": 40.0},
        tables={name: _table(name, of) for name, of in rows.items()},
    )


def _add_users(rows: dict, rollout: Rollout, step: int, m: int, time: float) -> None:
    agents = rollout.agents
    for k in np.flatnonzero(agents.valid[step]).tolist():
        name = int(agents.id[step, k])
        pixels = 0 if name == PARKED else 300
        rows["witnessed"].append({"moment": m, "agent": name, "pixels": pixels})
        if name == PARKED or (name == PEDESTRIAN and UNSEEN[0] - 1e-6 <= time < UNSEEN[1] - 1e-6):
            continue
        kind = AgentKind.CYCLIST if name == TRUCK else AgentKind(int(agents.kind[step, k]))
        box = {
            key: float(getattr(agents, key)[step, k])
            for key in ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height")
        }
        box |= {"x": box["x"] + OFF, "vx": box["vx"] + SLIP}
        _add_box(rows, m, box, kind, name, 0.8)
    if GHOST[0] - 1e-6 <= time < GHOST[1] - 1e-6:
        x, y, _ = _pose(rollout, step)[:3, 3] + (20.0, 6.0, 0.0)
        box = dict.fromkeys(("z", "heading", "vx", "vy"), 0.0) | {
            "x": x, "y": y, "length": 4.5, "width": 1.9, "height": 1.5
        }  # fmt: skip
        _add_box(rows, m, box, AgentKind.CAR, 900, 0.5)


def _add_box(rows: dict, m: int, box: dict, kind: AgentKind, name: int, score: float) -> None:
    label = int(object_classes(np.array([kind]), np.array([box["length"]]))[0])
    common = {"moment": m, "label": label, "kind": kind, **box, "position_std": 0.3}
    rows["detections"].append({**common, "score": score, "velocity_std": 1.0})
    rows["tracks"].append({**common, "id": name, "age": m})


def _pose(rollout: Rollout, step: int) -> Array:
    heading = float(rollout.ego.heading[step])
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
    pose[:3, 3] = [rollout.ego.x[step], rollout.ego.y[step], rollout.ego.z[step]]
    return pose


def _jpeg(width: int, rng: np.random.Generator) -> bytes:
    picture = np.full((96, width, 3), (90, 90, 90), np.uint8)
    picture[:32] = (210, 180, 150)
    picture[:, :, 1] += rng.integers(0, 4, (96, width)).astype(np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _table(name: str, rows: list[dict]) -> dict:
    table = empty_table(name)
    for column, kind in TABLES[name].items():
        values = [row[column] for row in rows]
        if kind == "bytes":
            table[column] = values
        elif rows:
            table[column] = np.array(values).astype(table[column].dtype)
    return table
