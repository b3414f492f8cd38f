"""Pages of one file: a template with marks ``{{name}}``, filled in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files


def asset(name: str) -> str:
    """The text of a file beside this one, e.g. ``report/report.html``."""
    return files("roadloop.viz").joinpath(name).read_text(encoding="utf-8")


def style(name: str) -> str:
    """A style sheet after the one that all pages share."""
    return f"{asset('theme.css')}\n{asset(name)}"


def fill(template: str, pieces: Mapping[str, str]) -> str:
    """The template with each mark replaced by its piece; what is put in is never searched."""
    parts = template.replace("{{", "\0").replace("}}", "\0").split("\0")
    parts[1::2] = [pieces[name] for name in parts[1::2]]
    return "".join(parts)
