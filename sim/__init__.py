"""The simulator turns a control into the next world and the next observation.

It speaks only the nouns of ``roadloop`` and asks of a driver nothing but the ``Driver`` protocol.
"""

import warp as _warp

_warp.config.log_level = _warp.LOG_WARNING  # no banner between the lines of a program that happens to simulate
