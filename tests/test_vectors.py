"""Every reference output that comes with the tests is reproduced."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_vectors import FAMILIES, check_family, table
from vectors.table import compare

VECTORS = Path(__file__).resolve().parent / "vectors"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_value_of_the_references_is_reproduced(family: str) -> None:
    rows = check_family(VECTORS / family)
    assert rows
    short = [row for row in rows if not row.reached]
    assert not short, "\n".join(table(short))


def test_the_comparison_can_fail() -> None:
    nan, inf = float("nan"), float("inf")
    assert compare("s", "t", [1.0, nan, inf], [1.0, nan, inf]).reached
    assert not compare("s", "t", [1.0, 0.0], [1.0, nan], 1.0).reached
    assert not compare("s", "t", [-inf], [inf], 1e9).reached
    assert not compare("s", "t", [1.0], [1.0, 1.0]).reached
    assert not compare("s", "t", ["a", "b"], ["a", "c"]).reached
    assert not compare("s", "t", [], []).reached
    assert compare("s", "t", [(), ()], [(), ()]).reached
    assert not compare("s", "t", [(), (3,)], [(), ()]).reached
    assert compare("s", "t", [((3, "id"),)], [((3, "id"),)]).reached
    assert not compare("s", "t", [(), (3,)], [(2,), (3,)]).reached
    close = compare("s", "t", [1.0, 2.0], [1.0, 2.0 + 1e-7], 1e-6)
    assert close.reached and close.equal == 2 and 0.9e-7 < close.largest < 1.1e-7
    assert compare("s", "t", [1e9 + 1.0], [1e9], 1e-8, relative=True).reached
    assert not compare("s", "t", [1e9 + 1.0], [1e9], 1e-8).reached
