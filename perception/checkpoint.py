"""A network's weights on disk: a safetensors file whose header says what network they are for.

The header's "roadloop" is JSON: ``format`` 1, ``kind`` "detector", ``config`` (a `DetectorConfig`;
other kinds of network have their own), ``training``, ``step``, ``samples``, ``metrics``, ``seed``,
``data``. Nothing in it is code: files of pickled objects, which may run some, are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from perception.detector_config import DetectorConfig
from roadloop.config import load_config
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from perception.network import DetectorNetwork

WEIGHTS = "detector.safetensors"
"""the file looked for in a folder"""
KIND, FORMAT = "detector", 1
Config = TypeVar("Config")
Network = TypeVar("Network", bound="Module")
PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin")


def load_detector_weights(
    path: str | Path,
) -> tuple[DetectorConfig, dict[str, Tensor], dict[str, Any]]:
    """What a detector is made of, its weights by name, and all of the header.

    Args:
        path: the file, or a folder (of a run, or one of its checkpoints) that holds
            ``detector.safetensors``.

    Raises:
        RoadloopError: there is no such file, it holds pickled objects, is damaged, or is not of a
            detector that this version knows.
    """
    return load_weights(path, WEIGHTS, KIND, DetectorConfig)


def load_weights(
    path: str | Path, file: str, kind: str, config: type[Config]
) -> tuple[Config, dict[str, Tensor], dict[str, Any]]:
    """What a network is made of, its weights by name, and all of the header.

    Args:
        path: the file, or a folder that holds one called ``file``.
        kind: of network, as the header says.
        config: the class of what it is made of.

    Raises:
        RoadloopError: as `load_detector_weights`.
    """
    from safetensors import SafetensorError, safe_open

    path = weights_file(path, file, kind)
    try:
        with safe_open(path, "pt") as opened:
            header = (opened.metadata() or {}).get("roadloop", "")
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RoadloopError(
            f"{path} is damaged or no safetensors file ({error}): copy it again, or take another "
            "checkpoint of its run"
        ) from error
    made_of, metadata = _described(path, header, file, kind, config)
    return made_of, weights, metadata


def load_detector(path: str | Path) -> tuple[DetectorNetwork, dict[str, Any]]:
    """The network of a file with its weights, ready to be asked (``eval``), and the header.

    Raises RoadloopError as `load_detector_weights`, and where the weights are not this network's.
    """
    from perception.network import DetectorNetwork

    return with_weights(path, DetectorNetwork, *load_detector_weights(path))


def with_weights(
    path: str | Path,
    make: Callable[[Config], Network],
    config: Config,
    weights: Mapping[str, Tensor],
    metadata: dict[str, Any],
) -> tuple[Network, dict[str, Any]]:
    """The network that ``make`` makes of what `load_weights` gave, ready to be asked; the header.

    Raises RoadloopError where the weights, from ``path``, are not this network's.
    """
    network = make(config)
    check_weights(path, weights, network.state_dict())
    network.load_state_dict(weights)
    return network.eval(), metadata


def weights_file(path: str | Path, file: str = WEIGHTS, kind: str = KIND) -> Path:
    """The safetensors file meant; RoadloopError where there is none, or one of pickled objects."""
    path = Path(path)
    if path.is_dir():
        if not (path / file).is_file():
            raise RoadloopError(f"{path} holds no {file}: give the folder of a {kind}'s run")
        path = path / file
    if not path.is_file():
        raise RoadloopError(f"{path}: no such file; a {kind}'s run leaves a {file}")
    if path.suffix in PICKLED or _is_pickled(path):
        raise RoadloopError(
            f"{path} holds pickled objects, which may run code when they are read: give a "
            ".safetensors file"
        )
    return path


def check_weights(path: str | Path, weights: Mapping[str, Tensor], like: Mapping[str, Tensor]):
    """Raises RoadloopError, with the first difference, where weights are of another network.

    Args:
        path: where they are from.
        like: the weights of the network that is to take them.
    """
    for name in sorted(set(weights) | set(like)):
        here = tuple(weights[name].shape) if name in weights else "nothing"
        there = tuple(like[name].shape) if name in like else "nothing"
        if here != there:
            raise RoadloopError(
                f"{path} is of another network: {name} is {here}, must be {there}; take the "
                "configuration that it was made with"
            )


def _is_pickled(path: Path) -> bool:
    """Whether a file begins as pickles do, or as the zip that torch.save puts them in."""
    with path.open("rb") as file:
        first = file.read(9)
    # a safetensors file begins with the length of its header, which may look like anything
    return first[8:] != b"{" and (first[:1] == b"\x80" or first[:4] == b"PK\x03\x04")


def _described(
    path: Path, header: str, file: str, kind: str, config: type[Config]
) -> tuple[Config, dict[str, Any]]:
    """The configuration in a header, and all of it."""
    try:
        metadata = json.loads(header)
        found, version, values = (metadata[key] for key in ("kind", "format", "config"))
        settings = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoadloopError(
            f"{path} is no {kind} of roadloop (its header does not say so): take a {file} "
            "that training wrote"
        ) from error
    if found != kind or version != FORMAT:
        raise RoadloopError(
            f'{path} holds a "{found}" of format {version}: expected a "{kind}" of format {FORMAT}'
        )
    try:
        return load_config(config, None, settings), metadata
    except RoadloopError as error:
        raise RoadloopError(
            f"{path} was made by another version of roadloop: {error}; use that one"
        ) from error
