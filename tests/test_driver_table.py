"""Tables of several drivers: means, differences paired by case, groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from suite_runs import case, made_up_run, results, score, term

from roadloop.errors import RoadloopError
from roadloop.suites.driver_table import (
    DriverRun,
    against_table,
    driver_tables,
    group_table,
    means_table,
)

FEW = ("cut_in", "merge")


def run(name: str, skill: float = 0.0, **more) -> DriverRun:
    made = made_up_run(3, skill=skill, seeds=6, families=FEW, folder=f"runs/{name}", **more)
    return DriverRun(name, made)


def cells(table: str, row: int) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[row].strip("|").split("|")]


def test_means_are_those_of_the_cases_and_say_how_many() -> None:
    one = run("one", failures=("cut_in-2",))
    table = means_table([one])
    assert cells(table, 0)[:3] == ["driver", "cases", "nuPlan"]
    assert cells(table, 2)[:2] == ["`one`", "11 of 12"]
    mean = np.mean([next(s["value"] for s in c.scores if s["name"] == "nuplan")
                    for c in one.results.finished])  # fmt: skip
    assert cells(table, 2)[2].startswith(f"{mean:.3f} [")


def test_differences_are_paired_by_case() -> None:
    """Who is 0.1 better in every case is so with an interval of no width, whatever the cases."""

    def made(shift: float, seeds: range) -> DriverRun:
        rng = np.random.default_rng(0)
        values = rng.uniform(0.0, 0.9, 10)
        clean = [term("collision_at_fault", "Collision", 0.0, passed=True)]
        cases = [
            case("cut_in", k, [score("safety", None, clean), score("nuplan", values[k] + shift)])
            for k in seeds
        ]
        return DriverRun(f"by{shift:g}", results(cases))

    base, better = made(0.0, range(10)), made(0.1, range(2, 10))
    table = against_table([base, better], "by0")
    assert cells(table, 2)[:3] == ["`by0.1`", "8", "**+0.100 [+0.100, +0.100]**"]
    assert against_table([base], "by0") == ""


def test_groups_are_families_or_else_maps() -> None:
    table = group_table([run("one"), run("two", 0.9)])
    assert [cells(table, row)[0] for row in (2, 3)] == list(FEW)
    towns = [
        case(
            "random_route",
            seed,
            [
                score("safety", None, [term("collision_at_fault", "C", 1.0, passed=seed == 0)]),
                score("nuplan", 0.5 * seed),
            ],
            name=f"random_route-{town}-route1000-{seed}",
        )
        for town in ("Town03", "Town05")
        for seed in (0, 1)
    ]
    table = group_table([DriverRun("rule", results(towns))])
    assert cells(table, 2) == ["random_route-Town03-route1000", "0.250 (1)"]


def test_scores_of_drives_besides_become_a_column() -> None:
    plain = run("one")
    pdm = {c.case: 0.5 for c in plain.results.cases}
    pdm[next(iter(pdm))] = float("nan")
    table = means_table([dataclasses.replace(plain, extra={"PDM": pdm})])
    assert cells(table, 0)[3] == "PDM" and cells(table, 2)[3].startswith("0.500")


def protocol_run(name: str, hit: set[int]) -> DriverRun:
    def r157(avoided: bool):
        terms = [
            term("avoided", "Avoided", float(avoided), passed=avoided),
            term("impact_speed", "Impact speed", 0.0 if avoided else 3.0, "m/s"),
        ]
        return score("r157", None, terms)

    cases = [
        case("alks_cut_in", k, [r157(k not in hit)], name=f"cut-{k}", ego_speed=16.6667)
        for k in range(5)
    ]
    return DriverRun(name, results(cases))


def test_of_uns_conflicts_those_count_that_a_careful_human_avoids() -> None:
    text = driver_tables([protocol_run("r157-cc", {0, 1}), protocol_run("rule", {1, 4})], "rule")
    assert "Of the 3 conflicts that `r157-cc` avoids" in text
    assert "* `rule` 2 of 3: not cut-4" in text
    assert "| `alks_cut_in` | `rule` | 3/5 | 3/5 |" in text


def test_mistakes_are_said() -> None:
    other = DriverRun("other", results([case("cut_in", 0)], Path("runs/x"), suite_hash="1"))
    with pytest.raises(RoadloopError, match="different suites"):
        driver_tables([run("one"), other], "one")
    with pytest.raises(RoadloopError, match='"nobody" is none of one'):
        driver_tables([run("one")], "nobody")
