"""How road users are followed: `TrackerConfig`, with the reasons for its numbers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from roadloop.errors import RoadloopError

_SHARES = ("weak_score", "strong_score", "birth_score", "doubt", "instant_score", "hidden_share")


@dataclass(frozen=True)
class TrackerConfig:
    """Defaults: a camera detector at 10 Hz. Raises RoadloopError for values out of range."""

    # --- which detections count ---
    weak_score: float = 0.1
    """detections below are left out"""
    strong_score: float = 0.35
    """from here on a detection may take any track; weaker ones only get what is left over, as in
    Zhang et al., "ByteTrack", ECCV 2022"""
    gate: float = 13.8
    """squared Mahalanobis distance on the ground that is still the same road user: 99.9 % of
    a chi-square distribution with two degrees of freedom"""
    weak_gate: float = 6.0
    """the same for weak detections (95 %)"""
    reach: float = 6.0
    """m, above this distance nothing is the same"""

    # --- when is somebody there: log-odds of existence ---
    birth_score: float = 0.15
    """an unmatched detection from here on starts a track"""
    doubt: float = 0.2
    """score at which a detection says nothing: as often a false alarm as a road user"""
    birth_hits: int = 3
    """detections before a track is handed on ..."""
    confirm: float = 1.5
    """... and the log-odds it needs (82 %)"""
    instant_score: float = 0.7
    """handed on at the first detection of this score ..."""
    instant_range: float = 20.0
    """... nearer than this, m: there is no time to wait"""
    instant_gap: float = 3.0
    """... and farther than this from every track, m"""
    evidence_time: float = 0.2
    """s between detections whose mistakes are not the same one"""
    most_evidence: float = 6.0
    """cap of the log-odds"""
    miss_rate: float = 8.0
    """1/s, log-odds lost while a track in plain sight is not detected: none is left after 0.75 s,
    earlier for one that was seen shortly or with low scores"""
    hidden_rate: float = 0.7
    """1/s, log-odds lost while it is hidden or out of view"""
    kept_misses: int = 2
    """a track handed on outlives this many missed detections whatever its log-odds"""
    new_time: float = 0.25
    """s a track that is not handed on yet waits for its next detection"""
    coast_time: float = 1.0
    """s a track in plain sight or out of view is carried on"""
    hidden_time: float = 2.0
    """s a moving track that others hide is carried on"""
    hidden_standing_time: float = 8.0
    """s a standing one is: where should it have gone?"""

    # --- what is in view ---
    view: float = 3.665
    """rad, field of view around straight ahead: the 210 degrees of three wide cameras; see
    `deploy.seeing.view_of`"""
    sensor_forward: float = 1.7
    """m from the rear axle forward to the cameras ..."""
    sensor_height: float = 1.4
    """m above the ground"""
    hidden_share: float = 0.35
    """a box of which less than this share is free of others counts as hidden"""

    # --- motion: spectral densities of white acceleration, m^2/s^3 ---
    drive_along: float = 2.0
    """vehicles and cyclists, along their heading: 1.4 m/s more or less after a second"""
    drive_across: float = 0.3
    walk: float = 0.5
    """pedestrians, any direction"""
    start_rate: float = 0.05
    """1/s at which somebody standing starts moving ..."""
    stop_rate: float = 0.2
    """1/s at which somebody moving has stopped"""
    standing_chance: float = 0.8
    """from this probability on a track is said to stand: its velocity is 0 ..."""
    moving_chance: float = 0.3
    """... until the probability falls below this one"""
    driving_speed: float = 2.5
    """m/s from which vehicles and cyclists are taken to go where they look; slower they may roll
    backwards"""
    walking_speed: float = 0.5
    """m/s, the same for pedestrians"""
    slip: float = 0.3
    """m/s, sideways velocity that a vehicle may have, plus what its heading is unsure of"""

    # --- measurements ---
    min_position_std: float = 0.15
    """m, no detector is believed to be better"""
    min_velocity_std: float = 0.2
    """m/s"""
    error_time: float = 0.15
    """s after which a detector's error is forgotten to 1/e: detections that come quicker count
    less, their variance is raised by 2 error_time / dt"""
    range_ratio: float = 2.0
    """a camera's error along the line of sight, as a multiple of that across it"""
    systematic: float = 0.2
    """share of a detection's error that stays the same from frame to frame: it is added to the
    position's standard deviation, which the filter alone believes to average away"""
    heading_std: float = 0.15
    """rad, vehicles and cyclists"""
    walker_heading_std: float = 0.6
    """rad, pedestrians"""
    turn_density: float = 0.3
    """rad^2/s^3, spectral density of the change of the turn rate of vehicles"""
    most_curvature: float = 0.2
    """1/m: a vehicle turns no tighter than with a radius of 5 m"""
    size_memory: float = 30.0
    """detections over which sizes are averaged"""
    size_shrink: float = 0.3
    """m/s by which a size may shrink: a car half hidden is not a short car"""

    # --- one road user, one track ---
    same_overlap: float = 0.4
    """two tracks whose boxes share more than this part of the smaller one are the same"""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not (math.isfinite(value) and value >= 0):
                raise RoadloopError(f"{f.name} is {value}: expected a finite number, 0 or more")
            if f.name in _SHARES and value >= 1.0:
                raise RoadloopError(f"{f.name} is {value}: expected a share below 1")
        if not self.doubt > 0.0:
            raise RoadloopError("doubt is 0: a score of 0 has no log-odds; expected more")
        if not self.weak_score <= self.birth_score or self.weak_score > self.strong_score:
            raise RoadloopError(
                f"weak_score is {self.weak_score}: expected no more than birth_score and "
                "strong_score"
            )
        if not self.moving_chance <= self.standing_chance <= 1.0:
            raise RoadloopError(
                f"moving_chance {self.moving_chance}, standing_chance {self.standing_chance}: "
                "expected them in rising order, at most 1"
            )
        if self.range_ratio <= 0.0 or self.size_memory < 1.0 or self.evidence_time <= 0.0:
            raise RoadloopError(
                "range_ratio and evidence_time must be above 0, size_memory 1 or more"
            )
