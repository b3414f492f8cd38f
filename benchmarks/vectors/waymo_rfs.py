"""Our rater feedback score beside Waymo's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from vectors.table import Row, compare

from planning.rater_feedback import rater_feedback

SCORE = "Waymo rater feedback"


def check(folder: Path) -> list[Row]:
    """Two rows: the score, and whether each trajectory stays in a trust region."""
    mine: tuple[list, list] = ([], [])
    theirs: tuple[list, list] = ([], [])
    for path in sorted(folder.glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            feedback = rater_feedback(
                np.array(case["inference_trajectories"]),
                np.array(case["inference_probs"]),
                [np.array(path) for path in case["rater_trajectories"]],
                np.array(case["rater_labels"]),
                case["init_speed"],
            )
            mine[0].append(feedback.score)
            mine[1].extend(feedback.trusted.tolist())
            theirs[0].append(case["expected"]["rater_feedback_score"])
            theirs[1].extend(case["expected"]["is_fully_within_trust_region"])
    rows = [
        compare(SCORE, "rater feedback score", mine[0], theirs[0], 1e-9, relative=True),
        compare(SCORE, "within a trust region", mine[1], theirs[1]),
    ]
    return [row for row in rows if row.cases]
