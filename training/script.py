"""How a training script is run from a shell: exit statuses and one line for what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from roadloop.command_line import INTERRUPTED
from roadloop.doctor import TOP_LEVEL
from roadloop.errors import RoadloopError


def run_script(name: str, act: Callable[[], int]) -> int:
    """What ``act`` returns; 2 after a mistake in the input, of which one line is printed."""
    try:
        return act()
    except RoadloopError as error:
        if os.environ.get("ROADLOOP_DEBUG") == "1":
            raise
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in TOP_LEVEL:
            raise  # a fault of ours, not of the installation
        print(f"{name}: {error}: pip install 'roadloop[train]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as leaving:  # after --help
        return leaving.code if isinstance(leaving.code, int) else 0
