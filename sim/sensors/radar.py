"""Radar: scans of targets with range, direction and range rate, from what a fan of rays meets.

Rays decide what is seen of each agent and of the static world; each visible agent answers with one
or several reflection points on its visible faces, the static world with its strongest point in each
cell of range and azimuth. Then come the range equation, fluctuation, ghosts, clutter and noise
(``radar_returns``). Agents move straight ahead; the turning of an agent about itself is left out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from roadloop.readings import RadarScan
from roadloop.rig import RadarSensor
from roadloop.semantics import SemanticClass
from roadloop.weather import Weather
from sim.actors.models import MODELS
from sim.render.frame import Frame
from sim.render.scene import Scene
from sim.render.sweep import Beams, Returns, sweep
from sim.scenery.mesh import Surface
from sim.sensors.radar_returns import (
    LEVEL,
    POINTS,
    POINTS_RANGE,
    SPREAD,
    WINDOW,
    agent_rcs,
    area_rcs,
    fluctuation,
    margin,
)

Array = np.ndarray

STEP_AZIMUTH = np.deg2rad(0.5)
STEP_ELEVATION = np.deg2rad(1.0)
"""rad between rays; the fan is shifted at random within a step, scan by scan"""
CELL_AZIMUTH = np.deg2rad(2.0)
CELL_RANGE = 2.0
"""m; of the static world, each cell gives one target at most"""
CLUTTER = -1
GHOST = -2
"""``RadarScan.instance`` of targets that are not there"""
GHOST_LOSS = 8.0
"""dB lost at the second reflection"""


@dataclass(frozen=True)
class _Targets:
    """Points that answer; fields ``(n, ...)``, in the sensor's frame."""

    at: Array
    """(n, 3) m"""
    velocity: Array
    """(n, 3) m/s over ground"""
    rcs: Array
    """dB m^2"""
    instance: Array


class Radar:
    """Takes scans with one radar.

    Args:
        sensor: what the rig says of it.
        ego_from_sensor: (4, 4), where it truly sits; None: where the rig says. Targets are always
            brought into the ego frame by the rig's mount.
    """

    def __init__(self, sensor: RadarSensor, ego_from_sensor: Array | None = None) -> None:
        self.sensor = sensor
        self._calibrated = sensor.mount.ego_from_sensor
        self._mounted = self._calibrated if ego_from_sensor is None else np.asarray(ego_from_sensor)

    def scan(
        self,
        scene: Scene,
        frame: Frame,
        world: int,
        world_from_ego_now: Array,
        world_from_ego_before: Array,
        rng: np.random.Generator,
        *,
        elapsed: float | None = None,
        velocity: Array | None = None,
        yaw_rate: float | None = None,
        timestamp_us: int = 0,
        hide: int = 0,
    ) -> RadarScan:
        """The scan of this moment.

        Args:
            frame: what is there to be seen; row ``world`` of it.
            world_from_ego_now: (4, 4)
            world_from_ego_before: (4, 4) ``elapsed`` s earlier (default: one period of the sensor).
            velocity: (3,) m/s of the ego frame's origin, world frame; None: its mean between the
                two poses.
            yaw_rate: rad/s of the ego about its z axis; None: likewise.
            rng: one generator for each sensor.
            hide: row of an actor that is not seen (the ego), -1: none.

        Returns:
            At most ``max_targets`` targets, those with the strongest echoes, by rising range.
            ``radial_speed`` is ``range_rate`` with the sensor's own motion taken out along the
            measured direction.
        """
        sensor, weather = self.sensor, frame.weather[world]
        pose = world_from_ego_now @ self._mounted
        own = self._own_velocity(
            np.asarray(world_from_ego_now),
            np.asarray(world_from_ego_before),
            elapsed or 1.0 / sensor.rate,
            velocity,
            yaw_rate,
        )
        beams = self._fan(rng)
        far = WINDOW * sensor.max_range
        seen = sweep(scene, frame, world, pose, beams, far=far, hide=hide)
        agents = self._agents(frame, world, pose, beams, seen, rng)
        static = self._static(beams, seen, rng)
        targets = _joined([agents, static])
        echo = fluctuation(len(targets.rcs), rng)
        targets = dataclasses.replace(targets, rcs=targets.rcs + echo)
        targets = self._heard(targets, weather)
        targets = _joined([targets, self._ghosts(targets, own, beams, seen, weather, rng)])
        targets = _joined([targets, self._clutter(own, rng)])
        return self._measured(targets, own, rng, timestamp_us)

    def _own_velocity(
        self,
        now: Array,
        before: Array,
        elapsed: float,
        velocity: Array | None,
        yaw_rate: float | None,
    ) -> Array:
        """(3,) m/s of the sensor, in its own frame: that of the ego and that of its turning."""
        if velocity is None:
            velocity = (now[:3, 3] - before[:3, 3]) / elapsed
        if yaw_rate is None:
            turn = before[:3, :3].T @ now[:3, :3]
            yaw_rate = float(np.arctan2(turn[1, 0], turn[0, 0])) / elapsed
        lever = now[:3, :3] @ self._mounted[:3, 3]
        moving = np.asarray(velocity) + np.cross(yaw_rate * now[:3, 2], lever)
        return moving @ now[:3, :3] @ self._mounted[:3, :3]

    def _fan(self, rng: np.random.Generator) -> Beams:
        """Rays over the field of view."""
        sensor = self.sensor
        columns = max(int(sensor.fov / STEP_AZIMUTH), 1)
        rows = max(int(sensor.vertical_fov / STEP_ELEVATION), 1)
        step, rise = sensor.fov / columns, sensor.vertical_fov / rows
        shift = rng.random(2)
        elevation = (np.arange(rows) + shift[1]) * rise - 0.5 * sensor.vertical_fov
        start = shift[0] * step - 0.5 * sensor.fov
        return Beams(elevation, np.zeros(rows), start, step, columns)

    def _agents(
        self,
        frame: Frame,
        world: int,
        pose: Array,
        beams: Beams,
        seen: Returns,
        rng: np.random.Generator,
    ) -> _Targets:
        """Reflection points on the visible faces of agents."""
        actors = frame.actors
        ids = actors.id[world]
        there = np.flatnonzero((actors.model[world] >= 0) & (ids > 0))
        column, row = np.nonzero(np.isfinite(seen.distance) & (seen.instance > 0))
        if not len(there) or not len(column):
            return _none()
        there = there[np.argsort(ids[there])]
        place = np.searchsorted(ids[there], seen.instance[column, row])
        agent = there[np.minimum(place, len(there) - 1)]
        distance = seen.distance[column, row].astype(np.float64)
        at = beams.directions[column, row] * distance[:, None]
        # what is seen of each agent against its whole outline from here
        n = len(ids)
        solid = beams.step * _rise(beams) * np.cos(beams.elevation[row])
        visible = np.bincount(agent, solid * distance**2, n)
        rays = np.maximum(np.bincount(agent, minlength=n), 1)
        away = np.bincount(agent, distance, n) / rays
        relative = actors.world_from_actor[world]
        to = relative[:, :3, 3] - pose[:3, 3]
        bearing = np.arctan2(to[:, 1], to[:, 0])
        aspect = bearing - np.arctan2(relative[:, 1, 0], relative[:, 0, 0])
        kinds = np.array([model.kind for model in MODELS])
        size = np.array([(m.length, m.width, m.height) for m in MODELS])
        model = np.maximum(actors.model[world], 0)
        kind = kinds[model]
        length, width, height = (size[model] * actors.scale[world]).T
        outline = height * (length * np.abs(np.sin(aspect)) + width * np.abs(np.cos(aspect)))
        share = np.clip(visible / np.maximum(outline, 1e-3), 1e-3, 1.0)
        points = POINTS[kind] * np.minimum(1.0, POINTS_RANGE / np.maximum(away, 1.0)) * share
        points = np.maximum(np.floor(points + rng.random(n)), 1.0)
        rcs = agent_rcs(kind, aspect) + 10.0 * np.log10(share / points)

        # the points: rays of each agent drawn without replacement, faces turned this way first
        weight = 0.1 + seen.cosine[column, row] ** 2
        score = np.log(weight) - np.log(rng.exponential(size=len(agent)))
        order = np.lexsort((-score, agent))
        begin = np.searchsorted(agent[order], np.arange(n))
        nth = np.arange(len(order)) - begin[agent[order]]
        chosen = order[nth < points[agent[order]]]
        who = agent[chosen]
        velocity = actors.velocity[world, who].astype(np.float64)
        speed = np.linalg.norm(velocity, axis=1)
        # limbs and pedals swing along the way; the rim of a wheel runs between 0 and twice as fast
        swing = SPREAD[kind[who]] * rng.standard_normal(len(who))
        tyre = seen.surface[column, row][chosen] == Surface.TYRE
        swing = np.where(tyre, rng.uniform(-1.0, 1.0, len(who)), swing)
        velocity *= 1.0 + np.where(speed > 0.1, swing, 0.0)[:, None]
        return _Targets(
            at=at[chosen], velocity=velocity @ pose[:3, :3], rcs=rcs[who], instance=ids[who]
        )

    def _static(self, beams: Beams, seen: Returns, rng: np.random.Generator) -> _Targets:
        """The strongest point of the static world in each cell that outshines its neighbours."""
        met = np.isfinite(seen.distance) & (seen.instance <= 0)
        met &= ~LEVEL[seen.semantic] | (seen.surface == Surface.KERB)
        column, row = np.nonzero(met)
        if not len(column):
            return _none()
        distance = seen.distance[met].astype(np.float64)
        area = beams.step * _rise(beams) * np.cos(beams.elevation[row]) * distance**2
        power = area * area_rcs(seen.semantic[met], seen.surface[met], seen.cosine[met])
        place = (column * (beams.step / CELL_AZIMUTH)).astype(np.int64)
        shape = (place.max() + 1, int(distance.max() / CELL_RANGE) + 1)
        cell = place * shape[1] + (distance / CELL_RANGE).astype(np.int64)
        # as a detector looks for peaks: what a cell receives, against the cells around it
        received = np.bincount(cell, power / distance**4, shape[0] * shape[1]).reshape(shape)
        received *= rng.uniform(0.5, 1.5, shape)
        peak = (received >= maximum_filter(received, 3, mode="constant")).ravel()
        order = np.lexsort((power * rng.exponential(size=len(power)), cell))
        best = order[np.append(np.flatnonzero(np.diff(cell[order])), len(order) - 1)]
        best = best[peak[cell[best]]]
        total = np.bincount(cell, power)[cell[best]]
        return _Targets(
            at=beams.directions[column[best], row[best]] * distance[best, None],
            velocity=np.zeros((len(best), 3)),
            rcs=10.0 * np.log10(total),
            instance=np.zeros(len(best), np.int32),
        )

    def _heard(self, targets: _Targets, weather: Weather) -> _Targets:
        """Those above the threshold and within reach."""
        distance = np.linalg.norm(targets.at, axis=1)
        keep = margin(targets.rcs, distance, self.sensor, weather) > 0.0
        keep &= (distance >= self.sensor.min_range) & (distance <= WINDOW * self.sensor.max_range)
        return _picked(targets, keep)

    def _ghosts(
        self,
        targets: _Targets,
        own: Array,
        beams: Beams,
        seen: Returns,
        weather: Weather,
        rng: np.random.Generator,
    ) -> _Targets:
        """Second echoes: mirrored at a wall, or to and fro twice between target and ego."""
        n = len(targets.rcs)
        twice = rng.random(n) < self.sensor.ghosts
        picked = _picked(targets, twice)
        k = len(picked.rcs)
        at, velocity = 2.0 * picked.at, 2.0 * picked.velocity - own
        origin, normal = _walls(beams, seen)
        side = rng.random(k) < 0.5
        which = rng.integers(0, max(len(origin), 1), k)
        if len(origin) and k:
            o, m = origin[which], normal[which]
            behind = 2.0 * np.einsum("ni,ni->n", picked.at - o, m)
            # only what is before the wall, as the sensor is, has an image behind it
            mirror = side & (behind * np.einsum("ni,ni->n", -o, m) > 0.0)
            at = np.where(mirror[:, None], picked.at - behind[:, None] * m, at)
            along = 2.0 * np.einsum("ni,ni->n", picked.velocity, m)
            velocity = np.where(mirror[:, None], picked.velocity - along[:, None] * m, velocity)
        azimuth = np.arctan2(at[:, 1], at[:, 0])
        ghosts = _Targets(
            at=at,
            velocity=velocity,
            rcs=picked.rcs - GHOST_LOSS,
            instance=np.full(k, GHOST, np.int32),
        )
        return self._heard(_picked(ghosts, np.abs(azimuth) <= 0.5 * self.sensor.fov), weather)

    def _clutter(self, own: Array, rng: np.random.Generator) -> _Targets:
        """False targets of noise and of the road, about where a static thing would be in speed."""
        sensor = self.sensor
        n = int(rng.poisson(sensor.clutter))
        distance = rng.uniform(sensor.min_range, sensor.max_range, n)
        azimuth = rng.uniform(-0.5, 0.5, n) * sensor.fov
        elevation = rng.uniform(-0.5, 0.5, n) * sensor.vertical_fov
        towards = _directions(azimuth, elevation)
        wide = 0.3 * np.linalg.norm(own) + 1.0
        # just above the threshold
        rcs = 10.0 - 40.0 * np.log10(sensor.max_range / distance) + rng.exponential(3.0, n)
        return _Targets(
            at=towards * distance[:, None],
            velocity=towards * rng.normal(0.0, wide, n)[:, None],
            rcs=rcs,
            instance=np.full(n, CLUTTER, np.int32),
        )

    def _measured(
        self, targets: _Targets, own: Array, rng: np.random.Generator, timestamp_us: int
    ) -> RadarScan:
        """The strongest targets with noise, as a scan."""
        sensor = self.sensor
        distance = np.linalg.norm(targets.at, axis=1)
        strength = targets.rcs - 40.0 * np.log10(np.maximum(distance, 1e-3))
        strongest = np.argsort(-strength, kind="stable")[: sensor.max_targets]
        order = strongest[np.argsort(distance[strongest], kind="stable")]
        targets, distance = _picked(targets, order), distance[order]
        n = len(order)
        noise = rng.standard_normal((4, n))
        towards = targets.at / distance[:, None]
        range_rate = np.einsum("ni,ni->n", targets.velocity - own, towards)
        range_rate = range_rate + sensor.speed_noise * noise[3]
        azimuth = np.arctan2(towards[:, 1], towards[:, 0]) + sensor.azimuth_noise * noise[1]
        elevation = np.arcsin(np.clip(towards[:, 2], -1.0, 1.0)) + sensor.elevation_noise * noise[2]
        measured = np.maximum(distance + sensor.range_noise * noise[0], sensor.min_range)
        towards = _directions(azimuth, elevation)
        at = (towards * measured[:, None]) @ self._calibrated[:3, :3].T + self._calibrated[:3, 3]
        return RadarScan(
            x=at[:, 0],
            y=at[:, 1],
            z=at[:, 2],
            radial_speed=range_rate + towards @ own,
            rcs=targets.rcs,
            timestamp_us=timestamp_us,
            range=measured,
            azimuth=azimuth,
            elevation=elevation,
            range_rate=range_rate,
            instance=targets.instance.astype(np.int32),
        )


def _walls(beams: Beams, seen: Returns) -> tuple[Array, Array]:
    """Points and level unit normals (n, 3) of upright walls, from rays next to each other."""
    large = np.isin(
        seen.semantic, (SemanticClass.BUILDING, SemanticClass.WALL, SemanticClass.GUARD_RAIL)
    )
    reach = np.where(large, seen.distance, 0.0)
    pair = large[:-1] & large[1:] & (np.abs(np.diff(reach, axis=0)) < 1.0)
    column, row = np.nonzero(pair)
    a = beams.directions[column, row] * seen.distance[column, row, None]
    b = beams.directions[column + 1, row] * seen.distance[column + 1, row, None]
    normal = np.stack([a[:, 1] - b[:, 1], b[:, 0] - a[:, 0], np.zeros(len(a))], axis=1)
    size = np.linalg.norm(normal, axis=1, keepdims=True)
    return a, normal / np.maximum(size, 1e-9)


def _directions(azimuth: Array, elevation: Array) -> Array:
    """(n, 3) unit vectors."""
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=-1)


def _rise(beams: Beams) -> float:
    """rad between the fan's rows."""
    return float(np.ptp(beams.elevation) / max(len(beams.elevation) - 1, 1)) or STEP_ELEVATION


def _none() -> _Targets:
    return _Targets(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int32))


def _picked(targets: _Targets, rows: Array) -> _Targets:
    return _Targets(*(getattr(targets, f.name)[rows] for f in dataclasses.fields(_Targets)))


def _joined(parts: list[_Targets]) -> _Targets:
    names = [f.name for f in dataclasses.fields(_Targets)]
    return _Targets(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
