"""How well a driver finishes random routes in traffic on CARLA's towns.

    python benchmarks/driver_routes.py [MAP ...] [--driver rule] [--routes 8] [--agents 30]

Drives ``--routes`` random routes of 300 to 500 m per map (scenario ``random_route``) among
``--agents`` vehicles and a few pedestrians, two at a time, and scores each with the closed-loop
terms. Prints one line per route that was not finished or lost a safety term, and a table. Exit
status 1 if fewer than 95 % were finished, or fewer than 95 % without an at-fault collision.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

TOWNS = ("Town01.xodr", "Town03.xodr.gz", "Town04.xodr.gz", "Town05.xodr.gz", "Town10HD.xodr.gz")
SAFETY = ("collision_at_fault", "off_road", "wrong_way", "red_light", "stop_sign")


def drive(map_path: str, driver_name: str, agents: int, seed: int) -> dict:
    """One route; the figures of the table."""
    from deploy.drivers import make_driver
    from roadloop.logs.store import RolloutWriter, read_rollout
    from roadloop.maps.cache import load_map
    from roadloop.scoring.terms import score
    from sim.run import drive_scenario
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    road_map = load_map(map_path)
    scenario = build_scenario("random_route", seed=seed, road_map=road_map, agents=agents)
    with tempfile.TemporaryDirectory() as folder:
        with RolloutWriter(Path(folder) / "rollout", scenario, driver_name) as writer:
            last = drive_scenario(scenario, make_driver(driver_name), SimWorld(), writer=writer)
            writer.close()
        result = score(read_rollout(Path(folder) / "rollout"), road_map)
    progress = result.term("route_progress")
    lost = [result.term(name) for name in SAFETY if result.term(name).passed is False]
    return {
        "map": road_map.name,
        "seed": seed,
        "finished": progress.value >= 1.0,
        "progress": progress.value,
        "time": last.time,
        "at_fault": result.term("collision_at_fault").passed is False,
        "hit": result.term("collision_not_at_fault").passed is False,
        "comfortable": result.term("comfort").passed is True,
        "lost": [f"{term.name}: {term.detail} ({term.lost_at} s)" for term in lost],
    }


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"
    parser.add_argument("maps", nargs="*", default=[str(default / name) for name in TOWNS])
    parser.add_argument("--driver", default="rule")
    parser.add_argument("--routes", type=int, default=8, help="per map")
    parser.add_argument("--agents", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the first route")
    args = parser.parse_args()
    seeds = range(args.seed, args.seed + args.routes)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(drive, m, args.driver, args.agents, k) for m in args.maps for k in seeds
        ]
        rows = [job.result() for job in jobs]
    for row in rows:
        if row["lost"] or not row["finished"]:
            print(f"{row['map']} seed {row['seed']}: {row['progress']:.0%} in {row['time']:.0f} s")
            for line in row["lost"]:
                print(f"    {line}")
    print(
        f"{'map':10s}{'routes':>8s}{'finished':>10s}{'at fault':>10s}{'hit by':>8s}{'comfort':>9s}"
    )
    for name in [*dict.fromkeys(row["map"] for row in rows), "all"]:
        of = [row for row in rows if name in (row["map"], "all")]
        keys = ("finished", "at_fault", "hit", "comfortable")
        a, b, c, d = (sum(row[key] for row in of) for key in keys)
        print(f"{name:10s}{len(of):8d}{a:10d}{b:10d}{c:8d}{d:9d}")
    finished = sum(row["finished"] for row in rows) / len(rows)
    clean = 1.0 - sum(row["at_fault"] for row in rows) / len(rows)
    print(f"finished {finished:.1%}, without a collision at fault {clean:.1%} (targets 95 %)")
    return int(finished < 0.95 or clean < 0.95)


if __name__ == "__main__":
    sys.exit(main())
