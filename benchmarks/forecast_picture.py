"""A picture of forecasts over a map, one panel for each forecaster, beside what then happened.

    python benchmarks/forecast_picture.py [FAMILY] [--seed 0] [--at 12] [--out forecasts.jpg]
                                          [--forecasters lane-following learned]

Blue lines are futures of 6 s, the darker the more probable (below 3 % left out); white dots are
where everybody was each second after. Green is the ego. The place is the busiest one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from forecasters import Drive, made, simulated

from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.types import AgentStates, Forecasts, Observation

Array = np.ndarray

SIZE, METRES = 620, 110.0
"""px and m of a panel's edge"""
SHIFT = 4
"""OpenCV's fractional bits"""
GROUND, ROAD, MARK, PAVEMENT = (231, 234, 227), (120, 128, 135), (150, 158, 164), (205, 209, 210)
FUTURE, TRUTH, BODY, EGO = (20, 70, 200), (255, 255, 255), (42, 48, 54), (30, 150, 70)
LEAST = 0.03
"""probability of a future that is drawn"""


class Panel:
    """A square picture around a place."""

    def __init__(self, x: float, y: float) -> None:
        self.picture = np.full((SIZE, SIZE, 3), GROUND, np.uint8)
        self._scale, self._middle = SIZE / METRES, np.array([x, y])

    def pixels(self, xy: Array) -> Array:
        """(n, 2) world to pixels, in sixteenths."""
        px = (xy - self._middle) * [self._scale, -self._scale] + SIZE / 2
        return np.rint(px * (1 << SHIFT)).astype(np.int32)

    def line(self, xy: Array, colour: tuple[int, int, int], metres: float) -> None:
        """A line ``metres`` wide."""
        thick = max(1, round(metres * self._scale))
        cv2.polylines(self.picture, [self.pixels(xy)], False, colour, thick, cv2.LINE_AA, SHIFT)

    def road(self, m: RoadMap) -> None:
        """The lanes."""
        for kinds, colour in (((LaneKind.SIDEWALK,), PAVEMENT),
                              ((LaneKind.DRIVING, LaneKind.BIDIRECTIONAL), ROAD)):  # fmt: skip
            for lane in np.flatnonzero(np.isin(m.lane_kind, kinds)).tolist():
                points = m.points_of(lane)
                self.line(m.point_xyz[points, :2], colour, float(m.point_width[points].max()))
        for lane in np.flatnonzero(m.is_travel).tolist():
            self.line(m.point_xyz[m.points_of(lane), :2], MARK, 0.15)

    def box(self, pose: Array, length: float, width: float, colour: tuple[int, int, int]) -> None:
        """A body at x, y, heading."""
        c, s = np.cos(pose[2]), np.sin(pose[2])
        corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [length / 2, width / 2]
        world = corners @ np.array([[c, s], [-s, c]]) + pose[:2]
        cv2.fillConvexPoly(self.picture, self.pixels(world), colour, cv2.LINE_AA, SHIFT)

    def futures(self, said: Forecasts) -> None:
        """Less probable ones below the others."""
        for row, mode in zip(*np.unravel_index(said.probability.argsort(None), said.x.shape[:2])):
            p = float(said.probability[row, mode])
            if p >= LEAST:
                xy = np.stack([said.x[row, mode], said.y[row, mode]], axis=-1)
                share = 0.25 + 0.75 * p
                mixed = np.array(ROAD) * (1 - share) + np.array(FUTURE) * share
                self.line(xy, tuple(int(v) for v in mixed), 0.5 + 0.5 * p)

    def truth(self, steps: list[Observation], k: int) -> None:
        """Where everybody was, each second after step ``k``."""
        for step in steps[k + 10 : k + 61 : 10]:
            assert step.tracks is not None
            now = step.tracks.states
            xy = np.stack([now.x, now.y], axis=-1)[now.valid]
            for px in self.pixels(xy).tolist():
                cv2.circle(self.picture, px, 32, TRUTH, -1, cv2.LINE_AA, SHIFT)


def busiest(states: AgentStates) -> tuple[float, float]:
    """Where somebody drives with the most others who move around."""
    moves = np.flatnonzero(states.valid & (states.speed > 1.0))
    away = np.hypot(states.x[moves] - states.x[moves][:, None],
                    states.y[moves] - states.y[moves][:, None])  # fmt: skip
    middle = moves[(away < 0.4 * METRES).sum(1).argmax()]
    return float(states.x[middle]), float(states.y[middle])


def draw(drive: Drive, name: str, k: int) -> Array:
    """(SIZE, SIZE, 3) what a forecaster says at step ``k`` of a drive."""
    forecaster = made(name)
    forecaster.reset(SimpleNamespace(road_map=drive.road_map, name=drive.name))
    for step in drive.steps[max(k - 20, 0) : k + 1]:
        assert step.tracks is not None
        said = forecaster.forecast(step, step.tracks, 6.0, 0.2)
    now = drive.steps[k]
    assert now.tracks is not None
    x, y = (float(v) for v in now.ego.box_centre())
    states = now.tracks.states
    panel = Panel(*busiest(states))
    panel.road(drive.road_map)
    there = np.flatnonzero(states.valid)
    shown = {f: getattr(said, f)[there] for f in ("x", "y", "heading", "probability")}
    panel.futures(Forecasts(dt=said.dt, along_std=None, across_std=None, **shown))
    panel.truth(drive.steps, k)
    for i in there.tolist():
        pose = np.array([states.x[i], states.y[i], states.heading[i]])
        panel.box(pose, float(states.length[i]), float(states.width[i]), BODY)
    vehicle = now.ego.vehicle
    panel.box(np.array([x, y, float(now.ego.heading)]), vehicle.length, vehicle.width, EGO)
    cv2.putText(panel.picture, name, (12, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.7, BODY, 2, cv2.LINE_AA)
    return panel.picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("family", nargs="?", default="dense_town")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=float, default=12.0, help="s since the start")
    parser.add_argument("--out", type=Path, default=Path("forecasts.jpg"))
    parser.add_argument("--forecasters", nargs="+", default=["lane-following", "learned"])
    options = parser.parse_args()
    drive = simulated(options.family, options.seed, options.at + 7.0)
    k = min(round(options.at / 0.1), len(drive.steps) - 1)
    gap = np.full((SIZE, 8, 3), 255, np.uint8)
    panels = [part for name in options.forecasters for part in (gap, draw(drive, name, k))][1:]
    picture = cv2.cvtColor(np.concatenate(panels, axis=1), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(options.out), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(f"{options.out}: {options.out.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
