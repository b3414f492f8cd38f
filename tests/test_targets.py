"""Targets: those that come with roadloop, and mistakes in their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.targets import find_target, target_names
from roadloop.errors import RoadloopError

NAMES = ["agx-orin", "cpu", "orin-nano-8gb", "orin-nano-super", "orin-nx-16gb", "rtx", "thor"]


def test_every_target_can_be_read_and_none_is_forgotten() -> None:
    assert target_names() == NAMES
    for name in NAMES:
        target = find_target(name)
        assert target.name == name and target.board and target.release >= (1, 7)
        if target.is_tensorrt:
            assert target.compute_capability and target.precision == "fp16" and target.workspace
        if target.jetpack:
            assert target.power_mode and target.memory and target.bandwidth
            assert target.workspace <= 1024 * target.memory / 8  # the rest of the stack needs room


def test_orin_is_ampere_with_tensorrt_10_3() -> None:
    for name in ("orin-nano-8gb", "orin-nano-super", "orin-nx-16gb", "agx-orin"):
        target = find_target(name)
        assert target.compute_capability == ("8.7",) and target.release == (10, 3)
    assert find_target("thor").release > find_target("agx-orin").release
    dla = {name for name in NAMES if find_target(name).dla_cores}
    assert dla == {"orin-nx-16gb", "agx-orin"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("opset: 20", "opset is 20"),
        ("version: new", "expected numbers"),
        ("precision: fp8", "fp8"),
        ("workspace: -1", "0 or more"),
        ("boards: x", "boards"),
    ],
)
def test_mistakes_name_the_file(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{text}\n")
    with pytest.raises(RoadloopError, match=said):
        find_target(str(path))


def test_own_targets_are_named_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('runtime: tensorrt\nversion: "10.13"\n')
    assert find_target(str(path)).name == "mine" and find_target(str(path)).release == (10, 13)
    with pytest.raises(RoadloopError, match='did you mean "agx-orin"'):
        find_target("agx_orin")
    with pytest.raises(RoadloopError, match="no such file"):
        find_target(str(tmp_path / "none.yaml"))
