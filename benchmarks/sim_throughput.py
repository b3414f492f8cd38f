"""How fast the simulator steps: agent-steps per second, everything on.

    python benchmarks/sim_throughput.py [--device cpu] [--seconds 4] [--skip-highway-env]

Traffic (IDM, MOBIL, right of way, lights), vehicle dynamics, collisions, off-road and wrong-way
checks run in every step, for 1, 64 and 1024 worlds of 32 agents in a generated town,
after 20 s in which queues have formed. Figures:
CPU seconds (what one core does, undisturbed by other programs) and wall seconds; one thread, two
threads, and two processes side by side; start-up and first step; and, in the same run, highway-env
(`highway-fast-v0`, `highway-v0`), counting one agent advanced by one simulation step as one step
in both. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np

AGENTS = 32
WINDOW = 0.1
"""s of measuring at a stretch"""


def scenarios(worlds: int):
    """``worlds`` worlds in one generated town of 4 x 4 junctions: 28 vehicles, 4 pedestrians each.

    The ego waits beside the map and is not counted: undriven it would only block a road.
    """
    from sim.scenarios import build_scenario

    town = build_scenario("random_route", seed=0, agents=0).road_map
    low = town.point_xyz.min(0) - 500.0
    walkers = 4  # a sixth of the vehicles, as the scenario adds them
    built = [
        build_scenario("random_route", seed=k, agents=AGENTS - walkers, road_map=town)
        for k in range(min(worlds, 64))
    ]
    away = [replace(s, ego=replace(s.ego, x=low[0], y=low[1])) for s in built]
    return away * max(1, worlds // 64)


class Batch:
    """A batch of worlds warmed up by 20 s of driving, so that queues and junctions are in use."""

    def __init__(self, worlds: int, device: str, threads: int):
        import warp as wp

        from sim.simulator import Simulator

        self.simulator = Simulator(device, threads)
        self.state = self.simulator.reset(scenarios(worlds))
        self.control = wp.zeros(self.state.agents.shape, dtype=wp.vec2, device=device)
        self.size = worlds * AGENTS
        for _ in range(200):
            self.state = self.simulator.step(self.state, self.control)
        self.synchronise = wp.synchronize

    def measure(self, seconds: float) -> tuple[float, float]:
        """Agent-steps per wall second and per CPU second: the best of short windows.

        A shared machine slows down by half for seconds at a time; the best window is what the code
        takes when it has the core to itself.
        """
        best_wall = best_cpu = 0.0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            wall, cpu, steps = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - wall < WINDOW:
                self.state = self.simulator.step(self.state, self.control)
                steps += self.size
            self.synchronise()
            best_wall = max(best_wall, steps / (time.perf_counter() - wall))
            best_cpu = max(best_cpu, steps / max(time.process_time() - cpu, 1e-9))
        return best_wall, best_cpu


def worker(worlds: int, seconds: float, gate, queue) -> None:
    """One of two processes side by side."""
    batch = Batch(worlds, "cpu", 1)
    gate.wait()
    queue.put(batch.measure(seconds)[0])


def two_processes(worlds: int, seconds: float) -> float:
    """Agent-steps per second of two processes together, each with half the worlds."""
    context = multiprocessing.get_context("spawn")
    gate, queue = context.Barrier(2), context.Queue()
    jobs = [
        context.Process(target=worker, args=(worlds // 2, seconds, gate, queue)) for _ in range(2)
    ]
    for job in jobs:
        job.start()
    total = sum(queue.get() for _ in jobs)
    for job in jobs:
        job.join()
    return total


def highway_env(name: str, seconds: float) -> float:
    """Vehicle sub-steps per CPU second of a highway-env environment with its own defaults."""
    import gymnasium
    import highway_env

    gymnasium.register_envs(highway_env)

    env = gymnasium.make(name)
    env.reset(seed=0)
    config = env.unwrapped.config
    substeps = config["simulation_frequency"] // config["policy_frequency"]
    best, until = 0.0, time.process_time() + seconds
    while time.process_time() < until:
        done, cpu = 0, time.process_time()
        while time.process_time() - cpu < WINDOW:
            _, _, terminated, truncated, _ = env.step(1)
            done += substeps * len(env.unwrapped.road.vehicles)
            if terminated or truncated:
                env.reset()
        best = max(best, done / (time.process_time() - cpu))
    env.close()
    return best


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="per figure")
    parser.add_argument("--skip-highway-env", action="store_true")
    args = parser.parse_args()

    started = time.perf_counter()
    import sim.simulator

    imported = time.perf_counter()
    first = scenarios(1)
    built = time.perf_counter()
    simulator = sim.simulator.Simulator(args.device)
    state = simulator.reset(first)
    simulator.step(state, np.zeros((1, 2)))
    stepped = time.perf_counter()
    print(
        f"start-up: import {imported - started:.2f} s, map and scenario {built - imported:.2f} s, "
        f"first reset and step {stepped - built:.2f} s (kernels from the cache or compiled)"
    )
    print(f"{'worlds x agents':>16s}{'threads':>9s}{'per wall s':>14s}{'per CPU s':>14s}")
    rates = {}
    cores = os.cpu_count() or 1
    for worlds in (1, 64, 1024):
        for threads in (1, cores) if worlds > 1 and args.device == "cpu" else (1,):
            wall, cpu = Batch(worlds, args.device, threads).measure(args.seconds)
            rates[worlds, threads] = wall, cpu
            print(f"{worlds:10d} x {AGENTS:3d}{threads:9d}{wall:14,.0f}{cpu:14,.0f}", flush=True)
    if args.device == "cpu" and cores > 1:
        both = two_processes(64, args.seconds)
        one, two = rates[64, 1][0], rates[64, cores][0]
        print(f"two processes, 32 worlds each: {both:,.0f} agent-steps/s together")
        print(f"{cores} threads / 1 thread: {two / one:.2f}; / 2 processes: {two / both:.2f}")
    if not args.skip_highway_env:
        ours = rates[64, 1][1]
        for name in ("highway-fast-v0", "highway-v0"):
            theirs = highway_env(name, args.seconds)
            print(f"{name}: {theirs:,.0f} agent-steps per CPU s; ours {ours / theirs:,.0f} x")


if __name__ == "__main__":
    main()
