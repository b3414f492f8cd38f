"""Command lines to typed dataclasses: tyro, with every mistake said in one line.

A verb is a dataclass whose fields are its arguments, whose docstring is its help page, and whose
``run()`` returns the exit status. A field ``config`` names a YAML file with values for the others.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from roadloop.config import find_config, load_config, unknown
from roadloop.doctor import TOP_LEVEL
from roadloop.errors import RoadloopError

T = TypeVar("T")

INTERRUPTED = 130
"""exit status after Ctrl-C: 128 + SIGINT, as shells report it"""


def _option(metavar: str, expected: str, make: Callable[[str], Any]) -> Any:
    """How tyro reads one word: ``make`` of it, or ``expected`` in the message."""

    def read(words: list[str]) -> Any:
        try:
            return make(words[0])
        except ValueError as error:
            raise ValueError(f'expected {expected}, got "{words[0]}"') from error

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


Seconds = Annotated[float | None, _option("S", "a number of seconds", float)]
Count = Annotated[int | None, _option("N", "a whole number", int)]
Seed = Annotated[int, _option("N", "a whole number", int)]
File = Annotated[Path | None, _option("FILE", "a path", Path)]
Folder = Annotated[Path | None, _option("DIR", "a path", Path)]


def default_text(text: str) -> Any:
    """Shown in the help page instead of ``(default: None)``."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


class Verb(Protocol):
    """What the command line runs."""

    def run(self) -> int: ...


def run(verbs: dict[str, type], words: Sequence[str]) -> int:
    """Run one command line; the exit status is 2 after a mistake in the input."""
    try:
        return _verb(verbs, list(words)).run()
    except RoadloopError as error:
        if os.environ.get("ROADLOOP_DEBUG") == "1":
            raise
        print(f"roadloop: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in TOP_LEVEL:
            raise  # a fault of ours, not of the installation
        print(f"roadloop: {error}; `roadloop doctor` says how to install it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("roadloop: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `roadloop list | head`: nobody reads on, which is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:  # after --help
        return leaving.code if isinstance(leaving.code, int) else 0


def _verb(verbs: dict[str, type], words: list[str]) -> Verb:
    if not words or words[0] in ("-h", "--help"):
        print(overview(verbs, "Closed-loop driving: `roadloop VERB --help` says more."))
        raise SystemExit(0)
    name = "version" if words == ["--version"] else words[0]
    if name not in verbs:
        raise RoadloopError(f"{unknown('verb', name, verbs)}; see roadloop --help")
    verb = parse(verbs[name], name, words[1:])
    if file := getattr(verb, "config", ""):
        verb = parse(verbs[name], name, words[1:], load_config(verbs[name], find_config(file)))
    return verb


def parse(
    verb: type[T], name: str, words: Sequence[str], default: T | None = None, prog: str = ""
) -> T:
    """An instance of ``verb`` from the words after ``prog``, which is ``roadloop NAME`` if empty.

    ``--help`` prints and raises SystemExit(0); a mistake is a RoadloopError.
    """
    # A flag that a run file has set needs its opposite: --no-overwrite beside --overwrite.
    config = (tyro.conf.FlagCreatePairsOff,) if default is None else ()
    prog = prog or f"roadloop {name}"
    page = {"prog": prog, "description": inspect.getdoc(verb), "config": config}
    with _one_line(prog, verb.__name__):
        if default is None:
            return tyro.cli(verb, args=list(words), **page)
        return tyro.cli(verb, args=list(words), default=default, **page)


def overview(verbs: dict[str, type], about: str) -> str:
    """The help page of the whole command line: one line per verb."""
    lines = [f"  {name:9}{(verb.__doc__ or '').splitlines()[0]}" for name, verb in verbs.items()]
    return "\n".join(["usage: roadloop VERB [options]", "", about, "", *lines])


@contextlib.contextmanager
def _one_line(prog: str, subject: str) -> Any:
    """Turn what tyro prints in a box before it exits with status 2 into a RoadloopError."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except SystemExit as leaving:
        if leaving.code != 2:
            raise
        message = _message(printed.getvalue()).removeprefix("Error parsing ")
        message = message.removeprefix(f"{subject}: ")
        raise RoadloopError(f"{message}; see {prog} --help") from None


def _message(box: str) -> str:
    """The first paragraph of tyro's box, and its first suggestion if there is one.

    Where the terminal is not UTF-8 there are no lines around it, and the title stands above a rule
    instead of in the upper edge.
    """
    paragraphs: list[list[str]] = [[]]
    for line in (line.strip("│╭╮╰╯ ") for line in box.splitlines()):
        if line.strip("─-"):
            paragraphs[-1].append(line)
        elif line:
            paragraphs.append([])
    if box.startswith("╭"):
        paragraphs[0] = paragraphs[0][1:]
    else:
        paragraphs = paragraphs[1:]
    message = " ".join(paragraphs[0]).rstrip(".")
    for paragraph in paragraphs[1:]:
        if paragraph and paragraph[0].startswith("Perhaps you meant") and len(paragraph) > 1:
            message += f'; did you mean "{paragraph[1].split()[0]}"?'
    return message
