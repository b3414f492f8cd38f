"""A detector's network run by PyTorch: one moment's arrays in, its outputs as arrays out.

An engine is a function from arrays to arrays, see `perception.detector`; this is the one that needs
nothing but the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import torch

from perception.detector import Engine
from perception.fold_norms import fold_norms
from perception.network import DetectorNetwork
from roadloop.errors import RoadloopError

Array = np.ndarray


def torch_engine(
    network: DetectorNetwork, *, threads: int = 1, device: str = "cpu", bf16: bool = False
) -> Engine:
    """The network, its batch normalisations folded, as an engine; ``network`` is changed.

    Args:
        threads: of the CPU, for all of PyTorch in this process. Other numbers than one may give
            other last digits.
        device: "cpu" or one of PyTorch's, such as "cuda".
        bf16: compute in bfloat16, for processors that are quicker with it.

    Raises:
        RoadloopError: no such device here, or no thread.
    """
    if threads < 1:
        raise RoadloopError(f"threads is {threads}; it must be 1 or more")
    torch.set_num_threads(threads)
    try:
        where = torch.device(device)
        network = network.eval().to(where)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RoadloopError(f'no device "{device}" for PyTorch here ({reason}): use cpu') from error
    fold_norms(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        frame = {
            name: torch.from_numpy(np.asarray(v))[None].to(where) for name, v in inputs.items()
        }
        state, valid = frame.pop("state", None), frame.pop("state_valid", None)
        cast = torch.autocast(where.type, torch.bfloat16) if bf16 else nullcontext()
        with torch.inference_mode(), cast:
            outputs = network(frame, state, valid)
        return {name: value[0].float().cpu().numpy() for name, value in outputs.items()}

    return run
