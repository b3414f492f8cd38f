"""How well the simulator's traffic behaves: 100 vehicles for 10 minutes on each town.

    python benchmarks/traffic_quality.py [MAP ...] [--vehicles 100] [--minutes 10] [--seed 0]

Prints, per map: collisions between agents per vehicle-kilometre (one per pair and contact), red
lights crossed, vehicles stuck (standing for more than 60 s at a stretch without a cause ahead: red
light, or a queue that ends at one; or for more than 200 s whatever the cause), the longest stand,
distance from the lane's centre outside junctions and lane changes (99th percentile), mean speed,
and how fast it was computed. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from roadloop.maps.cache import load_map
from roadloop.types import EgoState, LightState, Route, Scenario
from sim.lights import light_programme
from sim.population import agents_from, traffic
from sim.simulator import Simulator
from sim.state import LEFT_MAP, OFF_ROAD, RED_LIGHT, WRONG_WAY

TOWNS = ("Town01.xodr", "Town03.xodr.gz", "Town04.xodr.gz", "Town05.xodr.gz", "Town10HD.xodr.gz")
STUCK = 60.0
"""s at a standstill without a cause"""
GRIDLOCK = 200.0
"""s at a standstill that no light explains: more than two cycles of the longest programme"""
TARGETS = {"collisions/km": 0.02, "red lights": 0, "stuck %": 2.0, "offset p99": 0.4}


def world_without_ego(road_map, vehicles: int, seed: int, dt: float, duration: float) -> Scenario:
    """Traffic only: the ego stands far outside the map."""
    rng = np.random.default_rng(seed)
    low = road_map.point_xyz[:, :2].min(0) - 1000.0
    zero = np.float64(0.0)
    ego = EgoState(np.float64(low[0]), np.float64(low[1]), zero, zero, zero, zero, zero, zero)
    return Scenario(
        name="traffic",
        family="traffic",
        seed=seed,
        road_map=road_map,
        duration=duration,
        dt=dt,
        ego=ego,
        route=Route(np.zeros(0, np.int32), 0.0, 0.0),
        agents=agents_from(traffic(road_map, rng, vehicles)),
        lights=light_programme(road_map, seed),
    )


def waits_for_a_light(agents: np.ndarray, lights: np.ndarray, road_map) -> np.ndarray:
    """(agents,) bool: it stands for a red or yellow light within 15 m, or behind such a one."""
    stop_of = {}
    rows = zip(road_map.stop_lane, road_map.stop_s, road_map.stop_signal, strict=True)
    for lane, s, signal in rows:
        stop_of.setdefault(int(lane), []).append((float(s), int(signal)))
    held = np.zeros(len(agents), bool)
    for i, a in enumerate(agents):
        start = -float(a["s"])
        for lane in a["ahead"][:3]:
            for s, signal in stop_of.get(int(lane), ()):
                red = lights[signal] in (LightState.RED, LightState.YELLOW)
                held[i] |= red and 0.0 < start + s < 15.0
            start += float(road_map.lane_length[lane]) if lane >= 0 else 1e9
    for _hop in range(len(agents)):
        behind = (agents["leader"] >= 0) & held[agents["leader"]] & ~held
        if not behind.any():
            break
        held |= behind
    return held


def measure(road_map, vehicles: int, minutes: float, seed: int, dt: float = 0.1) -> dict:
    """The figures of one map, by name; ``incidents`` lists what went wrong and where."""
    scenario = world_without_ego(road_map, vehicles, seed, dt, 60.0 * minutes)
    simulator = Simulator()
    state = simulator.reset([scenario])
    moving = slice(1, None)
    standing, longest, still_for = np.zeros(vehicles), 0.0, np.zeros(vehicles)
    stuck = np.zeros(vehicles, bool)
    counts = dict.fromkeys(("hit", "red", "off", "wrong", "left"), 0)
    metres, speeds, offsets, incidents = 0.0, [], [], []
    touching: set[tuple[int, int]] = set()
    started = time.perf_counter()
    for step in range(round(60.0 * minutes / dt)):
        state = simulator.step(state, np.zeros((1, 2), np.float32))
        a = state.agents.numpy()[0][moving]
        events = state.events.numpy()[0][moving]
        hit = state.hit.numpy()[0][moving]
        lights = state.lights.numpy()[0]
        valid = a["valid"] == 1
        metres += float(np.abs(a["speed"][valid]).sum()) * dt
        speeds.append(a["speed"][valid].mean() if valid.any() else 0.0)
        pairs = {(min(i + 1, int(j)), max(i + 1, int(j))) for i, j in enumerate(hit) if j > 0}
        for i, j in pairs - touching:
            counts["hit"] += 1
            incidents.append((step * dt, "hit", i, j))
        touching = pairs
        bits = (("red", RED_LIGHT), ("off", OFF_ROAD), ("wrong", WRONG_WAY), ("left", LEFT_MAP))
        for name, bit in bits:
            which = np.flatnonzero(events & int(bit))
            counts[name] += len(which)
            if name in ("red",):
                incidents += [(step * dt, name, int(i) + 1, -1) for i in which]
        steady = valid & (a["change"] >= 1.0) & (a["lane"] >= 0)
        steady[steady] &= road_map.lane_junction[a["lane"][steady]] < 0
        target = state.fixed.traits.numpy()[0][moving]["lateral_offset"]
        offsets.append(np.abs(a["lateral"] - target)[steady].astype(np.float32))
        still = valid & (a["speed"] < 0.1)
        cause = (
            waits_for_a_light(state.agents.numpy()[0], lights, road_map)[moving]
            if still.any() and step % 10 == 0
            else None
        )
        standing = np.where(still, standing + dt, 0.0)
        still_for = np.where(still, still_for + dt, 0.0)
        longest = max(longest, float(still_for.max()))
        if cause is not None:
            standing = np.where(cause, 0.0, standing)
        now = (standing > STUCK) | (still_for > GRIDLOCK)
        for i in np.flatnonzero(now & ~stuck):
            incidents.append((step * dt, "stuck", int(i) + 1, int(a["leader"][i])))
        stuck |= now
    elapsed = time.perf_counter() - started
    kilometres = metres / 1000.0
    offset = np.concatenate(offsets)
    return {
        "vehicle-km": kilometres,
        "collisions": counts["hit"],
        "collisions/km": counts["hit"] / max(kilometres, 1e-9),
        "red lights": counts["red"],
        "stuck %": 100.0 * stuck.mean(),
        "longest stand": longest,
        "offset p99": float(np.percentile(offset, 99.0)),
        "mean m/s": float(np.mean(speeds)),
        "off road": counts["off"],
        "wrong way": counts["wrong"],
        "left map": counts["left"],
        "x real time": 60.0 * minutes / elapsed,
        "incidents": incidents,
        "state": state,
    }


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"
    parser.add_argument("maps", nargs="*", default=[str(default / name) for name in TOWNS])
    parser.add_argument("--vehicles", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--incidents", action="store_true", help="list every incident")
    args = parser.parse_args()
    missed = False
    for k, path in enumerate(args.maps):
        road_map = load_map(path)
        row = measure(road_map, args.vehicles, args.minutes, args.seed)
        shown = {n: v for n, v in row.items() if not isinstance(v, list) and n != "state"}
        if k == 0:
            print(f"{'map':10s}" + "".join(f"{n:>14s}" for n in shown))
        print(
            f"{road_map.name:10s}"
            + "".join(f"{v:14.3f}" if isinstance(v, float) else f"{v:14d}" for v in shown.values()),
            flush=True,
        )
        missed |= any(row[name] > limit for name, limit in TARGETS.items())
        if args.incidents:
            for incident in row["incidents"]:
                when, what, who, other = incident
                print(f"   {when:6.1f} s  {what} {who} {other}")
    print("targets: " + ", ".join(f"{name} <= {limit}" for name, limit in TARGETS.items()))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
