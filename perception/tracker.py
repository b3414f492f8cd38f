"""Detections of many moments to road users with identity, velocity and a reason to exist.

Every moment: predict, assign detections to tracks (strong ones first, then weak ones to who is left
over), update, weigh who exists, start, merge and end tracks. All steps run over all tracks at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception import heading as headings_of
from perception import kalman
from perception.association import CLASS_COSTS, assign, distances, labels, overlapping
from perception.detector_config import BevGrid, ObjectClass
from perception.occlusion import visible_share
from perception.percept import Percept
from perception.track_table import (
    MOMENTARY,
    TRACK,
    boxes_of,
    facing_of,
    filters_of,
    keep_facing,
    keep_filters,
    keep_kind,
)
from perception.tracker_config import TrackerConfig
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, wrap_angle
from roadloop.types import AgentKind, EgoState, Tracks

Array = np.ndarray

_EPS = 1e-6


@dataclass(frozen=True)
class _Found:
    """The detections of a moment that count; fields ``(m, ...)``."""

    measured: Array
    """(m, 4) x, y, vx, vy"""
    noise: Array
    """(m, 4, 4)"""
    kind: Array
    label: Array
    score: Array
    heading: Array
    heading_std: Array
    votes: Array
    """for the front being where ``heading`` says: the score, and none of what lies across the ego's
    way, where the detector's one bit (does it point forward?) says nothing"""
    size: Array
    """(m, 3)"""
    z: Array
    position_std: Array
    away: Array
    """m from the ego"""


class MultiObjectTracker:
    """A detector's percepts, moment by moment, to `Tracks`. Nothing is random.

    Args:
        config: how; default: `TrackerConfig`.
        grid: where the detector finds anything at all.
    """

    def __init__(self, config: TrackerConfig | None = None, grid: BevGrid | None = None) -> None:
        self.config = config or TrackerConfig()
        self.grid = grid or BevGrid()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._tracks = np.zeros(0, TRACK)
        self._shown = self._tracks
        self._time = -np.inf
        self._moment = -1
        self._next_id = 1

    @property
    def existence(self) -> Array:
        """Probability that each of the latest tracks is there, ``(tracks,)``."""
        return 1.0 / (1.0 + np.exp(-self._shown["evidence"]))

    @property
    def score(self) -> Array:
        """Mean score of the detections of each of the latest tracks, ``(tracks,)``."""
        return self._shown["score"] / self._shown["hits"]

    def update(self, percept: Percept, ego: EgoState) -> Tracks:
        """The tracks ``(tracks,)`` at ``percept.time``, in order of id, all valid.

        Ids are above 0 and never used again. Only ``ego.vehicle`` is looked at: where the ego was
        is in ``percept.world_from_ego``.

        Raises RoadloopError for a time that does not go forward, or for detections that are not
        finite.
        """
        if not percept.time > self._time:
            raise RoadloopError(
                f"percept.time is {percept.time} s after {self._time} s: call reset() before "
                "another drive"
            )
        found = self._found(percept, ego)
        self._moment += 1
        tracks = self._tracks
        self._predict(tracks, percept.time - self._time)
        dt = min(percept.time - self._time, self.config.evidence_time)
        self._time = percept.time

        rows, columns = self._assign(tracks, found)
        self._hit(tracks, rows, found, columns, dt)
        missed = np.ones(len(tracks), bool)
        missed[rows] = False
        self._miss(tracks, missed, percept, dt)
        tracks = np.concatenate([tracks[self._alive(tracks)], self._born(found, columns, dt)])
        self._tracks = tracks = self._merged(tracks)
        self._name(tracks)
        return self._handed_on()

    # --- detections -------------------------------------------------------------------------------

    def _found(self, percept: Percept, ego: EgoState) -> _Found:
        """The detections worth a look, with their covariances."""
        config = self.config
        boxes, score = percept.detections.boxes, percept.detections.score
        columns = (boxes.x, boxes.y, boxes.vx, boxes.vy, boxes.heading, boxes.length, boxes.width)
        columns += (boxes.height, boxes.z, score, percept.position_std, percept.velocity_std)
        values = np.array(columns, np.float64).T
        wrong = boxes.valid & ~np.isfinite(values).all(axis=1)
        if wrong.any():
            raise RoadloopError(
                f"detection {int(np.flatnonzero(wrong)[0])} at {percept.time} s holds a number "
                "that is not finite: check the network's outputs"
            )
        to_ego = inverse(percept.world_from_ego)
        ahead = values[:, :2] @ to_ego[:2, :2].T + to_ego[:2, 3]
        vehicle = ego.vehicle
        inside = np.abs(ahead[:, 1]) < vehicle.width / 2.0
        inside &= np.abs(ahead[:, 0] - vehicle.centre_offset) < vehicle.length / 2.0
        # nobody is inside the ego: that is its own bonnet
        keep = np.flatnonzero(boxes.valid & (score >= config.weak_score) & ~inside)
        values, ahead, kind = values[keep], ahead[keep], boxes.kind[keep]
        x, y = self._camera(percept.world_from_ego)
        position_std = np.maximum(values[:, 10], config.min_position_std)
        velocity_std = np.maximum(values[:, 11], config.min_velocity_std)
        ray = np.arctan2(values[:, 1] - y, values[:, 0] - x)
        across = 2.0 * position_std**2 / (1.0 + config.range_ratio**2)
        noise = np.zeros((len(keep), 4, 4))
        noise[:, :2, :2] = kalman.anisotropic(ray, across * config.range_ratio**2, across)
        noise[:, 2, 2] = noise[:, 3, 3] = velocity_std**2
        walker = kind == AgentKind.PEDESTRIAN
        ego_heading = np.arctan2(percept.world_from_ego[1, 0], percept.world_from_ego[0, 0])
        return _Found(
            measured=values[:, :4],
            noise=noise,
            kind=kind,
            label=labels(kind, values[:, 5]),
            score=values[:, 9],
            heading=values[:, 4],
            heading_std=np.where(walker, config.walker_heading_std, config.heading_std),
            votes=values[:, 9] * np.abs(np.cos(values[:, 4] - ego_heading)),
            size=values[:, 5:8],
            z=values[:, 8],
            position_std=position_std,
            away=np.hypot(ahead[:, 0], ahead[:, 1]),
        )

    def _camera(self, world_from_ego: Array) -> tuple[float, float]:
        d = self.config.sensor_forward
        place = world_from_ego[:2, 3] + d * world_from_ego[:2, 0]
        return float(place[0]), float(place[1])

    # --- one moment: rows are changed in place ----------------------------------------------------

    def _predict(self, tracks: Array, dt: float) -> None:
        if not len(tracks):
            return
        config = self.config
        walker = tracks["label"] == ObjectClass.PEDESTRIAN
        speed = np.hypot(tracks["state"][:, 2], tracks["state"][:, 3])
        most_turn = np.where(walker, 0.0, config.most_curvature * speed)
        facing = headings_of.predict(facing_of(tracks), dt, config.turn_density, most_turn)
        motion = kalman.Motion(
            turn=np.where(tracks["standing"], 0.0, facing.turn),
            heading=tracks["heading"],
            along=np.where(walker, config.walk, config.drive_along),
            across=np.where(walker, config.walk, config.drive_across),
            never=tracks["kind"] == AgentKind.STATIC,
        )
        filters = kalman.predict(
            filters_of(tracks), motion, dt, config.start_rate, config.stop_rate
        )
        keep_facing(tracks, facing)
        keep_filters(tracks, filters)

    def _assign(self, tracks: Array, found: _Found) -> tuple[Array, Array]:
        """Rows of tracks and the detections they get."""
        config = self.config
        ground, cost, metres = distances(
            tracks["state"],
            tracks["state_cov"],
            tracks["label"],
            found.measured,
            found.noise,
            found.label,
        )
        strong = found.score >= config.strong_score
        allowed = (ground < config.gate) & (metres < config.reach)
        rows, columns = assign(cost, allowed & strong)
        allowed &= ~strong & (ground < config.weak_gate)
        allowed[rows] = False
        more = assign(cost, allowed)
        return np.concatenate([rows, more[0]]), np.concatenate([columns, more[1]])

    def _hit(self, tracks: Array, rows: Array, found: _Found, columns: Array, dt: float) -> None:
        """``rows`` get the detections ``columns``."""
        if not len(rows):
            return
        config = self.config
        hit, score = tracks[rows], found.score[columns]
        noise = found.noise[columns] * self._alike(dt)
        filters = kalman.update(filters_of(hit), found.measured[columns], noise)
        facing = headings_of.measure(
            facing_of(hit), found.heading[columns], found.heading_std[columns], found.votes[columns]
        )
        mean, cov = kalman.combined(filters)
        walker = hit["label"] == ObjectClass.PEDESTRIAN
        std = np.sqrt((cov[:, 2, 2] + cov[:, 3, 3]) / 2.0)
        least = np.where(walker, config.walking_speed, config.driving_speed)
        facing = headings_of.follow_travel(facing, mean[:, 2], mean[:, 3], std, least)
        speed = np.hypot(mean[:, 2], mean[:, 3])
        slip = config.slip + speed * np.sqrt(facing.cov[:, 0, 0])
        slip = np.where(walker, np.inf, slip)
        filters = kalman.hold_to_heading(filters, facing.heading, slip)
        keep_facing(hit, facing)
        keep_filters(hit, filters)

        gain = 1.0 / np.minimum(hit["hits"] + 1, config.size_memory)
        grown = gain[:, None] * (found.size[columns] - hit["size"])
        hit["size"] += np.maximum(grown, -config.size_shrink * dt)
        hit["z"] += gain * (found.z[columns] - hit["z"])
        hit["detected_std"] = found.position_std[columns]
        hit["kinds"][np.arange(len(rows)), found.kind[columns]] += score
        keep_kind(hit)
        more = _log_odds(score, config.doubt) * (dt / config.evidence_time)
        hit["evidence"] = np.minimum(hit["evidence"] + more, config.most_evidence)
        hit["score"] += score
        hit["hits"] += 1
        hit["misses"] = 0
        hit["seen"] = self._time
        standing = hit["chance"][:, kalman.STANDING]
        least = np.where(hit["standing"], config.moving_chance, config.standing_chance)
        hit["standing"] = standing >= least
        hit["occluded"] = False
        tracks[rows] = hit

    def _miss(self, tracks: Array, missed: Array, percept: Percept, dt: float) -> None:
        """Who is ``missed`` is doubted, much where in plain sight."""
        if not missed.any():
            return
        config = self.config
        pose = percept.world_from_ego
        to_ego = inverse(pose)
        place = tracks["state"][:, :2]
        ij = self.grid.cells_of(place @ to_ego[:2, :2].T + to_ego[:2, 3])
        seen = ((ij > 0.5) & (ij < np.array(self.grid.shape) - 1.5)).all(axis=1)
        x, y = self._camera(pose)
        aside = np.arctan2(place[:, 1] - y, place[:, 0] - x) - np.arctan2(pose[1, 0], pose[0, 0])
        seen &= np.abs(wrap_angle(aside)) < config.view / 2.0
        occluded = np.zeros(len(tracks), bool)
        asked = missed & seen
        if asked.any():
            rows = _in_line(tracks, asked, x, y)
            if len(rows):
                z = float(pose[2, 3]) + config.sensor_height
                share = visible_share(boxes_of(tracks[rows]), x, y, z)
                occluded[rows] = share < config.hidden_share
        lost = np.where(seen & ~occluded, config.miss_rate, config.hidden_rate) * dt
        tracks["evidence"] -= np.where(missed, lost, 0.0)
        tracks["misses"] += missed
        tracks["occluded"] = missed & occluded

    def _alive(self, tracks: Array) -> Array:
        """Who is kept, ``(n,)`` bool."""
        config = self.config
        named = tracks["id"] > 0
        believed = tracks["evidence"] > np.where(named, 0.0, -1.0)
        believed |= tracks["misses"] <= np.where(named, config.kept_misses, 0)
        longest = np.where(tracks["standing"], config.hidden_standing_time, config.hidden_time)
        longest = np.where(tracks["occluded"], longest, config.coast_time)
        longest = np.where(named, longest, config.new_time)
        return believed & (self._time - tracks["seen"] <= longest + _EPS)

    def _born(self, found: _Found, taken: Array, dt: float) -> Array:
        """New tracks of the detections that are not ``taken``."""
        config = self.config
        free = found.score >= config.birth_score
        free[taken] = False
        rows = np.flatnonzero(free)
        score, std, votes = found.score[rows], found.heading_std[rows], found.votes[rows]
        new = np.zeros(len(rows), TRACK)
        noise = found.noise[rows] * self._alike(dt)
        keep_filters(new, kalman.born(found.measured[rows], noise))
        keep_facing(new, headings_of.born(found.heading[rows], std, votes))
        new["kinds"][np.arange(len(rows)), found.kind[rows]] = score
        new["size"], new["z"] = found.size[rows], found.z[rows]
        keep_kind(new)
        new["detected_std"] = found.position_std[rows]
        new["evidence"] = _log_odds(score, config.doubt)
        new["score"], new["hits"] = score, 1
        new["seen"], new["born"] = self._time, self._moment
        new["sure"] = score >= config.instant_score
        new["sure"] &= found.away[rows] < config.instant_range
        # a track nearby may be the same road user, badly measured
        old = self._tracks
        dx = new["state"][:, :1] - old["state"][:, 0]
        dy = new["state"][:, 1:2] - old["state"][:, 1]
        alike = np.isfinite(CLASS_COSTS[new["label"][:, None], old["label"]])
        new["sure"] &= ~((np.hypot(dx, dy) < config.instant_gap) & alike).any(axis=1)
        return new

    def _alike(self, dt: float) -> float:
        """By how much variances are raised because successive errors are alike."""
        return max(1.0, 2.0 * self.config.error_time / dt)

    def _merged(self, tracks: Array) -> Array:
        """One track for each road user: of two in the same place the one known for longer stays."""
        first, second = overlapping(boxes_of(tracks), self.config.same_overlap)
        if not len(first):
            return tracks
        label, misses = tracks["label"], tracks["misses"]
        known = list(zip(tracks["id"] > 0, tracks["hits"].tolist(), strict=True))
        gone = np.zeros(len(tracks), bool)
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            if gone[i] or gone[j] or not np.isfinite(CLASS_COSTS[label[i], label[j]]):
                continue
            stays, goes = (j, i) if known[j] > known[i] else (i, j)
            both_found = misses[stays] == misses[goes] == 0
            if both_found and ObjectClass.PEDESTRIAN in (label[i], label[j]):
                continue  # people do walk side by side: two detections are two of them
            gone[goes] = True
            if misses[stays] > misses[goes]:
                for name in MOMENTARY:
                    tracks[name][stays] = tracks[name][goes]
        return tracks[~gone]

    def _name(self, tracks: Array) -> None:
        """Tracks that are sure enough get their id."""
        config = self.config
        ready = (tracks["hits"] >= config.birth_hits) & (tracks["evidence"] >= config.confirm)
        ready = (ready | tracks["sure"]) & (tracks["id"] == 0) & (tracks["misses"] == 0)
        new = np.flatnonzero(ready)
        tracks["id"][new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)

    def _handed_on(self) -> Tracks:
        tracks = self._tracks[self._tracks["id"] > 0]
        self._shown = tracks = tracks[np.argsort(tracks["id"])]
        cov = tracks["state_cov"]
        variance = (cov[:, 0, 0] + cov[:, 1, 1]) / 2.0
        variance += (self.config.systematic * tracks["detected_std"]) ** 2
        return Tracks(boxes_of(tracks), np.sqrt(variance), self._moment - tracks["born"])


def _in_line(tracks: Array, asked: Array, x: float, y: float) -> Array:
    """Rows of those ``asked`` about and of everybody who may hide one of them from (x, y).

    None where nobody may.
    """
    dx, dy = tracks["state"][:, 0] - x, tracks["state"][:, 1] - y
    away, bearing = np.hypot(dx, dy), np.arctan2(dy, dx)
    half = np.hypot(tracks["size"][:, 0], tracks["size"][:, 1]) / 2.0
    wide = np.arcsin(np.minimum(half / np.maximum(away, _EPS), 1.0))
    aside = np.abs(wrap_angle(bearing[:, None] - bearing[asked]))
    before = (away - half)[:, None] < (away + half)[asked]
    line = before & (aside < wide[:, None] + wide[asked])  # all are in line with themselves
    return np.flatnonzero(line.any(axis=1) & (line.sum() > line.shape[1]))


def _log_odds(score: Array, doubt: float) -> Array:
    """How much a detection of this score says for its road user being there: 0 at ``doubt``."""
    score = np.clip(score, 0.02, 0.98)
    return np.log(score / (1.0 - score)) - np.log(doubt / (1.0 - doubt))
