"""Messages of Foxglove's schemas (https://docs.foxglove.dev/docs/visualization/message-schemas).

Needs foxglove-schemas-protobuf: imported where an MCAP file is written. Colours are (3,) uint8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from foxglove_schemas_protobuf.ArrowPrimitive_pb2 import ArrowPrimitive
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.Color_pb2 import Color
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CubePrimitive_pb2 import CubePrimitive
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.FrameTransforms_pb2 import FrameTransforms
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.KeyValuePair_pb2 import KeyValuePair
from foxglove_schemas_protobuf.LinePrimitive_pb2 import LinePrimitive
from foxglove_schemas_protobuf.LocationFix_pb2 import LocationFix
from foxglove_schemas_protobuf.Log_pb2 import Log
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.Point2_pb2 import Point2
from foxglove_schemas_protobuf.Point3_pb2 import Point3
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation
from foxglove_schemas_protobuf.Pose_pb2 import Pose
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
from foxglove_schemas_protobuf.Quaternion_pb2 import Quaternion
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from foxglove_schemas_protobuf.SceneEntity_pb2 import SceneEntity
from foxglove_schemas_protobuf.SceneEntityDeletion_pb2 import SceneEntityDeletion
from foxglove_schemas_protobuf.SceneUpdate_pb2 import SceneUpdate
from foxglove_schemas_protobuf.SpherePrimitive_pb2 import SpherePrimitive
from foxglove_schemas_protobuf.TextAnnotation_pb2 import TextAnnotation
from foxglove_schemas_protobuf.Vector3_pb2 import Vector3
from google.protobuf.timestamp_pb2 import Timestamp

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.readings import GnssFix, LidarSweep, RadarScan
from roadloop.viz.stream import AgentBoxes, quaternions

Array = np.ndarray

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])
DEPTH_STEPS = np.float32(128.0)
"""per m: finer differences of depth are noise that does not compress (583 kB become 41 kB)"""

_NUMERIC = {
    "u1": PackedElementField.UINT8,
    "u2": PackedElementField.UINT16,
    "i4": PackedElementField.INT32,
    "f4": PackedElementField.FLOAT32,
}


def stamp(time_us: int) -> Timestamp:
    """Microseconds since the start."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1000)


def colour(rgb: Sequence[int] | Array, alpha: float = 1.0) -> Color:
    """Of three numbers in [0, 255]."""
    r, g, b = (float(c) / 255.0 for c in rgb)
    return Color(r=r, g=g, b=b, a=alpha)


def pose(place: Array, quaternion: Array = IDENTITY) -> Pose:
    """Of a position (3,) and a unit quaternion x, y, z, w (4,)."""
    return Pose(position=_xyz(Vector3, place), orientation=_quaternion(quaternion))


def transform(time_us: int, parent: str, child: str, parent_from_child: Array) -> FrameTransform:
    """Where the frame ``child`` is in ``parent``."""
    return FrameTransform(
        timestamp=stamp(time_us),
        parent_frame_id=parent,
        child_frame_id=child,
        translation=_xyz(Vector3, parent_from_child[:3, 3]),
        rotation=_quaternion(quaternions(parent_from_child)),
    )


def transforms(parts: Iterable[FrameTransform]) -> FrameTransforms:
    """Several of them."""
    return FrameTransforms(transforms=parts)


def entity(time_us: int, frame: str, name: str, /, **parts: Any) -> SceneEntity:
    """Something that stays until the next of the same topic and name; ``parts``: its fields."""
    return SceneEntity(timestamp=stamp(time_us), frame_id=frame, id=name, **parts)


def scene(time_us: int, entities: Iterable[SceneEntity]) -> SceneUpdate:
    """All that a topic shows from now on."""
    gone = SceneEntityDeletion(timestamp=stamp(time_us), type=SceneEntityDeletion.ALL)
    return SceneUpdate(deletions=[gone], entities=entities)


def cube(centre: Pose, size: Array, rgb: Sequence[int] | Array, alpha: float) -> CubePrimitive:
    """A box of length, width, height ``size``."""
    return CubePrimitive(pose=centre, size=_xyz(Vector3, size), color=colour(rgb, alpha))


def sphere(centre: Array, diameter: float, rgb: Sequence[int] | Array) -> SpherePrimitive:
    """A ball."""
    size = Vector3(x=diameter, y=diameter, z=diameter)
    return SpherePrimitive(pose=pose(centre), size=size, color=colour(rgb))


def arrow(tail: Array, vector: Array, rgb: Sequence[int] | Array, width: float) -> ArrowPrimitive:
    """From ``tail`` along ``vector``."""
    length = float(np.linalg.norm(vector))
    head = min(0.4 * length, 4.0 * width)
    yaw = math.atan2(vector[1], vector[0])
    pitch = -math.asin(max(-1.0, min(1.0, vector[2] / max(length, 1e-9))))
    cy, sy, cp, sp = (f(a / 2.0) for a in (yaw, pitch) for f in (math.cos, math.sin))
    turned = Quaternion(x=-sy * sp, y=cy * sp, z=sy * cp, w=cy * cp)  # about z, then about y
    return ArrowPrimitive(
        pose=Pose(position=_xyz(Vector3, tail), orientation=turned),
        shaft_length=length - head,
        shaft_diameter=width,
        head_length=head,
        head_diameter=2.5 * width,
        color=colour(rgb),
    )


def line(points: Array, rgb: Array | Sequence[int], width: float) -> LinePrimitive:
    """A polyline (points, 3); ``rgb`` is one colour or (points, 3)."""
    one = np.ndim(rgb) == 1
    return LinePrimitive(
        type=LinePrimitive.LINE_STRIP,
        pose=pose(np.zeros(3)),
        thickness=width,
        points=[_xyz(Point3, p) for p in points],
        color=colour(np.asarray(rgb)) if one else None,
        colors=None if one else [colour(c) for c in np.asarray(rgb)],
    )


def lines(strips: Sequence[Array], rgb: Sequence[int], width: float) -> LinePrimitive:
    """Many polylines as one primitive: as many would be slow to draw."""
    ends = np.cumsum([0, *(len(strip) for strip in strips)])
    pairs = [np.stack([np.arange(a, b - 1), np.arange(a + 1, b)], -1) for a, b in _pairs(ends)]
    return LinePrimitive(
        type=LinePrimitive.LINE_LIST,
        pose=pose(np.zeros(3)),
        thickness=width,
        points=[_xyz(Point3, p) for strip in strips for p in strip],
        color=colour(rgb),
        indices=np.concatenate(pairs).ravel().tolist() if pairs else [],
    )


def agents(time_us: int, boxes: AgentBoxes) -> SceneUpdate:
    """An entity per agent: its box, an arrow where it moves, and facts to click on."""
    entities = []
    rows = zip(boxes.id.tolist(), boxes.labels, boxes.colours.tolist(), boxes.moving.tolist())
    turned = quaternions(boxes.world_from_box)
    for k, (number, label, rgb, moves) in enumerate(rows):
        velocity, centre = boxes.velocity[k], boxes.world_from_box[k, :3, 3]
        facts = {"kind": label.split()[0], "speed_mps": f"{np.linalg.norm(velocity):.2f}"}
        arrows = [arrow(centre, velocity, rgb, 0.15)] if moves else []
        entities.append(
            entity(
                time_us,
                "world",
                str(number),
                cubes=[cube(pose(centre, turned[k]), boxes.size[k], rgb, 0.8)],
                arrows=arrows,
                metadata=[KeyValuePair(key=key, value=value) for key, value in facts.items()],
            )
        )
    return scene(time_us, entities)


def picture(time_us: int, frame: str, content: bytes, end: str) -> CompressedImage:
    """A picture as jpeg or png."""
    return CompressedImage(timestamp=stamp(time_us), frame_id=frame, data=content, format=end)


def values_picture(time_us: int, frame: str, values: Array) -> RawImage:
    """Numbers per pixel: depth in m, float32, as 32FC1 in steps of 8 mm; uint16 as 16UC1."""
    height, width = values.shape
    name, dtype = "16UC1", "<u2"
    if values.dtype == np.float32:
        name, dtype, values = "32FC1", "<f4", np.rint(values * DEPTH_STEPS) / DEPTH_STEPS
    packed = np.ascontiguousarray(values, dtype)
    return RawImage(
        timestamp=stamp(time_us),
        frame_id=frame,
        width=width,
        height=height,
        encoding=name,
        step=packed.strides[0],
        data=packed.tobytes(),
    )


def calibration(time_us: int, frame: str, camera: Pinhole) -> CameraCalibration:
    """A lens: OpenCV's models under Foxglove's names."""
    model, distortion = "plumb_bob", [0.0] * 5
    if isinstance(camera, BrownConrady):
        distortion = [camera.k1, camera.k2, camera.p1, camera.p2, camera.k3]
        if camera.k4 or camera.k5 or camera.k6:
            model = "rational_polynomial"
            distortion += [camera.k4, camera.k5, camera.k6]
    elif isinstance(camera, Fisheye):
        model, distortion = "kannala_brandt", [camera.k1, camera.k2, camera.k3, camera.k4]
    matrix = camera.matrix
    return CameraCalibration(
        timestamp=stamp(time_us),
        frame_id=frame,
        width=camera.width,
        height=camera.height,
        distortion_model=model,
        D=distortion,
        K=matrix.ravel(),
        R=np.eye(3).ravel(),
        P=np.concatenate([matrix, np.zeros((3, 1))], axis=1).ravel(),
    )


def rectangles(
    time_us: int, edges: Array, labels: Sequence[str], colours: Array
) -> ImageAnnotations:
    """Rectangles (boxes, 4) px left, top, right, bottom in a picture, with labels."""
    loops, texts = [], []
    for (a, b, c, d), label, rgb in zip(edges.tolist(), labels, colours):
        corners = [Point2(x=x, y=y) for x, y in ((a, b), (c, b), (c, d), (a, d))]
        loops.append(
            PointsAnnotation(
                timestamp=stamp(time_us),
                type=PointsAnnotation.LINE_LOOP,
                points=corners,
                outline_color=colour(rgb),
                thickness=1.0,
            )
        )
        texts.append(
            TextAnnotation(
                timestamp=stamp(time_us),
                position=corners[0],
                text=label,
                font_size=8.0,
                text_color=colour(rgb),
            )
        )
    return ImageAnnotations(points=loops, texts=texts)


def sweep_cloud(time_us: int, sweep: LidarSweep) -> PointCloud:
    """A sweep in the ego frame with all it has per point."""
    columns: dict[str, Array] = dict(zip(("x", "y", "z", "intensity"), sweep.points.T))
    for name in ("ring", "time_offset", "semantic", "instance"):
        if (values := getattr(sweep, name)) is not None:
            columns[name] = values
    return _cloud(time_us, columns)


def scan_cloud(time_us: int, scan: RadarScan) -> PointCloud:
    """The targets of a scan in the ego frame."""
    names = ("x", "y", "z", "radial_speed", "rcs")
    columns = {name: np.asarray(getattr(scan, name), np.float32) for name in names}
    if scan.instance is not None:
        columns["instance"] = scan.instance
    return _cloud(time_us, columns)


def fix(gnss: GnssFix, frame: str) -> LocationFix:
    """A position on earth."""
    variance = gnss.std**2
    return LocationFix(
        timestamp=stamp(gnss.timestamp_us),
        frame_id=frame,
        latitude=gnss.latitude,
        longitude=gnss.longitude,
        position_covariance=[variance, 0, 0, 0, variance, 0, 0, 0, 4.0 * variance],
        position_covariance_type=LocationFix.APPROXIMATED,
    )


def fix_pose(gnss: GnssFix) -> PoseInFrame:
    """A position on the map, turned as the course."""
    turned = Quaternion(z=math.sin(gnss.course / 2.0), w=math.cos(gnss.course / 2.0))
    place = Pose(position=Vector3(x=gnss.x, y=gnss.y, z=gnss.z), orientation=turned)
    return PoseInFrame(timestamp=stamp(gnss.timestamp_us), frame_id="world", pose=place)


def log(time_us: int, text: str, *, bad: bool) -> Log:
    """A line of text."""
    level = Log.WARNING if bad else Log.INFO
    return Log(timestamp=stamp(time_us), level=level, message=text, name="score")


def _cloud(time_us: int, columns: dict[str, Array]) -> PointCloud:
    dtypes = {name: f"<{values.dtype.str[1:]}" for name, values in columns.items()}
    packed = np.empty(len(columns["x"]), dtype=list(dtypes.items()))
    for name, values in columns.items():
        packed[name] = values
    assert packed.dtype.fields is not None
    fields = [
        PackedElementField(name=name, offset=place[1], type=_NUMERIC[place[0].str[1:]])
        for name, place in packed.dtype.fields.items()
    ]
    return PointCloud(
        timestamp=stamp(time_us),
        frame_id="ego",
        pose=pose(np.zeros(3)),
        point_stride=packed.itemsize,
        fields=fields,
        data=packed.tobytes(),
    )


def _xyz(kind: Any, values: Array) -> Any:
    return kind(x=float(values[0]), y=float(values[1]), z=float(values[2]))


def _quaternion(quaternion: Array) -> Quaternion:
    x, y, z, w = quaternion.tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def _pairs(ends: Array) -> Iterable[tuple[int, int]]:
    return zip(ends[:-1].tolist(), ends[1:].tolist())
