"""A detector too small to find anything, and its checkpoint: everything runs, nothing is learnt."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from perception.checkpoint import FORMAT, KIND, WEIGHTS
from perception.detector_config import BevGrid, DetectorConfig
from perception.network import DetectorNetwork

TINY = DetectorConfig(
    size=(64, 32),
    channels=16,
    grid=BevGrid(x_min=-3.2, y_min=-12.8, nx=16, ny=16, cell=1.6),
    bev_channels=16,
    bev_down=(24,),
    attention_tokens=4,
    attention_heads=2,
    depth_bins=0,
    semantics=False,
)


def tiny_network(seed: int = 0, config: DetectorConfig = TINY) -> DetectorNetwork:
    """Random weights, with heads that say something: zeros would hide mistakes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DetectorNetwork(config)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.data += 0.02 * torch.randn_like(parameter)
        network.objects.out.bias.data[:4] = -1.5
        for buffer in network.buffers():
            if buffer.ndim == 1 and buffer.dtype == torch.float32:
                buffer += 0.05 * torch.rand_like(buffer)
    return network.eval()


def tiny_checkpoint(folder: Path, seed: int = 0, config: DetectorConfig = TINY) -> Path:
    """A file in ``folder``, as training writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {"format": FORMAT, "kind": KIND, "config": dataclasses.asdict(config)}
    weights = tiny_network(seed, config).state_dict()
    weights = {name: value.contiguous() for name, value in weights.items()}
    save_file(weights, folder / WEIGHTS, metadata={"roadloop": json.dumps(header)})
    return folder / WEIGHTS
