"""What NAVSIM judges proposals against: one moment with its map areas, route and other road users.

A `PdmScene` can come from anywhere; ``pdm_scene`` makes one of a step of our own rollouts. The set
of layers and the sampling are NAVSIM's (``PDMDrivableMap``, ``PDMObservation``, ``PDMPath`` of its
``planning/simulation/planner/pdm_planner``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.path import route_path
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.scoring.area_map import AreaMap, area_map_of, lanes_near
from roadloop.scoring.collision import with_parked_vehicles
from roadloop.scoring.pdm_tracker import REFERENCE_VEHICLE, State, principal_value
from roadloop.scoring.rules import RED, stop_kinds
from roadloop.types import AgentStates, Rollout, VehicleParameters, at

Array = np.ndarray

DT = 0.1
"""s per step of a scene, of its proposals and of everything behind the scores"""
STEPS = 41
"""states per proposal: now and the next 4 s"""
OBSERVED_V1 = 50
"""steps of other road users v1 needs: its time to collision looks 0.9 s beyond the horizon"""
OBSERVED = 51
"""steps of other road users NAVSIM keeps, 5 s"""
REACH = 100.0
"""m around the ego, the part of the map that is looked at"""
PAST_TIMES = np.round(np.arange(-1.5, -0.15, 0.1), 10)
"""s, the 14 samples of the past; that at -0.1 s is missing in NAVSIM as well"""
HISTORY_TIMES = (-1.5, -1.0, -0.5, 0.0)
"""s, where a NAVSIM log knows the past (2 Hz)"""
_ROUTE_BEHIND = 30.0
"""m of centreline kept behind the ego"""
_ROUTE_AHEAD = 250.0
"""m of centreline kept before the ego: 4 s at more than 220 km/h"""


@dataclass(frozen=True, eq=False)
class PdmScene:
    """One moment and the seconds after it. L lanes, N road users, T steps of ``DT``."""

    lane_polygon: Array
    """(L,) object, shapely polygons of lanes and lane connectors"""
    lane_on_route: Array
    """(L,) bool"""
    drivable: Array
    """(areas,) object: roadblocks, intersections, car parks"""
    intersections: Array
    """(areas,) object"""
    centreline: Array
    """(points, 2) along the route, in the direction of travel"""
    start: Array
    """(11,) the ego now, a row of the columns in ``State``"""
    agents: AgentStates
    """(T, N) other road users; STATIC are things (cones, barriers), every other kind an agent"""
    red: Array
    """(T, L) bool, the lane connector's light is red"""
    past: Array | None = None
    """(14, 11) states at ``PAST_TIMES``; None leaves comfort unjudged"""
    vehicle: VehicleParameters = field(default=REFERENCE_VEHICLE)

    def __post_init__(self) -> None:
        steps, lanes = len(self.agents.x), len(self.lane_polygon)
        if self.agents.x.ndim != 2 or steps < STEPS:
            raise RoadloopError(
                f"scene: agents have shape {self.agents.x.shape}; give (steps, agents) with at "
                f"least {STEPS} steps of {DT} s"
            )
        if self.red.shape != (steps, lanes) or self.lane_on_route.shape != (lanes,):
            raise RoadloopError(
                f"scene: red has shape {self.red.shape} and lane_on_route "
                f"{self.lane_on_route.shape}; give ({steps}, {lanes}) and ({lanes},)"
            )
        if self.start.shape != (len(State),) or not np.isfinite(self.start).all():
            raise RoadloopError(f"scene: start must be {len(State)} finite numbers; see State")
        line = self.centreline
        if line.ndim != 2 or line.shape[1] != 2 or len(line) < 2 or not np.isfinite(line).all():
            raise RoadloopError(
                f"scene: centreline of shape {line.shape}; give (points, 2), finite, 2 or more"
            )
        past_shape = (len(PAST_TIMES), len(State))
        if self.past is not None and (
            self.past.shape != past_shape or not np.isfinite(self.past).all()
        ):
            raise RoadloopError(f"scene: past must be {past_shape} finite numbers, or None")
        agents = self.agents
        for name in ("x", "y", "heading", "vx", "vy", "length", "width"):
            if not np.isfinite(getattr(agents, name)[agents.valid]).all():
                raise RoadloopError(
                    f"scene: {name} of an agent is not finite where it is valid; mask it out"
                )


def past_states(times: Array, states: Array) -> Array:
    """(14, 11) states at ``PAST_TIMES`` from a sparse history ``(H, 11)`` at ``times``, s up to 0.

    Linear in every column, headings unwrapped. As in NAVSIM steering rate, yaw rate and yaw
    acceleration are 0. Raises RoadloopError where the history does not reach back to -1.5 s.
    """
    times, states = np.asarray(times, np.float64), np.asarray(states, np.float64)
    if not len(times) or times[0] > PAST_TIMES[0] + 1e-6 or times[-1] < PAST_TIMES[-1] - 1e-6:
        raise RoadloopError("history does not cover -1.5 to -0.2 s: give it longer, or none at all")
    unwrapped = states.copy()
    unwrapped[:, State.HEADING] = np.unwrap(states[:, State.HEADING])
    past = np.stack([np.interp(PAST_TIMES, times, column) for column in unwrapped.T], axis=1)
    past[:, State.HEADING] = principal_value(past[:, State.HEADING])
    past[:, [State.STEERING_RATE, State.YAW_RATE, State.YAW_ACCELERATION]] = 0.0
    return past


def reference_poses(start: Array, poses: Array, spacing: float = 0.5) -> Array:
    """World-frame poses every 0.1 s ``(P, 5 n + 1, 3)`` from the ``(P, n, 3)`` an agent returns.

    ``poses`` are x, y, heading of the rear axle in the ego frame of ``start``, at ``spacing`` s,
    2 ``spacing`` ... (NAVSIM: 8 poses, 0.5 to 4 s). The present pose is put before them, between
    poses they are interpolated linearly, headings along the shorter way.
    """
    poses = np.asarray(poses, np.float64)
    every = round(spacing / DT)
    if poses.ndim != 3 or poses.shape[2] != 3 or not poses.shape[1]:
        raise RoadloopError(f"poses have shape {poses.shape}: give (proposals, poses, 3)")
    if every < 1 or abs(every * DT - spacing) > 1e-9:
        raise RoadloopError(f"pose spacing {spacing} s is no multiple of {DT} s; resample them")
    x, y, heading = start[[State.X, State.Y, State.HEADING]]
    cos, sin = np.cos(heading), np.sin(heading)
    world = np.zeros((len(poses), poses.shape[1] + 1, 3))
    world[:, 0] = x, y, heading
    world[:, 1:, 0] = x + poses[..., 0] * cos - poses[..., 1] * sin
    world[:, 1:, 1] = y + poses[..., 0] * sin + poses[..., 1] * cos
    world[:, 1:, 2] = heading + poses[..., 2]
    world[..., 2] = np.unwrap(world[..., 2], axis=1)
    step = np.arange(poses.shape[1] * every + 1)
    row = np.minimum(step // every, poses.shape[1] - 1)
    share = (step / every - row)[:, None]
    dense = world[:, row] * (1.0 - share) + world[:, row + 1] * share
    dense[..., 2] = principal_value(dense[..., 2])
    return dense


def without_overlapping_agents(scene: PdmScene) -> PdmScene:
    """The scene without road users whose box touches the ego's now.

    What NAVSIM 2's log-replay traffic does: recorded boxes overlap by annotation error.
    """
    import shapely

    vehicle, heading = scene.vehicle, scene.start[State.HEADING]
    ahead = np.array([np.cos(heading), np.sin(heading)]) * vehicle.centre_offset
    centre = scene.start[[State.X, State.Y]] + ahead
    ego = shapely.Polygon(nuplan_corners(centre, heading, vehicle.length, vehicle.width))
    kept = np.ones(scene.agents.x.shape[1], dtype=bool)
    present = np.flatnonzero(scene.agents.valid[0])
    boxes = agent_polygons(scene.agents, np.zeros_like(present), present)
    kept[present] = ~shapely.intersects(ego, boxes)
    return replace(scene, agents=at(scene.agents, (slice(None), kept)))


def agent_polygons(agents: AgentStates, step: Array, agent: Array) -> Array:
    """(n,) shapely polygons of road users' boxes at steps ``(n,)``."""
    import shapely

    which = step, agent
    centre = np.stack([agents.x[which], agents.y[which]], axis=-1)
    size = agents.length[which], agents.width[which]
    return np.asarray(shapely.polygons(nuplan_corners(centre, agents.heading[which], *size)))


def nuplan_corners(
    centre: Array, heading: Array, length: Array | float, width: Array | float
) -> Array:
    """(..., 4, 2) front and rear left, rear and front right corners of boxes at (..., 2).

    The same bits as nuPlan's and NAVSIM's, which take the direction to the left by cosine and sine
    of the heading plus pi / 2: where boxes just touch and where a bearing is just 0 they decide.
    """
    left = heading + np.pi / 2.0
    ahead_x, ahead_y = np.cos(heading) * (length / 2.0), np.sin(heading) * (length / 2.0)
    left_x, left_y = np.cos(left) * (width / 2.0), np.sin(left) * (width / 2.0)
    corners = np.empty((*heading.shape, 4, 2))
    for row, (lon, lat) in enumerate(((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))):
        corners[..., row, 0] = centre[..., 0] + (lat * left_x + lon * ahead_x)
        corners[..., row, 1] = centre[..., 1] + (lat * left_y + lon * ahead_y)
    return corners


# --- from our rollouts --------------------------------------------------------------------------


def pdm_scene(rollout: Rollout, road_map: RoadMap, step: int, *, history: bool = True) -> PdmScene:
    """The scene at ``step`` of a rollout: what was recorded of the following 4 to 5 s.

    Other road users replay the recording. On route are the lanes of the route and those beside them
    in the same direction; the centreline is the route's curve. ``history=False`` leaves the past
    out, for steps less than 1.5 s after the start. The ego's lateral acceleration is taken as 0,
    as the vehicle model of the scores has it.

    Raises RoadloopError where fewer than 4 s remain (41 steps at 10 Hz), where the past is too
    short, for a rollout of another map and for a time step that does not divide 0.1 s.
    """
    every = round(DT / rollout.dt)
    if every < 1 or abs(every * rollout.dt - DT) > 1e-9:
        raise RoadloopError(
            f"rollout {rollout.scenario}: its step of {rollout.dt} s does not divide {DT} s; "
            "record at 10, 20 or 50 Hz"
        )
    if rollout.map_hash != road_map.content_hash:
        raise RoadloopError(
            f"rollout {rollout.scenario} was driven on map {rollout.map_name} of another content "
            f"than {road_map.name}; load the map it was driven on"
        )
    count = len(rollout.time)
    if not 0 <= step < count or (count - 1 - step) // every + 1 < STEPS:
        raise RoadloopError(
            f"rollout {rollout.scenario}: {STEPS} steps of {DT} s must follow step {step}, it has "
            f"{max(count - step, 0)} of {rollout.dt} s; choose an earlier step"
        )
    back = round(-HISTORY_TIMES[0] / rollout.dt)
    if history and step < back:
        raise RoadloopError(
            f"rollout {rollout.scenario}: step {step} has less than 1.5 s behind it; choose step "
            f"{back} or later, or history=False, which leaves comfort unjudged"
        )
    past = None
    if history:
        rows = step + np.round(np.array(HISTORY_TIMES) / rollout.dt).astype(int)
        past = past_states(np.array(HISTORY_TIMES), _state_rows(rollout, rows, every))

    ego = rollout.ego
    here = np.array([[ego.x[step], ego.y[step], ego.z[step]]])
    near = lanes_near(road_map, here, REACH)
    if not road_map.is_travel[near].any():
        raise RoadloopError(
            f"rollout {rollout.scenario}: no lane within {REACH:g} m at step {step}; choose a step "
            "on the map"
        )
    areas = area_map_of(road_map, near)
    index = areas.lane_id.astype(np.int64)
    steps = step + every * np.arange(min(OBSERVED, (count - 1 - step) // every + 1))
    return PdmScene(
        lane_polygon=areas.lane_polygon,
        lane_on_route=_on_route(areas, index, rollout),
        drivable=areas.drivable,
        intersections=areas.intersections,
        centreline=_centreline(rollout, road_map, step),
        start=_state_rows(rollout, np.array([step]), every)[0],
        agents=_agents(rollout, steps),
        red=_red(rollout, road_map, steps, index),
        past=past,
        vehicle=ego.vehicle,
    )


def _state_rows(rollout: Rollout, rows: Array, every: int) -> Array:
    """(n, 11) recorded states; yaw acceleration as the backward difference over 0.1 s."""
    ego, before = rollout.ego, np.maximum(rows - every, 0)
    states = np.zeros((len(rows), len(State)))
    states[:, State.X], states[:, State.Y] = ego.x[rows], ego.y[rows]
    states[:, State.HEADING], states[:, State.SPEED] = ego.heading[rows], ego.speed[rows]
    states[:, State.ACCELERATION] = ego.acceleration[rows]
    states[:, State.STEERING], states[:, State.YAW_RATE] = ego.steering[rows], ego.yaw_rate[rows]
    states[:, State.YAW_ACCELERATION] = (ego.yaw_rate[rows] - ego.yaw_rate[before]) / DT
    return states


def _agents(rollout: Rollout, steps: Array) -> AgentStates:
    """(T, N) the recorded road users; NAVSIM counts parked vehicles as vehicles."""
    return with_parked_vehicles(at(rollout.agents, steps))


def _on_route(areas: AreaMap, index: Array, rollout: Rollout) -> Array:
    """(L,) bool: of the route, or in one roadblock with a lane of it, as NAVSIM's routes go."""
    route = np.isin(index, rollout.route.lanes)
    return np.isin(areas.lane_roadblock, areas.lane_roadblock[route])


def _centreline(rollout: Rollout, road_map: RoadMap, step: int) -> Array:
    """(points, 2) the route's curve around where the ego is; followed from the start of the drive,
    because a route may meet itself."""
    path = route_path(road_map, rollout.route)
    stride = max(round(0.5 / rollout.dt), 1)
    s = float(path.project(rollout.ego.x[0], rollout.ego.y[0], 0.0)[0])
    for k in [*range(stride, step, stride), step]:
        s = float(path.project(rollout.ego.x[k], rollout.ego.y[k], s)[0])
    kept = (path.s >= s - _ROUTE_BEHIND) & (path.s <= s + _ROUTE_AHEAD)
    return path.xyz[kept, :2]


def _red(rollout: Rollout, road_map: RoadMap, steps: Array, index: Array) -> Array:
    """(T, L) bool: the lane is in a junction and behind a line whose light is red."""
    place = {int(lane): row for row, lane in enumerate(index)}
    red = np.zeros((len(steps), len(index)), dtype=bool)
    stops = np.flatnonzero(stop_kinds(road_map) == SignalKind.TRAFFIC_LIGHT)
    for stop in stops.tolist():
        lanes = _behind_line(road_map, int(road_map.stop_lane[stop]))
        rows = [place[lane] for lane in lanes if lane in place]
        if rows:
            state = rollout.lights[steps, road_map.stop_signal[stop]]
            red[:, rows] |= np.isin(state, RED)[:, None]
    return red


def _behind_line(road_map: RoadMap, lane: int) -> list[int]:
    """Lanes in the junction that a stop line on ``lane`` guards."""
    inside = road_map.lane_junction[lane] >= 0
    ahead = [lane] if inside else road_map.successors_of(lane).tolist()
    found: list[int] = []
    while ahead:
        lane = int(ahead.pop())
        junction = int(road_map.lane_junction[found[0] if found else lane])
        if junction >= 0 and road_map.lane_junction[lane] == junction and lane not in found:
            found.append(lane)
            ahead += road_map.successors_of(lane).tolist()
    return found
