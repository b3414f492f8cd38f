"""All models of road users, which of them an agent gets, and in which colours.

Everything is drawn by number: a hash of the scenario's seed and the agent's id, so that an agent
looks the same in every run, alone or in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from roadloop.types import AgentKind
from sim.actors import cycles, heavy, people, props, vehicles
from sim.render.frame import PALETTE
from sim.scenery.mesh import Mesh

Array = np.ndarray

PARKED = 3.0
"""m, length from which a STATIC agent may be a parked vehicle"""
FIT = 0.008
"""how much worse a model may fit: likelihood falls to 1/e per FIT of squared log ratios"""


@dataclass(frozen=True)
class Model:
    """A shape that is stretched to an agent's box, which it fills exactly."""

    name: str
    kind: AgentKind
    length: float
    """m, the box it was designed for"""
    width: float
    height: float
    mesh: Mesh
    """in the frame of the box: origin on the ground under its centre"""
    frames: int = 0
    """how many poses of a stride or a pedal turn follow it in MODELS; itself is the one at rest"""
    share: float = 1.0
    """how common it is among the models of its kind; 0: a pose of another model"""


@cache
def _models() -> tuple[Model, ...]:
    models: list[Model] = []

    def add(name: str, kind: AgentKind, meshes: list[Mesh], share: float) -> None:
        for k, mesh in enumerate(meshes):
            length, width, height = np.ptp(mesh.corners.reshape(-1, 3), axis=0).tolist()
            pose = f"{name} {k}" if k else name
            rest = k == 0
            frames, often = (len(meshes) - 1, share) if rest else (0, 0.0)
            models.append(Model(pose, kind, length, width, height, mesh, frames, often))

    # shares of body styles among registrations in Europe, roughly (ACEA, 2023: half are SUVs)
    styles = {"sedan": 0.8, "hatchback": 1.2, "estate": 0.9, "suv": 1.6, "sports": 0.4}
    for profile in vehicles.CARS:
        add(profile.name, AgentKind.CAR, [vehicles.car(profile)], styles[profile.name])
    for profile in vehicles.VANS:
        add(profile.name, AgentKind.VAN, [vehicles.car(profile)], 1.0)
    for truck in heavy.TRUCKS:
        add(truck.name, AgentKind.TRUCK, [heavy.truck(truck)], 1.0)
    for bus in heavy.BUSES:
        add(bus.name, AgentKind.BUS, [heavy.bus(bus)], 1.0)
    for machine in cycles.MOTORCYCLES:
        add(machine.name, AgentKind.MOTORCYCLE, [cycles.motorcycle(machine)], 1.0)
    for bicycle in cycles.BICYCLES:
        add(bicycle.name, AgentKind.CYCLIST, cycles.pedalling(bicycle), 1.0)
    for person in people.PEOPLE:
        add(person.name, AgentKind.PEDESTRIAN, people.strides(person), 1.0)
    for name in props.PROPS:
        add(name, AgentKind.STATIC, [props.prop(name)], 1.0)
    return tuple(models)


MODELS: tuple[Model, ...]
"""every model, made when first asked for; poses of one figure follow each other"""


def __getattr__(name: str) -> tuple[Model, ...]:
    if name == "MODELS":
        return _models()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class ModelTable:
    """What is asked of all models at once; fields ``(models, ...)``."""

    kind: Array
    """uint8 AgentKind"""
    size: Array
    """(models, 3) length, width, height in m"""
    frames: Array
    """int32 Model.frames"""
    share: Array


@cache
def model_table() -> ModelTable:
    """MODELS as arrays."""
    models = _models()
    return ModelTable(
        kind=np.array([m.kind for m in models], np.uint8),
        size=np.array([(m.length, m.width, m.height) for m in models]),
        frames=np.array([m.frames for m in models], np.int32),
        share=np.array([m.share for m in models]),
    )


_STREAM = np.uint64(0xD1342543DE82EF95)


def mixed(seed: Array | int, agent: Array | int) -> Array:
    """uint64 number of an agent, from its scenario's seed and its id; the arrays broadcast.

    The finaliser of SplitMix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014), so that neighbours in seed or id have nothing in common.
    """
    with np.errstate(over="ignore"):
        stream = np.asarray(seed).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return _scrambled(_scrambled(stream) + np.asarray(agent).astype(np.uint64))


def _scrambled(z: Array) -> Array:
    with np.errstate(over="ignore"):
        z = np.asarray(z, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def drawn(number: Array | int, stream: int) -> Array:
    """(...) float64 in [0, 1): draw ``stream`` of the agents' numbers."""
    with np.errstate(over="ignore"):
        key = np.asarray(number).astype(np.uint64) + _STREAM * np.uint64(stream)
    return (_scrambled(key) >> np.uint64(11)).astype(np.float64) / 2.0**53


def model_index(
    kind: Array | int,
    length: Array | float,
    width: Array | float,
    height: Array | float,
    number: Array | int,
) -> Array:
    """(...) int32 indices into MODELS, of each figure the pose at rest.

    The models of the kind are drawn from by how common they are and how little they have to be
    stretched; those that fit a box much worse than the best one are not taken for it. A STATIC
    agent longer than PARKED m may be a parked car, van, truck or bus.

    Args:
        kind, length, width, height: (...) AgentKind and m of the agents' boxes.
        number: (...) uint64, see ``mixed``.
    """
    kind, length, width, height, number = np.broadcast_arrays(kind, length, width, height, number)
    box = np.maximum(np.stack([length, width, height], axis=-1).astype(float), 1e-3)
    table = model_table()
    stretch = np.log(box[..., None, :] / table.size)
    misfit = (stretch * stretch).sum(axis=-1)
    parked = (kind == AgentKind.STATIC) & (length > PARKED)
    fits = (kind[..., None] == table.kind) | (parked[..., None] & (table.kind <= AgentKind.BUS))
    misfit = np.where(fits & (table.share > 0.0), misfit, np.inf)
    weight = table.share * np.exp(-(misfit - misfit.min(axis=-1, keepdims=True)) / FIT)
    edges = np.cumsum(weight, axis=-1)
    pick = drawn(number, 0) * edges[..., -1]
    return (edges <= pick[..., None]).sum(axis=-1).astype(np.int32)


# Colours as sRGB, with their shares. Vehicles: rounded from the yearly reports of the paint makers
# (BASF Color Report for Automotive OEM Coatings, Axalta Global Automotive Color Popularity Report,
# 2021 to 2023: about a third white, a fifth each black and grey, a tenth each silver and blue).
_CAR = (
    (32, "eeeeea"), (20, "16171a"), (18, "5b5f63"), (9, "b4b8ba"), (5, "1f3a68"), (4, "2e62a3"),
    (5, "9e1a1c"), (2, "6b1420"), (1.5, "2f4a38"), (1.5, "8f8672"), (1, "d98a1f"), (1, "c9b21e"),
)  # fmt: skip
_VAN = ((60, "efefec"), (10, "b9bcbd"), (8, "1d1f22"), (8, "2b4f86"), (6, "d9b21c"), (8, "a32022"))
_CAB = ((34, "e9e9e6"), (16, "a3201f"), (16, "27508f"), (8, "d6a01d"), (10, "25272a"),
        (8, "2f6142"), (8, "c65a1a"))  # fmt: skip
_CARGO = ((46, "e6e6e1"), (16, "9aa0a3"), (14, "2c5896"), (8, "2f6b45"), (8, "ad2a26"),
          (8, "d3a726"))  # fmt: skip
_BUS = ((30, "c21f1f"), (20, "e8e6df"), (18, "e0b21b"), (16, "2a5ca0"), (10, "2f7d53"),
        (6, "50575c"))  # fmt: skip
_STRIPE = ((40, "ececea"), (20, "2b2e33"), (14, "24508f"), (12, "b5262a"), (14, "7d8489"))
_MOTORCYCLE = ((32, "17181a"), (20, "a81d1e"), (14, "244e94"), (14, "e3e3df"), (8, "d97b17"),
               (6, "3f7a3a"), (6, "8c9094"))  # fmt: skip
_COATS = ((18, "1b1d22"), (14, "26324a"), (12, "6d7176"), (8, "d9d7d0"), (8, "8b7355"),
          (8, "4a5239"), (8, "8e2323"), (6, "3f6a97"), (5, "7a3b4f"), (5, "c7a23a"),
          (4, "39705f"), (4, "c4703a"))  # fmt: skip
_LEATHER = ((55, "17171a"), (15, "3a3d42"), (10, "2d3f5e"), (10, "7d1f1f"), (10, "b9c22e"))
_TROUSERS = ((34, "2b3a57"), (24, "1a1b1f"), (14, "4b5563"), (12, "7f7460"), (8, "5a4a3c"),
             (8, "9a9a98"))  # fmt: skip
# Skin tones after E. Monk's ten-step scale, and hair from black to grey.
_SKIN = ((12, "f6ede4"), (14, "f3e7db"), (16, "f7ead0"), (14, "eadaba"), (12, "d7bd96"),
         (10, "a07e56"), (8, "825c43"), (6, "604134"), (4, "3a312a"), (4, "292420"))  # fmt: skip
_HAIR = ((34, "14110f"), (28, "3a271b"), (16, "6b4a2c"), (10, "b48d55"), (8, "9a9894"),
         (4, "7c3519"))  # fmt: skip
_HELMETS = ((36, "e8e8e6"), (30, "1a1b1e"), (12, "a82426"), (12, "2c5a9c"), (10, "c9d035"))

_WARDROBE = {
    AgentKind.CAR: (_CAR, _CAR, _SKIN, _HAIR),
    AgentKind.VAN: (_VAN, _VAN, _SKIN, _HAIR),
    AgentKind.TRUCK: (_CAB, _CARGO, _SKIN, _HAIR),
    AgentKind.BUS: (_BUS, _STRIPE, _SKIN, _HAIR),
    AgentKind.MOTORCYCLE: (_MOTORCYCLE, _LEATHER, _SKIN, _HELMETS),
    AgentKind.CYCLIST: (_COATS, _TROUSERS, _SKIN, _HELMETS),
    AgentKind.PEDESTRIAN: (_COATS, _TROUSERS, _SKIN, _HAIR),
    AgentKind.STATIC: (_CAR, _CARGO, _SKIN, _HAIR),
}


def _linear(colours: tuple[tuple[float, str], ...]) -> Array:
    """(colours, 3) linear RGB (IEC 61966-2-1) of hexadecimal sRGB."""
    v = np.array([[int(c[k : k + 2], 16) for k in (0, 2, 4)] for _share, c in colours]) / 255.0
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


_CHOICES = {
    kind: [(np.cumsum([s for s, _c in w]) / sum(s for s, _c in w), _linear(w)) for w in row]
    for kind, row in _WARDROBE.items()
}


def palette(kind: Array | int, number: Array | int) -> Array:
    """(..., PALETTE, 3) float32 linear RGB of agents.

    Slot 0 is paint or coat, 1 second paint, cargo, leather or trousers, 2 skin, 3 hair or helmet.
    Shades vary by a fifth around a table of common colours.

    Args:
        kind: (...) AgentKind.
        number: (...) uint64, see ``mixed``.
    """
    kind, number = np.broadcast_arrays(kind, number)
    out = np.zeros((*kind.shape, PALETTE, 3))
    for which, slots in _CHOICES.items():
        rows = kind == which
        if not rows.any():
            continue
        for slot, (edges, colours) in enumerate(slots):
            pick = np.searchsorted(edges, drawn(number[rows], 1 + 2 * slot), side="right")
            shade = 0.8 + 0.4 * drawn(number[rows], 2 + 2 * slot)
            out[rows, slot] = colours[np.minimum(pick, len(colours) - 1)] * shade[:, None]
    return np.minimum(out, 1.0).astype(np.float32)
