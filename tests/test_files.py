"""Whole files: replaced at the end of the block, untouched where it raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from roadloop.files import replaced


def test_the_file_is_replaced_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replaced(path) as hidden:
        hidden.write_text("one")
        assert not path.exists()
    with replaced(path) as hidden:
        hidden.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("one")
    with pytest.raises(ValueError, match="stop"), replaced(path) as hidden:
        hidden.write_text("half of")
        raise ValueError("stop")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
