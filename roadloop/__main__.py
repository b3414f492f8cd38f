"""``python -m roadloop``: the command line without the console script."""

from __future__ import annotations

import sys

from roadloop.cli import main

sys.exit(main())
