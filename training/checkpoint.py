"""Checkpoints of a training run: weights and optimiser as safetensors, everything else as JSON.

::

    RUN/
      args.yaml                  what was asked for
      progress.csv               one row per update
      policy.safetensors         the weights that are used, here those of a policy
      checkpoints/000050/        after update 50
        policy.safetensors       (a detector: detector, weights, optimiser)
        optimiser.safetensors
        state.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception.checkpoint import check_weights
from roadloop.errors import RoadloopError
from roadloop.files import replaced

if TYPE_CHECKING:
    import torch

POLICY = "policy.safetensors"
OPTIMISER = "optimiser.safetensors"
STATE = "state.json"


def prepare_run(run: Path, file: str, text: str, *, overwrite: bool) -> None:
    """An empty folder with what was asked for in ``file``.

    Raises RoadloopError where the folder holds a run that may not be replaced, or cannot be made.
    """
    if (run / file).exists() or (run.exists() and not run.is_dir()):
        if not overwrite:
            raise RoadloopError(f"{run} already holds a run: use --resume or --overwrite")
        shutil.rmtree(run)
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / file).write_text(text)
    except OSError as error:
        raise RoadloopError(f"cannot write to {run}: {error.strerror}") from error


def save_checkpoint(
    run: Path,
    update: int,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    state: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``update``, whole or not at all; its folder.

    Args:
        tensors: by file; the first one is what the run is for, and ``metadata`` in its header is
            what its user must know about it.
        state: plain values that the training needs to go on.
    """
    folder = run / "checkpoints" / f"{update:06d}"
    hidden = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    for k, (name, content) in enumerate(tensors.items()):
        save_tensors(hidden / name, content, metadata if k == 0 else None)
    (hidden / STATE).write_text(json.dumps({"update": update, **state}, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(hidden, folder)
    return folder


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """A safetensors file; ``metadata`` as JSON in its header under "roadloop"."""
    from safetensors.torch import save_file

    header = {"roadloop": json.dumps(metadata, sort_keys=True)} if metadata is not None else None
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path, header)


def publish(folder: Path, name: str, run: Path) -> None:
    """A checkpoint's file becomes the run's, in one step."""
    with replaced(run / name) as path:
        shutil.copyfile(folder / name, path)


def drop_checkpoints(run: Path, keep: int) -> None:
    """Delete all checkpoints of a run but the newest."""
    for folder in sorted(run.glob("checkpoints/[0-9]*"))[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)


def newest_checkpoint(run: Path) -> Path:
    """The folder of a run's last checkpoint; raises RoadloopError where there is none."""
    folders = sorted(run.glob("checkpoints/[0-9]*"))
    if not folders:
        raise RoadloopError(f"{run} holds no checkpoint to resume from: start without --resume")
    return folders[-1]


def load_checkpoint(
    folder: Path, files: Sequence[str], like: Mapping[str, torch.Tensor]
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Tensors by file, and the state, of a checkpoint.

    Args:
        files: those to read; all but the optimiser's hold the tensors of a network.
        like: the weights of the network that is to take them.

    Raises:
        RoadloopError: a file is missing or broken, or holds the weights of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {name: load_file(folder / name) for name in files}
        state = json.loads((folder / STATE).read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise RoadloopError(f"{folder} is no readable checkpoint: {error}") from error
    for file in files:
        if file == OPTIMISER:
            continue
        check_weights(folder, tensors[file], like)
    return tensors, state


def optimiser_tensors(
    optimiser: torch.optim.Optimizer, module: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """An optimiser's state by parameter: ``"layer.weight:exp_avg"``."""
    names: dict[Any, str] = {parameter: name for name, parameter in module.named_parameters()}
    return {
        f"{names[parameter]}:{key}": value
        for parameter, slot in optimiser.state.items()
        for key, value in slot.items()
    }


def load_optimiser(
    optimiser: torch.optim.Optimizer, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]
) -> None:
    """The inverse of `optimiser_tensors`; raises KeyError for a parameter that is not there."""
    import torch

    parameters = dict(module.named_parameters())
    order = [p for group in optimiser.param_groups for p in group["params"]]
    index = {parameter: k for k, parameter in enumerate(order)}
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition(":")
        parameter = parameters[name]
        if tensor.shape == parameter.shape:
            # fused kernels take for granted that both lie in memory in the same order
            tensor = torch.empty_like(parameter, device=tensor.device).copy_(tensor)
        slots.setdefault(index[parameter], {})[slot] = tensor.detach()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
