"""Our OpenDRIVE reader against CARLA's own parser, town by town.

    python benchmarks/carla_map_parity.py [--maps DIR] [--towns Town01 Town02 ...]

CARLA's client (package ``carla``, no server needed) parses the same file and hands out waypoints on
its driving lanes, at least 10 000 per town. Compared are

* id: no other travel lane of ours is more than 1 cm nearer (in space) to the waypoint than our lane
  with the waypoint's road, section and lane id. The centimetre is for lanes that lie on top of each
  other, at forks and merges inside junctions, where "the nearest" is a coin toss;
* distance: metres in the ground plane from the waypoint to that lane's centreline, and height;
* heading and lane width there;
* successors: the lanes CARLA's ``waypoint.next`` reaches across the end of each driving lane, as a
  set, against ours.

CARLA's y axis points the other way: y = -y_carla, heading = -yaw_carla. Exit status 1 when a
target is missed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.maps.opendrive import read_opendrive
from roadloop.maps.road_map import LaneKind, RoadMap

Array = np.ndarray

TOWNS = ("Town01", "Town02", "Town03", "Town04", "Town05", "Town06", "Town07", "Town10HD")
DEFAULT_MAPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"

MIN_WAYPOINTS = 10_000
ID_TOLERANCE = 0.01
"""m another lane may be nearer"""
STRIDE, END_STEP = 0.1, 0.005
"""m per step towards the end of a lane and, close to it, across the end"""

LaneKey = tuple[str, int, int]
"""road id, section index, lane id"""


@dataclass(frozen=True)
class Parity:
    """How far we are from CARLA on one town; distances in m, angles in rad, shares in [0, 1]."""

    town: str
    waypoints: int
    lanes: int
    same_id: float
    distance_median: float
    distance_p99: float
    height_p99: float
    heading_p99: float
    width_p99: float
    same_successors: float

    def missed(self) -> list[str]:
        """The targets this town misses, in words."""
        targets = (
            ("waypoints", self.waypoints >= MIN_WAYPOINTS),
            ("same id >= 99.5 %", self.same_id >= 0.995),
            ("distance median <= 0.02 m", self.distance_median <= 0.02),
            ("distance p99 <= 0.10 m", self.distance_p99 <= 0.10),
            ("heading p99 <= 0.02 rad", self.heading_p99 <= 0.02),
            ("width p99 <= 0.05 m", self.width_p99 <= 0.05),
            ("successors >= 99 %", self.same_successors >= 0.99),
        )
        return [name for name, met in targets if not met]


@dataclass(frozen=True)
class Waypoints:
    """CARLA's waypoints in our frame; arrays (n,)."""

    key: list[LaneKey]
    xyz: Array
    heading: Array
    width: Array


def find_map(folder: Path, town: str) -> Path | None:
    """The town's OpenDRIVE file in ``folder``, plain or gzip."""
    found = [folder / f"{town}{suffix}" for suffix in (".xodr", ".xodr.gz")]
    return next((path for path in found if path.is_file()), None)


def carla_map(path: Path) -> Any:
    """CARLA's map of the file; ImportError where the package ``carla`` is missing."""
    import carla

    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return carla.Map(path.name.split(".")[0], text.decode())


def waypoint_key(point: Any) -> LaneKey:
    """The lane a CARLA waypoint is on."""
    return str(point.road_id), point.section_id, point.lane_id


def lane_keys(road_map: RoadMap) -> list[LaneKey]:
    """Road, section and lane id of all our lanes."""
    columns = (road_map.lane_road, road_map.lane_section, road_map.lane_number)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def sample_points(world: Any) -> list[Any]:
    """At least MIN_WAYPOINTS waypoints of CARLA on driving lanes, evenly spaced."""
    spacing = 1.0
    points = world.generate_waypoints(spacing)
    while len(points) < MIN_WAYPOINTS:
        spacing *= 0.8 * len(points) / MIN_WAYPOINTS
        points = world.generate_waypoints(spacing)
    return points


def as_arrays(points: list[Any]) -> Waypoints:
    """CARLA's waypoints in our frame."""
    transforms = [p.transform for p in points]
    return Waypoints(
        key=[waypoint_key(p) for p in points],
        xyz=np.array([[t.location.x, -t.location.y, t.location.z] for t in transforms]),
        heading=-np.radians([t.rotation.yaw for t in transforms]),
        width=np.array([p.lane_width for p in points]),
    )


def _foot(points: Array, xyz: Array, index: Array) -> tuple[Array, Array]:
    """Nearest points on a polyline's segments ``index`` (n, k) to ``xyz`` (n, 3).

    Returns squared distance in space (n, k) and the share of the segment (n, k), by the foot in
    the ground plane.
    """
    start, end = points[index], points[index + 1]
    along, to = end - start, xyz[:, None] - start
    length = np.maximum(np.sum(along[..., :2] ** 2, axis=-1), 1e-18)
    share = np.clip(np.sum(along[..., :2] * to[..., :2], axis=-1) / length, 0.0, 1.0)
    return np.sum((to - share[..., None] * along) ** 2, axis=-1), share


def compare(road_map: RoadMap, world: Any, town: str) -> Parity:
    """All figures of one town."""
    from scipy.spatial import KDTree

    points = sample_points(world)
    waypoints = as_arrays(points)
    row_of = {key: row for row, key in enumerate(lane_keys(road_map))}
    owner = np.repeat(np.arange(road_map.lanes), np.diff(road_map.point_start))
    is_segment = np.ones(len(owner), bool)
    is_segment[road_map.point_start[1:] - 1] = False
    is_segment &= road_map.is_travel[owner]
    segments = np.flatnonzero(is_segment)

    # nearest of all travel lanes: the middle of the nearest segment is among the nearest middles
    middles = (road_map.point_xyz[segments] + road_map.point_xyz[segments + 1]) / 2
    _, near = KDTree(middles).query(waypoints.xyz, k=min(24, len(segments)))
    squared, _ = _foot(road_map.point_xyz, waypoints.xyz, segments[near])
    nearest = np.sqrt(squared.min(axis=1))

    # our lane of the same id
    lane = np.array([row_of.get(key, -1) for key in waypoints.key])
    known = lane >= 0
    own = np.full(len(lane), np.inf)
    planar, height, turned, wider = (np.full(len(lane), np.inf) for _ in range(4))
    for row in np.unique(lane[known]):
        mine = np.flatnonzero(lane == row)
        rows = road_map.points_of(int(row))
        first, count = rows.start, rows.stop - rows.start - 1
        index = np.broadcast_to(np.arange(first, first + count), (len(mine), count))
        squared, share = _foot(road_map.point_xyz, waypoints.xyz[mine], index)
        best = np.argmin(squared, axis=1)
        pick = np.arange(len(mine))
        share, segment = share[pick, best], first + best
        own[mine] = np.sqrt(squared[pick, best])
        foot = road_map.point_xyz[segment] + share[:, None] * (
            road_map.point_xyz[segment + 1] - road_map.point_xyz[segment]
        )
        offset = waypoints.xyz[mine] - foot
        planar[mine], height[mine] = np.hypot(offset[:, 0], offset[:, 1]), np.abs(offset[:, 2])
        start, end = road_map.point_heading[segment], road_map.point_heading[segment + 1]
        heading = start + share * np.angle(np.exp(1j * (end - start)))
        turned[mine] = np.abs(np.angle(np.exp(1j * (waypoints.heading[mine] - heading))))
        width = road_map.point_width
        wider[mine] = np.abs(
            waypoints.width[mine] - width[segment] * (1 - share) - width[segment + 1] * share
        )
    lanes, same = compare_successors(road_map, points)
    return Parity(
        town=town,
        waypoints=len(lane),
        lanes=lanes,
        same_id=float(np.mean(known & (own <= nearest + ID_TOLERANCE))),
        distance_median=float(np.quantile(planar, 0.5, method="higher")),
        distance_p99=float(np.quantile(planar, 0.99, method="higher")),
        height_p99=float(np.quantile(height, 0.99, method="higher")),
        heading_p99=float(np.quantile(turned, 0.99, method="higher")),
        width_p99=float(np.quantile(wider, 0.99, method="higher")),
        same_successors=same / max(lanes, 1),
    )


def compare_successors(road_map: RoadMap, points: list[Any]) -> tuple[int, int]:
    """Driving lanes CARLA knows, and how many of them have the same successors in both."""
    row_of = {key: row for row, key in enumerate(lane_keys(road_map))}
    last: dict[LaneKey, tuple[float, Any]] = {}
    for point in points:
        key = waypoint_key(point)
        row = row_of.get(key)
        along = point.s if row is None or goes_with_s(road_map, row) else -point.s
        if key not in last or along > last[key][0]:
            last[key] = (along, point)
    same = 0
    for key, (_, point) in last.items():
        row = row_of.get(key)
        if row is None:
            continue
        ours = {r for r in road_map.successors_of(row) if road_map.lane_kind[r] == LaneKind.DRIVING}
        same += {row_of.get(k, -1) for k in carla_successors(point)} == ours
    return len(last), same


def goes_with_s(road_map: RoadMap, row: int) -> bool:
    """Whether the lane is driven towards growing s of its road."""
    return (road_map.lane_number[row] < 0) != road_map.left_hand


def carla_successors(point: Any) -> set[LaneKey]:
    """The lanes CARLA reaches across the end of ``point``'s lane."""
    key = waypoint_key(point)
    for step in (STRIDE, END_STEP):
        while True:
            following = point.next(step)
            if [waypoint_key(p) for p in following] != [key]:
                break
            point = following[0]
    return {waypoint_key(p) for p in following} - {key}


def table(rows: list[Parity]) -> str:
    """The figures of all towns as text."""
    lines = [
        "town      waypoints  lanes  same id  distance m       height m  heading rad  width m  "
        "successors",
        "                                     median     p99       p99          p99      p99",
    ]
    lines += [
        f"{r.town:<9} {r.waypoints:>9}  {r.lanes:>5}  {r.same_id:7.2%}  {r.distance_median:6.4f}  "
        f"{r.distance_p99:6.4f}    {r.height_p99:6.4f}     {r.heading_p99:8.5f}   "
        f"{r.width_p99:6.4f}     {r.same_successors:7.2%}"
        for r in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Compare the towns, print the table; 1 when a target is missed, 2 without maps or carla."""
    parser = argparse.ArgumentParser(description="OpenDRIVE reader against CARLA's parser")
    parser.add_argument(
        "--maps", type=Path, default=DEFAULT_MAPS, help="folder of TownNN.xodr[.gz]"
    )
    parser.add_argument("--towns", nargs="+", default=TOWNS)
    options = parser.parse_args(arguments)
    rows, missed = [], []
    for town in options.towns:
        path = find_map(options.maps, town)
        if path is None:
            print(f"no {town}.xodr or .xodr.gz in {options.maps}; name the folder with --maps")
            return 2
        try:
            world = carla_map(path)
        except ImportError:
            print("the package carla is missing; install roadloop[carla]")
            return 2
        rows.append(compare(read_opendrive(path), world, town))
        missed += [f"{town} misses: {target}" for target in rows[-1].missed()]
    print(table(rows))
    print("\n".join(missed) or "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
