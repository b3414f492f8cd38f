"""Traffic-light programmes: which light is green when.

Every junction runs a fixed-time cycle. Its lights form groups that switch together (the file's
controllers; where it names none, approaches that face each other). Groups get green in turn:
green, yellow, all red. Green is 12 s plus a little per lane; yellow lasts long enough to stop
comfortably from the speed limit, between 3 and 6 s (as traffic engineers set it: 1 s reaction plus
v / (2 * 3.5 m/s^2)); all red lets the junction clear.
"""

from __future__ import annotations

import numpy as np
import warp as wp

from roadloop.geometry import wrap_angle
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import LightProgramme, LightState
from sim.state import LightTiming

GREEN = 14.0
"""s"""
ALL_RED = 2.0
"""s between one group's yellow and the next one's green"""


def light_programme(road_map: RoadMap, seed: int = 0) -> LightProgramme:
    """The programmes of a map's signals.

    The seed shifts each junction's cycle, so that junctions are not in step. Signals that are no
    lights are OFF for ever.
    """
    n = len(road_map.signal_id)
    timing = np.zeros((n, 5))
    lights = np.flatnonzero(road_map.signal_kind == SignalKind.TRAFFIC_LIGHT)
    rng = np.random.default_rng([seed, 0x11647])
    junction = _junction_of(road_map, lights)
    for j in np.unique(junction):
        members = lights[junction == j]
        groups = _groups(road_map, members)
        yellow = np.array(
            [_yellow(road_map, members[groups == k]) for k in range(groups.max() + 1)]
        )
        start = np.concatenate([[0.0], np.cumsum(GREEN + yellow + ALL_RED)])
        if len(yellow) == 1:  # a lone light (pedestrian crossing, road works) must have a red phase
            start[-1] += GREEN
        offset = rng.uniform(0.0, start[-1])
        for member, group in zip(members, groups, strict=True):
            timing[member] = (
                start[-1],
                offset,
                start[group],
                start[group] + GREEN,
                start[group] + GREEN + yellow[group],
            )
    return LightProgramme(*timing.T, fixed=np.full(n, LightState.OFF, np.uint8))


def _junction_of(m: RoadMap, lights: np.ndarray) -> np.ndarray:
    """(n,) a number per light that is equal for lights of one junction."""
    junction = m.signal_junction[lights].astype(np.int64)
    for k, light in enumerate(lights):
        if junction[k] >= 0:
            continue
        # Not said by the file: the junction its lanes belong to or lead into.
        for lane in m.stop_lane[m.stop_signal == light]:
            reach = [lane, *m.successors_of(lane)]
            inside = [m.lane_junction[q] for q in reach if m.lane_junction[q] >= 0]
            if inside:
                junction[k] = inside[0]
                break
        else:
            junction[k] = len(m.junction_id) + light  # a light on its own
    return junction


def _groups(m: RoadMap, lights: np.ndarray) -> np.ndarray:
    """(n,) group index per light, 0 first: by controller, else by facing axis."""
    controller = m.signal_controller[lights]
    if (controller >= 0).all():
        return np.unique(controller, return_inverse=True)[1]
    groups = np.full(len(lights), -1)
    for k, light in enumerate(lights):
        if groups[k] < 0:
            turn = wrap_angle(m.signal_heading[lights] - m.signal_heading[light])
            facing = (np.abs(turn) < 0.5) | (np.abs(turn) > np.pi - 0.5)
            groups[(groups < 0) & facing] = groups.max() + 1
    return groups


def _yellow(m: RoadMap, lights: np.ndarray) -> float:
    lanes = m.stop_lane[np.isin(m.stop_signal, lights)]
    limits = [m.lane_speed_limit[lane] for lane in lanes]
    limits += [m.lane_speed_limit[p] for lane in lanes for p in m.predecessors_of(lane)]
    return float(np.clip(1.0 + max(limits, default=13.9) / 7.0, 3.0, 6.0))


@wp.func
def light_state(t: LightTiming, record: wp.array(dtype=wp.int32), step: wp.int32, time: wp.float32):
    """LightState (as int) of a light at ``step``, which is at ``time`` s."""
    if t.records > 0:
        return record[t.record + wp.min(step, t.records - 1)]
    if t.cycle <= 0.0:
        return t.fixed
    phase = time + t.offset
    phase = phase - wp.floor(phase / t.cycle) * t.cycle
    if phase < t.green:
        return 1  # LightState.RED
    if phase < t.yellow:
        return 4  # LightState.GREEN
    if phase < t.red:
        return 3  # LightState.YELLOW
    return 1
