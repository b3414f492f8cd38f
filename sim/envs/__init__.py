"""The simulator as Gymnasium and PettingZoo environments; importing this registers them.

The columns of the vector observation are defined once, in ``roadloop/features.py`` (NumPy
reference, which a policy also uses as a Driver); the kernel here gives the same numbers for a
batch.
"""

from __future__ import annotations

import gymnasium

DRIVE = "roadloop/Drive-v0"


def register() -> None:
    """Makes the environments known to Gymnasium; once is enough."""
    if DRIVE not in gymnasium.registry:
        gymnasium.register(
            id=DRIVE,
            entry_point="sim.envs.drive_env:DriveEnv",
            vector_entry_point="sim.envs.vector_env:DriveVectorEnv",
        )


register()
