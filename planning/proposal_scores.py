"""What proposals are worth: nuPlan's terms and a few more, for all proposals at once.

P proposals x T moments against A road users in M modes each. A collision, its fault and the time to
one are what `roadloop.scoring` calls so. As in PDM (Dauner et al., "Parting with Misconceptions
about Learning-based Vehicle Motion Planning", CoRL 2023) hard terms multiply and the others are
averaged. Over the modes of a forecast the mean of the worst share counts (conditional value at
risk): a mode of probability `WORST_SHARE` is taken as seriously as a certain one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from planning.forecast_boxes import FutureBoxes
from planning.proposals import Proposals
from roadloop.scoring.collision import BEHIND, STOPPED, time_to_collision
from roadloop.scoring.comfort import BOUNDS
from roadloop.scoring.navsim_motion import box_gap
from roadloop.scoring.nuplan import MIN_TTC
from roadloop.types import AgentStates, EgoState, VehicleParameters

Array = np.ndarray

WORST_SHARE = 0.35
"""of the probability over which the worst modes are averaged"""
CERTAIN = 2.0
"""s up to which a forecast collision counts fully"""
LAST_CERTAINTY = 0.4
"""what one at the end of the horizon counts"""
TTC_EVERY = 2
"""moments between those at which the time to collision is taken ..."""
TTC_UNTIL = 3.2
"""s, ... and the last of them"""
LIKELY = 0.2
"""probability from which a mode counts for the time to collision"""
TTC_FREE = 1.3
"""s of time to collision that costs nothing"""
SIDE_NEED = (0.25, 0.03)
"""m, and m per m/s: room to others that costs nothing"""
RISKS = ("no collision", "right of way", "drivable area")
"""hard terms: they multiply"""


@dataclass(frozen=True)
class Weights:
    """Of the terms that are averaged; nuPlan's where it has them."""

    progress: float = 5.0
    time_to_collision: float = 5.0
    comfort: float = 2.0
    clearance: float = 1.5
    headway: float = 1.0
    lane_keeping: float = 0.5
    stability: float = 0.5


@dataclass(frozen=True)
class Surroundings:
    """What proposals are held against, beside road users; fields ``(P, T)``."""

    speed_limit: Array
    """m/s where each proposal is"""
    own_half: Array
    """m, half the width of the lane the path is on"""
    opposite_left: Array
    """bool, what is left of the lane is oncoming"""
    opposite_right: Array
    room_left: Array
    """m from the path to the left edge of what may be driven on"""
    room_right: Array
    in_junction: Array
    """bool"""


@dataclass(frozen=True)
class Encounters:
    """How proposals meet road users."""

    risk: Array
    """(P, A) 0 no collision, 1 a certain one"""
    first: Array
    """(P, A) s until the first collision of any mode, inf where there is none"""
    room: Array
    """(P,) m between the ego and the nearest road user that is not behind"""


def exposed(
    proposals: Proposals, around: Surroundings, vehicle: VehicleParameters, margin: float = 0.2
) -> Array:
    """(P, T) bool: where standing does not help, inside junctions and with a corner over the middle
    line or less than ``margin`` m away from it."""
    nose = (vehicle.length - vehicle.rear_overhang) * np.sin(proposals.turned)
    reach = vehicle.width / 2.0 + margin
    left = (proposals.d + np.maximum(nose, 0.0) + reach > around.own_half) & around.opposite_left
    right = (reach - proposals.d - np.minimum(nose, 0.0) > around.own_half) & around.opposite_right
    return left | right | around.in_junction


def encounters(
    proposals: Proposals, boxes: FutureBoxes, vehicle: VehicleParameters, in_the_open: Array
) -> Encounters:
    """Collisions that are the ego's fault, and the room left; ``boxes`` at the proposals' times.

    Who touches the ego already and who comes from behind is left out, and who hits a standing ego
    except where it is ``in_the_open`` (P, T), see `exposed`: nuPlan would forgive it that, others
    would not.
    """
    count, agents = len(proposals.s), len(boxes)
    first = np.full((count, agents), np.inf)
    risk, room = np.zeros((count, agents)), np.full(count, np.inf)
    if agents == 0:
        return Encounters(risk, first, room)
    ahead = vehicle.centre_offset
    x = proposals.x + ahead * np.cos(proposals.heading)
    y = proposals.y + ahead * np.sin(proposals.heading)
    dx, dy = boxes.x[None] - x[:, None, None, :], boxes.y[None] - y[:, None, None, :]
    reach = 0.5 * np.hypot(vehicle.length, vehicle.width)
    reach = reach + 0.5 * np.hypot(boxes.length, boxes.width) + 1.0
    p, a, m, k = np.nonzero(dx * dx + dy * dy < reach * reach)
    if len(p) == 0:
        return Encounters(risk, first, room)
    pair = a, m, k
    gap_x, gap_y, mine = dx[p, a, m, k], dy[p, a, m, k], proposals.heading[p, k]
    gap = box_gap(
        gap_x, gap_y, mine, vehicle.length, vehicle.width,
        boxes.heading[pair], boxes.length[pair], boxes.width[pair],
    )  # fmt: skip
    along = np.cos(mine) * gap_x + np.sin(mine) * gap_y + ahead  # from the rear axle
    aside = np.cos(mine) * gap_y - np.sin(mine) * gap_x
    behind = np.abs(np.arctan2(aside, along)) > BEHIND
    standing = (proposals.v[p, k] <= STOPPED) & ~in_the_open[p, k]
    now = np.zeros(agents, dtype=bool)
    now[a[(k == 0) & (gap <= 0.0)]] = True
    counts = ~now[a]
    early = counts & ~behind & ~standing & (proposals.t[k] <= 2.5)
    np.minimum.at(room, p[early], gap[early])
    touch = np.flatnonzero(counts & (gap <= 0.0))
    if len(touch) == 0:
        return Encounters(risk, first, room)
    key = (p[touch] * agents + a[touch]) * boxes.weight.shape[1] + m[touch]
    _, earliest = np.unique(key, return_index=True)  # times ascend within a key
    hit = touch[earliest]
    hit = hit[~behind[hit] & ~standing[hit]]
    when = proposals.t[k[hit]]
    fade = np.clip((when - CERTAIN) / max(float(proposals.t[-1]) - CERTAIN, 0.1), 0.0, 1.0)
    np.add.at(risk, (p[hit], a[hit]), boxes.weight[a[hit], m[hit]] / WORST_SHARE)
    np.minimum.at(first, (p[hit], a[hit]), when)
    soonest = np.zeros_like(risk)
    np.maximum.at(soonest, (p[hit], a[hit]), 1.0 - fade * (1.0 - LAST_CERTAINTY))
    return Encounters(np.minimum(risk, 1.0) * soonest, first, room)


def least_ttc(
    proposals: Proposals,
    boxes: FutureBoxes,
    vehicle: VehicleParameters,
    around: Surroundings,
) -> Array:
    """``(P, moments)`` s of time to collision along each proposal, every `TTC_EVERY` th moment."""
    moments = np.arange(TTC_EVERY, np.searchsorted(proposals.t, TTC_UNTIL + 1e-9), TTC_EVERY)
    count = len(proposals.s)
    if len(boxes) == 0:
        return np.full((count, len(moments)), np.inf)
    a, m = np.nonzero(boxes.weight >= LIKELY)
    rows, columns = count * len(moments), len(a)

    def mine(values: Array) -> Array:
        return values[:, moments].reshape(rows)

    def theirs(values: Array) -> Array:
        picked = values[a, m][:, moments].T  # (moments, columns)
        return np.broadcast_to(picked, (count, *picked.shape)).reshape(rows, columns)

    nothing = np.zeros(rows)
    ego = EgoState(
        mine(proposals.x), mine(proposals.y), nothing, mine(proposals.heading),
        mine(proposals.v), nothing, nothing, nothing, vehicle,
    )  # fmt: skip
    flat = np.zeros((1, columns))
    agents = AgentStates(
        id=np.broadcast_to(np.arange(columns), (rows, columns)),
        kind=np.broadcast_to(boxes.kind[a], (rows, columns)),
        x=theirs(boxes.x), y=theirs(boxes.y), z=flat, heading=theirs(boxes.heading),
        vx=theirs(boxes.vx), vy=theirs(boxes.vy),
        length=np.broadcast_to(boxes.length[a, m, 0], (rows, columns)),
        width=np.broadcast_to(boxes.width[a, m, 0], (rows, columns)),
        height=flat, valid=np.ones((1, columns), dtype=bool),
    )  # fmt: skip
    half = around.own_half[:, moments].reshape(rows) - vehicle.width / 2.0
    in_lane = np.abs(mine(proposals.d)) <= half
    ttc = time_to_collision(
        ego, agents, (), in_lane, around.in_junction[:, moments].reshape(rows),
        along_heading=False, in_line=True,
    )  # fmt: skip
    return ttc.reshape(count, len(moments))


def score_proposals(
    proposals: Proposals,
    met: Encounters,
    ttc: Array,
    around: Surroundings,
    right_of_way: Array,
    headway: Array,
    steady: Array,
    weights: Weights,
    vehicle: VehicleParameters,
) -> tuple[dict[str, Array], Array]:
    """Terms by name and the score, all ``(P,)`` in [0, 1].

    ``right_of_way``, ``headway`` and ``steady`` ``(P,)`` in [0, 1] are terms that are known
    already: whether the law is kept, room behind leaders, and whether the last choice is kept to.
    """
    count, dt = len(proposals.s), float(proposals.t[1] - proposals.t[0])
    travelled = proposals.s[:, -1] - proposals.s[:, 0]
    possible = np.maximum(around.speed_limit[:, 0] * proposals.t[-1], 5.0)
    half = vehicle.width / 2.0
    outside = np.maximum(
        proposals.d + half - around.room_left, -proposals.d + half - around.room_right
    ).max(axis=1)

    fade = np.clip(1.25 - TTC_EVERY * dt * (1 + np.arange(ttc.shape[1])) / 6.0, 0.5, 1.0)
    near = np.clip((TTC_FREE - ttc) / (TTC_FREE - MIN_TTC), 0.0, 1.0)
    safe_time = 1.0 - (near * fade).max(axis=1, initial=0.0)

    low, high, _ = BOUNDS["longitudinal acceleration"]
    jerk_bound = BOUNDS["longitudinal jerk"][1]
    excess = np.maximum(low - proposals.a, proposals.a - high).max(axis=1)
    # over two steps: the tracking controller smooths what is shorter
    jerk = np.abs(proposals.a[:, 2:] - proposals.a[:, :-2]) / (2.0 * dt)
    # coming to rest ends the braking at once, which no bound on plans can change
    jerk = np.where(proposals.v[:, 2:] > 0.3, jerk, 0.0).max(axis=1) - jerk_bound
    sideways = (proposals.v**2 * np.abs(proposals.bend)).max(axis=1)
    sideways = sideways - BOUNDS["lateral acceleration"][1]
    rough = np.maximum(np.maximum(excess, jerk / 2.0), sideways)
    comfort = np.where(rough > 0.0, np.clip(0.5 - 0.25 * rough, 0.0, 0.5), 1.0)

    need = SIDE_NEED[0] + SIDE_NEED[1] * proposals.v[:, 0]
    terms = {
        "no collision": 1.0 - met.risk.max(axis=1, initial=0.0),
        "right of way": right_of_way,
        # above 0: where every proposal breaks them, the others still decide
        "drivable area": np.where(outside > 0.05, 0.3, 1.0),
        "progress": np.clip(travelled / possible, 0.0, 1.0),
        "time to collision": safe_time,
        "comfort": comfort,
        "clearance": np.clip(met.room / need, 0.0, 1.0),
        "headway": headway,
        "lane keeping": np.clip(1.0 - np.abs(proposals.d).mean(axis=1) / 2.0, 0.0, 1.0),
        "stability": steady,
    }
    return terms, weighted(terms, weights, count)


def weighted(terms: Mapping[str, Array], weights: Weights, count: int) -> Array:
    """Product of the hard terms times the weighted mean of the others, ``(P,)``."""
    factor, total, weight = np.ones(count), np.zeros(count), 0.0
    for name, values in terms.items():
        if name in RISKS:
            factor = factor * values
            continue
        share = getattr(weights, name.replace(" ", "_"))
        total, weight = total + share * values, weight + share
    return factor * total / weight


def loss_shares(weights: Weights) -> dict[str, float]:
    """Share of the score that is lost where one term alone falls from 1 to 0, by name."""
    soft = {f.name.replace("_", " "): getattr(weights, f.name) for f in fields(weights)}
    total = sum(soft.values())
    return dict.fromkeys(RISKS, 1.0) | {name: value / total for name, value in soft.items()}
