"""The simulator's state: Warp arrays of shape (worlds, agents), one record per road user.

``SimState`` is data: a step makes a new one and leaves the old one as it was. On the CPU
``state.agents.numpy()`` is a structured NumPy view without a copy: ``["x"]``, ``["speed"]`` ...
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from roadloop.types import Scenario
from sim.lane_graph import LaneGraph

AHEAD = 8
"""lanes of its path an agent looks at, the present one first"""

lane_chain = wp.types.vector(length=AHEAD, dtype=wp.int32)

# Bits of SimState.events, what happened in the step that led to this state.
HIT = wp.constant(1)  # boxes overlap; SimState.hit says with whom
OFF_ROAD = wp.constant(2)  # a corner is off the road surface
WRONG_WAY = wp.constant(4)  # driving against every lane under the box centre
RED_LIGHT = wp.constant(8)  # the front bumper crossed the stop line of a red light
LEFT_MAP = wp.constant(16)  # drove off the end of a lane that leads nowhere


@wp.struct
class Agent:
    """What changes. Position in map coordinates (float64), everything else float32, SI."""

    x: wp.float64  # box centre
    y: wp.float64
    z: wp.float32  # ground under it; bridges and the roads below them are told apart by it
    heading: wp.float32
    cos: wp.float32  # of the heading
    sin: wp.float32
    speed: wp.float32  # along the heading
    acceleration: wp.float32
    steering: wp.float32
    yaw_rate: wp.float32
    valid: wp.int32
    lane: wp.int32  # lane it follows, -1: none (walker, off the road)
    s: wp.float32  # of the box centre along it
    lateral: wp.float32  # left of its centreline
    ahead: lane_chain  # lanes it will follow, ahead[0] == lane, -1 padded
    hop: wp.int32  # how many lanes of its fixed route are already in `ahead`
    from_lane: wp.int32  # lane it is leaving in a lane change, -1
    from_s: wp.float32
    change: wp.float32  # progress of the lane change in [0, 1]
    change_lateral: wp.float32  # lateral offset when the lane change began
    change_wait: wp.float32  # s until it may think of another one
    granted: wp.int32  # junction lane it has cleared itself to enter, -1
    stopping: wp.int32  # signal it has decided to stop for on yellow, -1
    stopped_for: wp.int32  # lane whose stop sign it has stopped for, -1
    waited: wp.float32  # s at a standstill
    draws: wp.int32  # random numbers used so far
    script: wp.float32  # s since its scripted action began, -1: not yet
    walking: wp.int32  # walker: 0 waits at its start, 1 walks over, 2 waits there, 3 walks back
    walk_wait: wp.float32  # s left to wait at the kerb; on the way: s it was blocked
    leader: wp.int32  # whom it follows or waits for, -1
    along: wp.float32  # reactive: m driven of its recorded path, below 0 once it has left it
    row: wp.int32  # reactive: step of its record at that place


@wp.struct
class Traits:
    """What stays. From Scenario.agents; agent 0 of a world is the ego."""

    kind: wp.int32
    behaviour: wp.int32
    wanders: wp.int32  # 1: no fixed route
    controlled: wp.int32  # 1: moved by the caller's controls
    seed: wp.int32
    length: wp.float32
    width: wp.float32
    height: wp.float32
    wheelbase: wp.float32
    centre_offset: wp.float32  # rear axle to box centre
    max_steering: wp.float32
    max_steering_rate: wp.float32
    turning: wp.float32  # 1/m, the tightest corner it chooses to drive
    max_acceleration: wp.float32
    max_deceleration: wp.float32
    steering_lag: wp.float32
    acceleration_lag: wp.float32
    steering_blend: wp.float32  # share of a command the actuator follows in a step
    acceleration_blend: wp.float32
    grip: wp.float32  # m/s^2, friction * g
    speed_factor: wp.float32
    max_speed: wp.float32
    headway: wp.float32
    min_gap: wp.float32
    a: wp.float32  # IDM maximum acceleration
    b: wp.float32  # IDM comfortable deceleration
    root_ab: wp.float32  # 2 sqrt(a b)
    politeness: wp.float32
    lateral_offset: wp.float32
    walk_x0: wp.float64
    walk_y0: wp.float64
    walk_x1: wp.float64
    walk_y1: wp.float64
    trigger: wp.int32
    trigger_value: wp.float32
    action: wp.int32
    action_rate: wp.float32
    action_hold: wp.float32
    replay: wp.int32  # first of its rows in Fixed.replay
    replay_steps: wp.int32


@wp.struct
class Pose:
    """Where a replayed agent's box centre is at one step; x is NaN while it is not there."""

    x: wp.float64
    y: wp.float64
    heading: wp.float32
    speed: wp.float32
    along: wp.float32  # m of its path so far; standing still adds nothing


@wp.struct
class LightTiming:
    """A fixed-time programme: green from ``green`` to ``yellow``, red from ``red``, in s of cycle.

    A cycle of 0 holds the light at ``fixed`` (a LightState).
    """

    cycle: wp.float32
    offset: wp.float32
    green: wp.float32
    yellow: wp.float32
    red: wp.float32
    fixed: wp.int32
    record: wp.int32  # first of its rows in Fixed.light_record
    records: wp.int32  # 0: it runs its programme


@dataclass(frozen=True)
class Fixed:
    """What a batch of worlds keeps from reset to the end, or until some of them are restarted."""

    scenarios: tuple[Scenario, ...]
    dt: float
    graph: LaneGraph
    traits: wp.array
    """(worlds, agents) Traits"""
    route: wp.array
    """(worlds, agents, hops) int32 lanes, -1 padded"""
    timing: wp.array
    """(worlds, signals) LightTiming"""
    replay: wp.array
    """(poses,) Pose: the motions of all replayed agents, one after the other; never empty"""
    light_record: wp.array
    """(states,) int32 LightState of all recorded lights, one after the other; never empty"""
    ids: np.ndarray
    """(worlds, agents) int64, the agents' ids in their scenario; the ego's is 0"""
    begun: wp.array
    """(worlds,) int32, the batch's step at which each world's scenario began: its clock shows
    ``SimState.step - begun`` steps; 0 but for worlds that were restarted"""


@dataclass(frozen=True)
class SimState:
    """One moment of all worlds."""

    fixed: Fixed
    step: int
    """steps since the batch was reset"""
    agents: wp.array
    """(worlds, agents) Agent"""
    lights: wp.array
    """(worlds, signals) int32 LightState; shape (worlds, 1) on a map without signals"""
    events: wp.array
    """(worlds, agents) int32 event bits of the step that led here"""
    hit: wp.array
    """(worlds, agents) int32 index of the agent it overlaps, -1"""
