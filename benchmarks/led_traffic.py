"""How traffic led by a forecaster behaves beside the built-in rules (docs/prediction.md).

    python benchmarks/led_traffic.py [FAMILY ...] [--seeds 4] [--seconds 30]
                                     [--traffic rules lane-following learned]

Per kind of traffic over all scenarios: vehicle-kilometres driven, contacts among vehicles of the
traffic and of them with the ego for each kilometre, red lights crossed, share of the time a corner
is off the road surface, the farthest anybody was beside its lane's edge, mean speed, and who stands
at the end for 10 s or more. The ego is driven by the route follower.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np

from deploy.drivers import make_driver
from deploy.traffic import TRAFFIC, make_traffic
from roadloop.types import Behaviour, Observation, Trigger
from sim.run import drive_scenario
from sim.scenarios import build_scenario
from sim.simulator import SimWorld
from sim.state import OFF_ROAD, RED_LIGHT

FAMILIES = ("dense_town", "roundabout", "unprotected_left_turn", "merge")
STANDS = 10.0
"""s"""


@dataclass
class Figures:
    """Sums over drives."""

    metres: float = 0.0
    steps: int = 0
    """of all vehicles"""
    contacts: int = 0
    with_ego: int = 0
    red: int = 0
    off_road: int = 0
    beside: float = 0.0
    """m, the centre beyond the lane's edge"""
    vehicles: int = 0
    stand: int = 0
    incidents: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """A row of the table."""
        km = self.metres / 1000.0
        return (
            f"{name:16}{km:8.2f}{self.contacts / km:12.2f}{self.with_ego / km:12.2f}"
            f"{self.red:8}{100.0 * self.off_road / self.steps:10.2f}{self.beside:10.2f}"
            f"{10.0 * self.metres / self.steps:8.2f}{100.0 * self.stand / self.vehicles:10.1f}"
        )


def measure(name: str, families: list[str], seeds: int, seconds: float) -> Figures:
    """All drives with one kind of traffic."""
    f = Figures()
    for family in families:
        for seed in range(seeds):
            _drive(f, name, family, seed, seconds)
    return f


def _drive(f: Figures, name: str, family: str, seed: int, seconds: float) -> None:
    scenario = build_scenario(family, seed=seed, duration=seconds)
    agents, m = scenario.agents, scenario.road_map
    led = np.zeros(1 + len(agents.lane), bool)
    led[1:] = (agents.behaviour == Behaviour.TRAFFIC) & (agents.trigger == Trigger.NEVER)
    world = SimWorld(traffic=make_traffic(name))
    touching: set[tuple[int, int]] = set()
    still = np.zeros(len(led))

    def look(observation: Observation) -> None:
        nonlocal touching, still
        assert world.state is not None
        now, events = world.state.agents.numpy()[0], world.state.events.numpy()[0]
        hit = world.state.hit.numpy()[0]
        there = led & (now["valid"] == 1)
        f.metres += 0.1 * float(now["speed"][there].sum())
        f.steps += int(there.sum())
        f.red += int(((events & int(RED_LIGHT)) != 0)[there].sum())
        f.off_road += int(((events & int(OFF_ROAD)) != 0)[there].sum())
        on = there & (now["lane"] >= 0)
        width = m.point_width[m.point_start[now["lane"][on]]]
        f.beside = max(f.beside, float((np.abs(now["lateral"][on]) - 0.5 * width).max(initial=0.0)))
        pairs = {
            (min(i, j), max(i, j))
            for i, j in enumerate(hit.tolist())
            if j >= 0 and there[i] and (led[j] or j == 0)
        }
        for i, j in sorted(pairs - touching):
            f.contacts += i > 0
            f.with_ego += i == 0
            f.incidents.append(f"{family} {seed}: {observation.time:.1f} s, {i} and {j}")
        touching = pairs
        still = np.where(there & (now["speed"] < 0.1), still + 0.1, 0.0)

    drive_scenario(scenario, make_driver("route-follower"), world, on_step=look)
    f.vehicles += int(led.sum())
    f.stand += int((still >= STANDS).sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--traffic", nargs="+", default=list(TRAFFIC))
    parser.add_argument("--incidents", action="store_true", help="say which")
    options = parser.parse_args()
    head = ("contacts/km", "ego/km", "red", "off %", "beside m", "m/s", "stand %")
    widths = (12, 12, 8, 10, 10, 8, 10)
    print(f"{'traffic':16}{'km':>8}" + "".join(f"{h:>{w}}" for h, w in zip(head, widths)))
    for name in options.traffic:
        figures = measure(name, list(options.families), options.seeds, options.seconds)
        print(figures.line(name), flush=True)
        if options.incidents:
            print("\n".join(figures.incidents))


if __name__ == "__main__":
    main()
