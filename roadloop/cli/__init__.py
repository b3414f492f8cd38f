"""The command line: one console script, ``roadloop VERB``, one module per verb.

These modules compose the parts: they alone in ``roadloop/`` may import the packages above it,
inside the functions that need them, so that ``roadloop --help`` loads none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from roadloop import __version__
from roadloop.cli.build import Build
from roadloop.cli.compare import Compare
from roadloop.cli.convert import Convert
from roadloop.cli.drive import Drive
from roadloop.cli.evaluate import Evaluate
from roadloop.cli.export import Export
from roadloop.cli.highway import Highway
from roadloop.cli.identify import Identify
from roadloop.cli.lint import Lint
from roadloop.cli.listing import List
from roadloop.cli.map import Map
from roadloop.cli.record import Record
from roadloop.cli.replay import Replay
from roadloop.cli.report import Report
from roadloop.cli.score import Score
from roadloop.cli.shard import Shard
from roadloop.cli.train import Train
from roadloop.cli.view import View
from roadloop.command_line import run


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what is missing, and the one line that mends it.

    The exit status is 1 where something required is missing.

    Example: roadloop doctor --cuda
    """

    cuda: bool = False
    """also look for CUDA devices (starts Warp, takes a second or two)"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from roadloop.doctor import as_json, as_text, examine, healthy

        checks = examine(cuda=self.cuda)
        print(as_json(checks) if self.json else as_text(checks))
        return 0 if healthy(checks) else 1


@dataclass(frozen=True)
class Version:
    """Print the version of roadloop.

    Example: roadloop version
    """

    def run(self) -> int:
        print(f"roadloop {__version__}")
        return 0


VERBS: dict[str, type] = {
    "drive": Drive,
    "view": View,
    "record": Record,
    "convert": Convert,
    "replay": Replay,
    "highway": Highway,
    "list": List,
    "map": Map,
    "score": Score,
    "compare": Compare,
    "evaluate": Evaluate,
    "report": Report,
    "identify": Identify,
    "export": Export,
    "lint": Lint,
    "build": Build,
    "shard": Shard,
    "train": Train,
    "doctor": Doctor,
    "version": Version,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; 2 is a mistake in the input."""
    return run(VERBS, sys.argv[1:] if words is None else words)
