"""Checkpoints of a training run: weights and optimiser as safetensors, everything else as JSON.

::

    RUN/
      args.json                  what was asked for
      progress.csv               one row per update
      policy.safetensors         the newest weights, all that driving needs
      checkpoints/000050/        after update 50
        policy.safetensors
        optimiser.safetensors
        state.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadloop.errors import RoadloopError
from roadloop.files import replaced

if TYPE_CHECKING:
    import torch

POLICY = "policy.safetensors"
OPTIMISER = "optimiser.safetensors"
STATE = "state.json"


def save_checkpoint(
    run: Path,
    update: int,
    weights: Mapping[str, torch.Tensor],
    optimiser: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``update`` and the run's newest policy; the checkpoint's folder.

    The folder appears whole or not at all. ``metadata`` is what a driver must know about the
    weights; it is kept inside the policy file.
    """
    from safetensors.torch import save_file

    folder = run / "checkpoints" / f"{update:06d}"
    hidden = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    header = {"roadloop": json.dumps(metadata, sort_keys=True)}
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in weights.items()}, hidden / POLICY, header
    )
    save_file({k: v.detach().cpu().contiguous() for k, v in optimiser.items()}, hidden / OPTIMISER)
    (hidden / STATE).write_text(json.dumps({"update": update, **state}, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(hidden, folder)
    with replaced(run / POLICY) as path:
        shutil.copyfile(folder / POLICY, path)
    return folder


def newest_checkpoint(run: Path) -> Path:
    """The folder of a run's last checkpoint; raises RoadloopError where there is none."""
    folders = sorted(run.glob("checkpoints/[0-9]*"))
    if not folders:
        raise RoadloopError(f"{run} holds no checkpoint to resume from: start without --resume")
    return folders[-1]


def load_checkpoint(
    folder: Path, like: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    """Weights, optimiser tensors and state of a checkpoint.

    Args:
        like: the weights of the network that is to take them.

    Raises:
        RoadloopError: a file is missing or broken, or holds the weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights, optimiser = load_file(folder / POLICY), load_file(folder / OPTIMISER)
        state = json.loads((folder / STATE).read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise RoadloopError(f"{folder} is no readable checkpoint: {error}") from error
    for name in sorted(set(weights) | set(like)):
        here = tuple(weights[name].shape) if name in weights else "nothing"
        there = tuple(like[name].shape) if name in like else "nothing"
        if here != there:
            raise RoadloopError(
                f"{folder} is of another network: {name} is {here}, must be {there}; train with "
                "the environment and network sizes it was made with"
            )
    return weights, optimiser, state
