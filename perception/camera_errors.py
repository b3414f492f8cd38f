"""Made-up detections: ground truth with the errors of a camera detector, to try trackers on.

Unlike `perception.noisy`, which stands for a detector and a tracker, this stands for a detector
alone: boxes without identity, scores, misses and false alarms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.detector_config import BevGrid, RasterLayer
from perception.occlusion import visible_share
from perception.percept import LightHeads, Percept
from roadloop.geometry import rotation_from_euler, se3, wrap_angle
from roadloop.types import AgentKind, AgentStates, Detections, EgoState, at

Array = np.ndarray


@dataclass(frozen=True)
class CameraErrors:
    """How wrong the detections are; distances from the camera."""

    along_std: float = 0.3
    """m along the line of sight ..."""
    along_share: float = 0.03
    """... and what every m of distance adds"""
    across_std: float = 0.3
    """m across it"""
    heading_std: float = 0.15
    """rad, vehicles"""
    walker_heading_std: float = 0.6
    flip: float = 0.03
    """share of detections that point backwards"""
    size_std: float = 0.07
    """of the logarithm"""
    velocity_std: float = 1.0
    """m/s along each axis"""
    correlated: float = 0.5
    """share of the variance of position and velocity that fades slowly; the rest is white"""
    correlation_time: float = 0.5
    """s after which that part is forgotten to 1/e"""
    miss: float = 0.1
    """share of detections that are missing, each for itself"""
    false_alarms: float = 1.0
    """per moment, mean (Poisson), anywhere on the grid"""
    min_visible: float = 0.3
    """share of a box that must be free of others"""
    view: float = 3.665
    """rad, field of view"""
    sensor_forward: float = 1.7
    sensor_height: float = 1.4


class MadeUpDetector:
    """Percepts without pictures. ``seed`` fixes all errors; moments must come in order."""

    def __init__(
        self, errors: CameraErrors | None = None, grid: BevGrid | None = None, seed: int = 0
    ) -> None:
        self.errors = errors or CameraErrors()
        self.grid = grid or BevGrid()
        self._rng = np.random.default_rng(seed)
        self._slow: dict[int, tuple[float, Array]] = {}

    def visible(self, states: AgentStates, ego: EgoState) -> Array:
        """Who could be found: ``(agents,)`` bool, on the grid, in the field of view, not hidden."""
        c, s = np.cos(ego.heading), np.sin(ego.heading)
        dx, dy = states.x - ego.x, states.y - ego.y
        ij = self.grid.cells_of(np.stack([c * dx + s * dy, c * dy - s * dx], axis=-1))
        inside = states.valid & (ij > -0.5).all(-1)
        inside &= (ij < np.array(self.grid.shape) - 0.5).all(-1)
        x, y = self._camera(ego)
        bearing = wrap_angle(np.arctan2(states.y - y, states.x - x) - ego.heading)
        inside &= np.abs(bearing) <= self.errors.view / 2.0
        near = np.flatnonzero(states.valid & (np.hypot(dx, dy) < 80.0))
        share = np.zeros(len(inside))
        z = float(ego.z) + self.errors.sensor_height
        share[near] = visible_share(at(states, near), x, y, z)
        return inside & (share >= self.errors.min_visible)

    def percept(self, states: AgentStates, ego: EgoState, time: float) -> Percept:
        """What a detector might make of road users ``(agents,)`` at ``time`` s.

        The raster map has no cells and there are no traffic lights.
        """
        errors, rng = self.errors, self._rng
        seen = np.flatnonzero(self.visible(states, ego))
        seen = seen[rng.random(len(seen)) >= errors.miss]
        n = len(seen)
        boxes = at(states, seen)
        x, y = self._camera(ego)
        away = np.hypot(boxes.x - x, boxes.y - y)
        bearing = np.arctan2(boxes.y - y, boxes.x - x)
        noise = self._noise(boxes.id, time)
        along_std = errors.along_std + errors.along_share * away
        along, across = noise[:, 0] * along_std, noise[:, 1] * errors.across_std
        walker = boxes.kind == AgentKind.PEDESTRIAN
        turn = np.where(walker, errors.walker_heading_std, errors.heading_std)
        turn = turn * rng.standard_normal(n) + np.pi * (rng.random(n) < errors.flip)
        size = np.exp(errors.size_std * rng.standard_normal((3, n)))
        c, s = np.cos(bearing), np.sin(bearing)
        found = AgentStates(
            id=np.zeros(n, np.int64),
            kind=boxes.kind,
            x=boxes.x + c * along - s * across,
            y=boxes.y + s * along + c * across,
            z=boxes.z,
            heading=wrap_angle(boxes.heading + turn),
            vx=boxes.vx + errors.velocity_std * noise[:, 2],
            vy=boxes.vy + errors.velocity_std * noise[:, 3],
            length=boxes.length * size[0],
            width=boxes.width * size[1],
            height=boxes.height * size[2],
            valid=np.ones(n, bool),
        )
        # Scores of near road users are high, of far ones middling, and they scatter.
        logit = 2.0 - 0.05 * away + 0.8 * rng.standard_normal(n)
        std = np.sqrt((along_std**2 + errors.across_std**2) / 2.0)
        alarms = self._false_alarms(ego)
        both = _joined(found, alarms.boxes)
        score = np.concatenate([1.0 / (1.0 + np.exp(-logit)), alarms.score])
        std = np.concatenate([std, np.full(len(alarms.score), 1.0)])
        order = np.argsort(-score, kind="stable")
        heading = float(ego.heading)
        place = np.array([ego.x, ego.y, ego.z], np.float64)
        return Percept(
            detections=Detections(at(both, order), score[order]),
            position_std=std[order],
            velocity_std=np.full(len(order), max(errors.velocity_std, 0.05)),
            raster=np.zeros((len(RasterLayer), 0, 0), np.float32),
            lane=np.zeros((3, 0, 0), np.float32),
            lights=_no_lights(),
            world_from_ego=se3(rotation_from_euler(0.0, 0.0, heading), place),
            time=time,
        )

    def _camera(self, ego: EgoState) -> tuple[float, float]:
        d = self.errors.sensor_forward
        return float(ego.x + d * np.cos(ego.heading)), float(ego.y + d * np.sin(ego.heading))

    def _noise(self, ids: Array, time: float) -> Array:
        """``(n, 4)`` unit normals, partly those of the same road users a moment ago."""
        fresh = self._rng.standard_normal((len(ids), 4))
        slow = self._rng.standard_normal((len(ids), 4))
        for i, number in enumerate(ids.tolist()):
            if number in self._slow:
                then, old = self._slow[number]
                kept = np.exp(-(time - then) / self.errors.correlation_time)
                slow[i] = kept * old + np.sqrt(1.0 - kept**2) * slow[i]
            self._slow[number] = time, slow[i]
        share = self.errors.correlated
        return np.sqrt(share) * slow + np.sqrt(1.0 - share) * fresh

    def _false_alarms(self, ego: EgoState) -> Detections:
        """Boxes that are not there, with low scores."""
        rng, grid = self._rng, self.grid
        n = int(rng.poisson(self.errors.false_alarms))
        ahead = rng.uniform(max(grid.x_min, 3.0), grid.x_max, n)
        left = rng.uniform(grid.y_min, grid.y_max, n)
        c, s = np.cos(ego.heading), np.sin(ego.heading)
        walker = rng.random(n) < 0.3
        boxes = AgentStates(
            id=np.zeros(n, np.int64),
            kind=np.where(walker, AgentKind.PEDESTRIAN, AgentKind.CAR).astype(np.uint8),
            x=ego.x + c * ahead - s * left,
            y=ego.y + s * ahead + c * left,
            z=np.full(n, float(ego.z)),
            heading=rng.uniform(-np.pi, np.pi, n),
            vx=rng.standard_normal(n),
            vy=rng.standard_normal(n),
            length=np.where(walker, 0.6, 4.5),
            width=np.where(walker, 0.6, 1.8),
            height=np.full(n, 1.6),
            valid=np.ones(n, bool),
        )
        return Detections(boxes, rng.beta(2.0, 8.0, n))


def _joined(a: AgentStates, b: AgentStates) -> AgentStates:
    names = AgentStates.__dataclass_fields__
    return AgentStates(**{f: np.concatenate([getattr(a, f), getattr(b, f)]) for f in names})


def _no_lights() -> LightHeads:
    none = np.zeros(0)
    return LightHeads(
        camera=np.zeros(0, np.int64),
        u=none,
        v=none,
        width=none,
        height=none,
        score=none,
        state=np.zeros((0, 4)),
    )
