"""Runs of a suite made up with a seed: fourteen families, failures, and every kind of term."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roadloop.suites.results import CaseResult, SuiteResults

FAMILIES = (
    "lane_following", "lead_vehicle_brake", "cut_in", "red_light", "stop_sign",
    "unprotected_left_turn", "pedestrian_crossing", "cyclist_ahead", "parked_obstruction", "merge",
    "roundabout", "uncontrolled_junction", "random_route", "dense_town",
)  # fmt: skip
SAFETY = (
    ("collision_at_fault", "Collision, at fault", "", "hit standing car 12 at 3.2 m/s"),
    ("collision_not_at_fault", "Collision, not at fault", "", "was hit by van 7 from behind"),
    ("off_road", "Off road", "m", "left the road by up to 0.62 m"),
    ("wrong_way", "Wrong way", "m", "drove briefly against the lane, 2.4 m within a second"),
    ("red_light", "Red light", "", "ran red light 114"),
    ("stop_sign", "Stop sign", "", "rolled over stop line 31 at 1.2 m/s at the slowest"),
    ("route_progress", "Route progress", "", "drove 14% of the route"),
    ("min_ttc", "Time to collision", "s", "was 0.6 s from a collision at 8.4 s"),
    ("comfort", "Comfort", "", "jerk 9.13 m/s^3 (bound 8.37) from 4.1 s"),
    ("speed_limit", "Speed limit", "m/s", "up to 3.1 m/s above the limit of 13.9 m/s at 6.0 s"),
)
NUPLAN = (
    ("no_ego_at_fault_collisions", "No at-fault collision"),
    ("drivable_area_compliance", "Drivable-area compliance"),
    ("driving_direction_compliance", "Driving-direction compliance"),
    ("ego_is_making_progress", "Making progress"),
    ("time_to_collision_within_bound", "Time to collision within bound"),
    ("ego_progress_along_expert_route", "Progress along the expert's route"),
    ("speed_limit_compliance", "Speed-limit compliance"),
    ("ego_is_comfortable", "Comfort"),
)


def term(name, title, value, unit="", passed=None, detail="", better=None):
    """A term as ``Score.to_json`` writes it."""
    lost_at = 8.4 if passed is False else None
    return {
        "name": name, "title": title, "value": value, "unit": unit, "passed": passed,
        "lost_at": lost_at, "detail": detail, "higher_is_better": better,
    }  # fmt: skip


def score(name, value, terms=(), *, title=None, version="1", unit=""):
    """A score as ``Score.to_json`` writes it, without its series."""
    return {
        "name": name, "title": title or name, "version": version, "value": value, "unit": unit,
        "terms": list(terms),
    }  # fmt: skip


def case(family, seed, scores=(), *, failed="", name=None, **parameters):
    """A case of a suite as it ended."""
    return CaseResult(
        case=name or f"{family}-{seed}",
        scenario=family,
        family=family,
        seed=seed,
        parameters=parameters,
        failed=failed,
        replay=f"roadloop drive {family} --seed {seed} --seconds 30",
        steps=0 if failed else 300,
        dt=0.0 if failed else 0.1,
        rollout_hash="" if failed else f"{seed:064x}",
        scores=tuple(scores),
    )


def results(cases, folder=Path("runs/made-up"), **run):
    """A run of these cases."""
    names = [case.case for case in cases]
    said = {
        "format": 1, "suite": "standard", "suite_hash": "5f" * 32, "driver": "idm",
        "perception": "perfect", "settings": {"workers": 2, "timeout": 300.0}, "latency": 0.0,
        "versions": {"roadloop": "0.1.0", "numpy": "2.1.0"}, "cases": names,
    }  # fmt: skip
    return SuiteResults(Path(folder), {**said, **run}, tuple(cases))


def made_up_run(
    seed=0, *, skill=0.0, seeds=12, families=FAMILIES, failures=(), folder="runs/made-up", **run
):
    """A whole run; ``skill`` in [-1, 1] moves every chance of losing a term.

    Runs of the same ``seed`` share the luck of their cases, as two drivers share scenarios.
    ``failures`` are names of cases that raise.
    """
    cases = []
    for number, family in enumerate(families):
        for each in range(seeds):
            rng = np.random.default_rng([seed, number, each])
            hard = 0.02 + 0.1 * ((number * 5) % len(families)) / len(families)
            name = f"{family}-{each}"
            if name in failures:
                why = "TypeError: the planner returned nothing at 3.2 s"
                cases.append(case(family, each, failed=why))
                continue
            cases.append(case(family, each, _scores(rng, hard, skill, family)))
    return results(cases, folder, **run)


def _scores(rng, hard, skill, family):
    luck = rng.random(len(SAFETY))
    lost = luck < hard * (1.0 - skill)
    safety = []
    for (name, title, unit, detail), failed in zip(SAFETY, lost):
        if name == "red_light" and family not in ("red_light", "dense_town", "random_route"):
            safety.append(term(name, title, None, unit, None, "the map has no traffic lights"))
            continue
        counts = name.startswith("collision") or name in ("red_light", "stop_sign")
        value = float(failed) if counts else _measured(name, bool(failed), rng)
        safety.append(term(name, title, value, unit, not failed, detail if failed else "kept"))
    multipliers = [not lost[0], not lost[2], not lost[3], not lost[6]]
    progress = float(np.clip(0.85 + 0.1 * skill + 0.1 * rng.standard_normal(), 0.0, 1.0))
    weighted = [float(not lost[7]), progress, float(not lost[9]), float(not lost[8])]
    nuplan = [
        term(name, title, float(value), "", None if "progress_along" in name else bool(value),
             "" if value else f"{title} is 0", True)
        for (name, title), value in zip(NUPLAN, [*multipliers, *weighted])
    ]  # fmt: skip
    weights = np.array([5.0, 5.0, 4.0, 2.0])
    value = float(np.prod(multipliers) * (weights @ weighted) / weights.sum())
    penalty = 0.6 ** int(lost[0]) * 0.7 ** int(lost[4]) * 0.8 ** int(lost[5])
    completion = 100.0 * (0.3 if lost[6] else min(1.0, progress + 0.12))
    carla = [
        term("route_completion", "Route completion", completion, "%", None, "", True),
        term("infraction_penalty", "Infraction penalty", penalty, "", None, "", True),
    ]
    rss = [
        term("longitudinal", "Longitudinal distance", 1.0, "", not lost[7],
             "too close to car 3 for 1.2 s" if lost[7] else "", True),
        term("lateral", "Lateral distance", 1.0, "", True, "", True),
    ]  # fmt: skip
    return (
        score("safety", None, safety, title="Safety terms"),
        score("nuplan", value, nuplan, title="nuPlan closed-loop score", version="nuplan 1.2.2"),
        score("carla-2.1", completion * penalty, carla, title="CARLA leaderboard 2.1",
              version="2.1", unit="%"),
        score("bench2drive", completion * penalty, [], title="Bench2Drive driving score",
              version="0.0.4", unit="%"),
        score("rss", None, rss, title="Responsibility-sensitive safety", version="ad-rss 4.7"),
        score("surrogate", float(np.exp(-4.0 * lost.mean())), [], title="Surrogate safety"),
    )  # fmt: skip


def _measured(name, failed, rng):
    worst = {
        "off_road": 0.62, "wrong_way": 2.4, "min_ttc": 0.6, "comfort": 1.0, "speed_limit": 3.1,
        "route_progress": 0.14,
    }[name]  # fmt: skip
    usual = {
        "off_road": 0.0, "wrong_way": 0.0, "min_ttc": 2.0, "comfort": 0.0, "speed_limit": 0.4,
        "route_progress": 0.9,
    }[name]  # fmt: skip
    return worst if failed else usual + 0.1 * float(rng.random()) * (usual > 0.0)
