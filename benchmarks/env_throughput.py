"""How fast the environments step, beside highway-env's with as many vehicles in the same run.

    python benchmarks/env_throughput.py [--worlds 64] [--agents 32] [--seconds 4] [--cameras]

One environment step of ours is 0.1 s of driving with everything on: traffic, lights, collisions,
observation, reward terms and the restart of ended episodes. One of `highway-fast-v0` is 1 s in
five simulation steps. So both are printed: environment steps and simulated seconds, per second of
one core (CPU seconds, the best of short windows: what the code does on a core of its own).
Both drive with random actions. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import gymnasium
import numpy as np

import sim.envs

WINDOW = 0.25
"""s of CPU time measured at a stretch"""
WARM = 100
"""steps before measuring, so that scenarios are built and traffic has formed"""


def rate(step: Callable[[], int], seconds: float) -> float:
    """Environment steps per CPU second: the best window."""
    best, until = 0.0, time.process_time() + seconds
    while time.process_time() < until:
        done, started = 0, time.process_time()
        while time.process_time() - started < WINDOW:
            done += step()
        best = max(best, done / (time.process_time() - started))
    return best


def ours(worlds: int, agents: int, seconds: float, observation: str) -> tuple[float, float]:
    """Steps/s and s until ready of the vector environment; ``agents`` road users per world."""
    started = time.perf_counter()
    env = gymnasium.make_vec(
        sim.envs.DRIVE, num_envs=worlds, vectorization_mode="vector_entry_point", pool=worlds,
        agents=vehicles(agents), observation=observation, scenario="dense_town",
    )  # fmt: skip
    env.reset(seed=0)
    ready = time.perf_counter() - started
    env.action_space.seed(0)
    actions = [env.action_space.sample() * [0.5, 0.1] + [0.3, 0.0] for _ in range(64)]
    turn = 0

    def step() -> int:
        nonlocal turn
        turn += 1
        env.step(actions[turn % len(actions)])
        return worlds

    for _ in range(WARM if observation == "vector" else 3):
        step()
    return rate(step, seconds), ready


def vehicles(agents: int) -> int:
    """Vehicles that, with a quarter as many pedestrians and the ego, make ``agents``."""
    return max(int((agents - 1) / 1.25 + 0.5), 1)


def bare(worlds: int, agents: int, seconds: float) -> float:
    """Worlds stepped per CPU second by the simulator alone."""
    env = gymnasium.make_vec(sim.envs.DRIVE, num_envs=worlds, pool=worlds, agents=vehicles(agents))
    env.reset(seed=0)
    for _ in range(WARM):
        env.step(np.tile([0.1, 0.0], (worlds, 1)))
    simulator, state, control = env.core.simulator, env.core.state, env.core._control

    def step() -> int:
        simulator.step(state, control)
        return worlds

    return rate(step, seconds)


def highway_env(agents: int, seconds: float) -> tuple[float, float]:
    """Steps/s of highway-fast-v0 with ``agents`` vehicles in all, and s simulated per step."""
    import highway_env

    gymnasium.register_envs(highway_env)
    env = gymnasium.make("highway-fast-v0", config={"vehicles_count": agents - 1})
    env.reset(seed=0)
    env.action_space.seed(0)

    def step() -> int:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
        return 1

    return rate(step, seconds), 1.0 / env.unwrapped.config["policy_frequency"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=64)
    parser.add_argument("--agents", type=int, default=32, help="road users per world")
    parser.add_argument("--seconds", type=float, default=4.0, help="CPU s per figure")
    parser.add_argument("--cameras", action="store_true", help="three cameras of 256 x 128 too")
    parser.add_argument("--skip-highway-env", action="store_true")
    args = parser.parse_args()
    worlds, agents = args.worlds, args.agents

    print(f"{worlds} worlds x {agents} road users, one thread", flush=True)
    print(f"{'':34s}{'env steps / s':>15s}{'simulated s / s':>17s}{'ms / batch':>12s}")

    def row(name: str, steps: float, dt: float, batch: int) -> None:
        print(f"{name:34s}{steps:15,.0f}{steps * dt:17,.0f}{1e3 * batch / steps:12.2f}", flush=True)

    row("simulator alone", bare(worlds, agents, args.seconds), 0.1, worlds)
    found = {}
    for kind in ("vector", "bev", *(["cameras"] if args.cameras else [])):
        found[kind], ready = ours(worlds, agents, args.seconds, kind)
        row(f"roadloop/Drive-v0, {kind}", found[kind], 0.1, worlds)
        if kind == "vector":
            took = ready
    single, _ = ours(1, agents, args.seconds, "vector")
    row("roadloop/Drive-v0, vector, 1 world", single, 0.1, 1)
    if not args.skip_highway_env:
        theirs, dt = highway_env(agents, args.seconds)
        row("highway-fast-v0, 1 world", theirs, dt, 1)
        print(
            f"ours (vector) / highway-fast-v0: {found['vector'] / theirs:.0f} x in steps, "
            f"{found['vector'] * 0.1 / (theirs * dt):.0f} x in simulated seconds"
        )
    print(f"ready (make_vec, map, scenarios, first reset): {took:.1f} s")


if __name__ == "__main__":
    main()
