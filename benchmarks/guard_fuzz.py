"""The guard against plans and scenes that no planner should make: thousands of them, seeded.

    OMP_NUM_THREADS=1 python benchmarks/guard_fuzz.py [--cases 10000] [--seed 0] [--workers 2]

Each case is an ego on a real route with road users around it, a few steps with an innocent plan,
then one of `PLANS` or `SENSES` gone wrong (guard_scenes.py). guard_judge.py judges what the guard
lets through, and tries every constant deceleration from 0 to full braking beside it, along the
guard's path and along the innocent one. Counted per kind:

- ``changed``: the guard did not hand the plan on as it was;
- ``rss``: what it handed on violates RSS; ``of``: how many of the plans that were given do;
- ``hits``: it meets somebody; ``of``: likewise;
- ``form``: not finite, not at the ego, or no way a car can go;
- ``state``: the guard did not stop the car though nothing was seen for too long.

``rss`` and ``hits`` only count where one of the braking profiles does better. Exit status 1 where
anything but ``changed`` and ``of`` is not 0; the numbers of such cases are listed, and ``--only``
runs one of them alone. Counts are the same for any number of workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from guard_judge import FULL, Judge, form_fault
from guard_scenes import DT, LASTING, PLANS, SENSES, Rng, Scene, make_scene, routes, show

from planning.guard import Guard
from roadloop.types import Trajectory

KINDS = (*PLANS, *SENSES)
CHUNK = 100
"""cases a worker is handed at once"""
CLEAR = 0.3
"""m by which a braking profile must do better to count as compliant"""


@dataclass
class Row:
    """Counts of one kind."""

    cases: int = 0
    changed: int = 0
    rss: int = 0
    rss_given: int = 0
    hits: int = 0
    hits_given: int = 0
    form: int = 0
    state: int = 0
    failed: list[int] = field(default_factory=list)
    """numbers of the cases that count in ``rss``, ``hits``, ``form`` or ``state``"""

    @property
    def failures(self) -> int:
        """What should not be."""
        return self.rss + self.hits + self.form + self.state

    def plus(self, other: Row) -> Row:
        """Both together."""
        mine, theirs = (tuple(getattr(r, f.name) for f in dataclasses.fields(Row))
                        for r in (self, other))  # fmt: skip
        return Row(*(a + b for a, b in zip(mine, theirs, strict=True)))


def run_case(kind: str, scene: Scene, rng: Rng) -> Row:
    """One case."""
    guard = Guard()
    guard.reset(scene.scenario)
    lasts = kind in LASTING
    steps = 12 if lasts else 2
    wrong_for = int(rng.integers(1, 11)) if lasts else 1
    for step in range(steps + 1):
        shown = show(scene, kind, step, steps - wrong_for, rng)
        seen, given = shown.observation, shown.plan
        if isinstance(given, Exception):
            driven: object = guard.without_plan(seen, shown.tracks, given)
        else:
            driven = guard.check(seen, shown.tracks, None, given)  # type: ignore[arg-type]
    row, now = Row(cases=1, changed=int(driven is not given)), steps * DT
    fault = form_fault(driven, scene.ego(now))
    row.form += bool(fault)
    if fault or not isinstance(driven, Trajectory):
        return row
    unseen = wrong_for * DT
    if kind in ("no tracks", "stale stamps") and unseen > 0.65 and scene.speed > 0.5:
        row.state += guard.state not in ("minimal-risk", "emergency")
    count(row, Judge(scene, now, shown.users), given, driven, scene.plan(now))
    return row


def count(row: Row, judge: Judge, given: object, driven: Trajectory, innocent: Trajectory) -> None:
    """Judge what was given and what is driven."""
    if isinstance(given, Trajectory) and not form_fault(given, judge.ego):
        before = judge.judge(given)
        row.rss_given += before.rss
        row.hits_given += before.hit
    after = judge.judge(driven)
    if not (after.rss or after.hit):
        return
    tries = [judge.judge(p, a) for p in (driven, innocent) for a in np.arange(0.0, FULL + 0.1, 0.5)]
    row.rss += after.rss and any(not o.rss and o.clearance > CLEAR for o in tries)
    row.hits += after.hit and any(not o.touch and not o.rss for o in tries)


_routes = lru_cache(routes)


def run_cases(numbers: Sequence[int], seeds: Sequence[int]) -> dict[str, Row]:
    """Counts by kind of the cases with these numbers; each has a seed of its own."""
    table = {kind: Row() for kind in KINDS}
    for number, seed in zip(numbers, seeds, strict=True):
        kind, rng = KINDS[number % len(KINDS)], np.random.default_rng(seed)
        row = run_case(kind, make_scene(rng, _routes()), rng)
        row.failed = [number] if row.failures else []
        table[kind] = table[kind].plus(row)
    return table


def case_seeds(cases: int, seed: int) -> list[int]:
    """The seeds of the first cases."""
    rng = np.random.default_rng(seed)
    return [int(rng.integers(2**63)) for _ in range(cases)]


def fuzz(cases: int, seed: int, workers: int = 1) -> Iterator[dict[str, Row]]:
    """Counts by kind so far, every `CHUNK` cases; the same for any number of workers."""
    seeds, numbers = case_seeds(cases, seed), range(cases)
    cuts = range(0, cases, CHUNK)
    chunks = [numbers[k : k + CHUNK] for k in cuts], [seeds[k : k + CHUNK] for k in cuts]
    table = {kind: Row() for kind in KINDS}
    if workers == 1:
        for found in map(run_cases, *chunks):
            yield (table := {kind: table[kind].plus(found[kind]) for kind in KINDS})
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for found in pool.map(run_cases, *chunks):
            yield (table := {kind: table[kind].plus(found[kind]) for kind in KINDS})


def total_of(table: dict[str, Row]) -> Row:
    """All kinds together."""
    total = Row()
    for row in table.values():
        total = total.plus(row)
    return total


def print_table(table: dict[str, Row]) -> None:
    """By kind and in all."""
    print(f"{'kind':20} cases changed  rss (of)    hits (of)    form state")
    total = total_of(table)
    for kind, r in [*table.items(), ("all", total)]:
        print(
            f"{kind:20} {r.cases:5} {r.changed:7} {r.rss:4} ({r.rss_given:4}) "
            f"{r.hits:5} ({r.hits_given:4}) {r.form:5} {r.state:5}"
        )
    if total.failed:
        print("failed:", *sorted(total.failed))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--only", type=int, help="number of one case to run alone")
    options = parser.parse_args()
    if options.only is not None:
        table = run_cases([options.only], case_seeds(options.only + 1, options.seed)[-1:])
    else:
        table, began = {}, time.monotonic()
        for table in fuzz(options.cases, options.seed, options.workers):
            all_ = total_of(table)
            took = time.monotonic() - began
            print(f"\r{all_.cases} cases, {len(all_.failed)} failed, {took:.0f} s",
                  end="", file=sys.stderr, flush=True)  # fmt: skip
        print(file=sys.stderr)
    print_table(table)
    return int(any(row.failures for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
