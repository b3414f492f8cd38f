"""How imperfect perception is: `NoiseConfig`, its presets, and where their magnitudes come from.

Zero means perfect, for every field: a config of all zeros is ground truth. The structure (errors
that depend on the distance and are correlated in time, misses as a Markov chain per road user)
follows Piazzoni et al., "PEM: Perception Error Model for Virtual Testing of Autonomous Vehicles"
(arXiv 2302.11919). The presets are the files in ``configs/perception``, which name their sources.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from roadloop.config import config_folder, load_config, unknown
from roadloop.errors import RoadloopError

_SHARES = (
    "min_visible",
    "miss_probability",
    "confusion_probability",
    "false_positive_ahead",
)
# Fields that change nothing while those they belong to are zero.
_INERT = {
    "max_range",
    "sensor_forward",
    "sensor_height",
    "correlation_time",
    "velocity_correlation_time",
    "miss_duration",
    "false_positive_lifetime",
    "false_positive_ahead",
    "birth_hits",
    "compensated",
    "seed",
}


@dataclass(frozen=True)
class NoiseConfig:
    """What a detector with a tracker gets wrong. Defaults: the preset ``typical``, a camera.

    Distances are from the sensor to the box centre; ``d`` below is that distance in m. Raises
    RoadloopError for values that are negative, not finite, or shares above 1.
    """

    # --- what can be seen at all ---
    max_range: float = 80.0
    """m from the rear axle to the box centre; 0: the 250 m of ground truth"""
    blind_angle: float = 0.0
    """rad, sector behind the ego in which nothing is seen; the field of view is what is left"""
    min_visible: float = 0.2
    """share of a box's angular width that nearer boxes must leave free; 0: boxes hide nothing"""
    sensor_forward: float = 1.5
    """m from the rear axle forward to the sensor ..."""
    sensor_height: float = 1.5
    """m above the ground, the sensor: it looks over boxes that are low enough"""

    # --- errors of what is seen: standard deviations ---
    along_std: float = 0.10
    """m along the line of sight, at no distance ..."""
    along_std_per_m: float = 0.016
    """... and what every m of distance adds to it"""
    across_std: float = 0.05
    """m across the line of sight, at no distance ..."""
    across_std_per_m: float = 0.006
    """... and what every m of distance adds to it"""
    heading_std: float = 0.08
    """rad, vehicles and statics"""
    walker_heading_std: float = 0.5
    """rad, pedestrians and cyclists"""
    size_std: float = 0.07
    """of the natural logarithm of length, width and height: about the relative error"""
    velocity_std: float = 0.15
    """m/s along each world axis, of one that stands ..."""
    velocity_std_share: float = 0.03
    """... and what every m/s of its speed adds to it"""
    correlation_time: float = 1.0
    """s after which errors of position, heading and size are forgotten to 1/e; 0: white noise"""
    velocity_correlation_time: float = 0.5
    """s, the same for velocity"""

    # --- road users that are missed, confused, made up ---
    miss_probability: float = 0.02
    """share of the time a road user is missed, at no distance ..."""
    miss_probability_per_m: float = 0.004
    """... and what every m of distance adds to it, up to 1"""
    miss_duration: float = 0.5
    """s, mean length of a gap; 0: every frame is missed or not by itself"""
    confusion_probability: float = 0.02
    """share of tracks that carry the most similar other kind all their life"""
    false_positive_rate: float = 0.1
    """road users per second that are not there (Poisson)"""
    false_positive_lifetime: float = 0.5
    """s, mean (exponential); each is handed on at least once"""
    false_positive_ahead: float = 0.1
    """share of them on the road ahead, the others anywhere around"""

    # --- the tracker ---
    birth_hits: int = 3
    """frames in a row a road user must be seen in before its track is handed on; 0 as 1"""
    coast_time: float = 1.0
    """s a track is carried on with its last velocity after its last hit, then dropped"""
    latency: float = 0.1
    """s: tracks are those of the last frame at least this old; none before there is one"""
    compensated: bool = True
    """old tracks are moved on to now with their velocity"""

    seed: int = 0
    """other errors in the same scenario"""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not (math.isfinite(value) and value >= 0):
                raise RoadloopError(f"{f.name} is {value}: expected a finite number, 0 or more")
            if f.name in _SHARES and value > 1.0:
                raise RoadloopError(f"{f.name} is {value}: expected a share from 0 to 1")
        if self.blind_angle > 2.0 * math.pi:
            raise RoadloopError(f"blind_angle is {self.blind_angle}: a full circle is 6.2832 rad")
        if self.size_std > 1.0:
            raise RoadloopError(
                f"size_std is {self.size_std}: expected at most 1, a relative error"
            )

    @property
    def perfect(self) -> bool:
        """True where nothing is disturbed: every field that does so by itself is zero."""
        names = {f.name for f in dataclasses.fields(self)} - _INERT
        return self.birth_hits <= 1 and not any(getattr(self, name) for name in names)


def no_noise() -> NoiseConfig:
    """All zeros: ground truth."""
    values = dataclasses.asdict(NoiseConfig())
    return NoiseConfig(**{name: type(value)(0) for name, value in values.items()})


def presets() -> dict[str, Path]:
    """Name -> YAML file of every preset, sorted by name."""
    return {p.stem: p for p in sorted((config_folder() / "perception").glob("*.yaml"))}


def load_noise(name: str) -> NoiseConfig:
    """The preset called ``name``, or the config in a YAML file (a path ending in .yaml or .yml).

    Raises RoadloopError for an unknown preset, a missing file, or a mistake in it.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return load_config(NoiseConfig, name)
    known = presets()
    if name not in known:
        raise RoadloopError(unknown("perception", name, known) + " (or give the path of a .yaml)")
    return load_config(NoiseConfig, known[name])
