"""What is believed of the tracks: late, frozen, missing or impossible ones are found out here."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.types import AgentKind, Observation, Tracks

Array = np.ndarray

MISSING = 0.5
"""s without tracks, or with frozen ones, that are bridged with the last ones at constant velocity:
most manoeuvres do not begin and become dangerous in that time, and trackers lose single frames"""
LATE = 0.35
"""s between two observations from which on the drive is no longer under control; steps are 0.1 s,
and a frame or two may be lost"""
RECOVERY = 0.5
"""s of good data after which perception is trusted again"""
MOVES = 0.5
"""m/s above which a track that stays where it is contradicts itself"""
JUMP = 1.0
"""m by which a track may miss the place its velocity takes it to"""
JUMP_ACCELERATION = 12.0
"""m/s^2 beyond it: full braking on a dry road and some error of the velocity"""
SIGMAS = 3.0
"""standard deviations of its position that explain a jump"""
GHOST = 1.0
"""s a track that jumped is kept where it must have gone, too"""
TOO_FAST = 90.0
"""m/s"""


@dataclasses.dataclass(frozen=True)
class RoadUsers:
    """Who is believed to be there; fields ``(users,)``, box centres in the world frame."""

    row: Array
    """of the tracks, -1 for a ghost: somebody believed to be there although no track says so"""
    id: Array
    kind: Array
    x: Array
    y: Array
    z: Array
    heading: Array
    speed: Array
    """m/s, magnitude of the velocity"""
    course: Array
    """rad, direction of the velocity; the heading where it hardly moves"""
    yaw_rate: Array
    """rad/s, 0 where it is not known well"""
    length: Array
    width: Array
    std: Array
    """m, standard deviation of the position"""

    def __len__(self) -> int:
        return len(self.id)

    def pick(self, rows: Array) -> RoadUsers:
        """Those of ``rows``, indices or mask."""
        return RoadUsers(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    def after(self, seconds: float) -> RoadUsers:
        """Going on at constant velocity; no rows of tracks any more."""
        return dataclasses.replace(
            self,
            row=np.full(len(self), -1),
            x=self.x + self.speed * np.cos(self.course) * seconds,
            y=self.y + self.speed * np.sin(self.course) * seconds,
        )


def nobody() -> RoadUsers:
    """An empty road."""
    whole = np.zeros(0, np.int64)
    return RoadUsers(whole, whole, whole, *(np.zeros(0) for _ in range(10)))


def together(a: RoadUsers, b: RoadUsers) -> RoadUsers:
    """Both, ``a`` first."""
    names = [f.name for f in dataclasses.fields(RoadUsers)]
    return RoadUsers(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in names))


class TrackWatch:
    """Remembers the last step: ``update`` once a step, then ``users``, ``ghosts``, ``fault``."""

    def __init__(self) -> None:
        self.users = nobody()
        """believed tracks and ghosts"""
        self.fault = ""
        """why perception is not to be driven with now; empty: it is"""
        self.late = ""
        """why this observation comes too late or twice; empty: it does not"""
        self.jumped: tuple[int, ...] = ()
        """ids whose jump of this step is not believed"""
        self._seen = nobody()
        self._ghosts = nobody()
        self._ghost_since = np.zeros(0)
        self._time: float | None = None
        self.clock = 0.0
        """s since the first observation"""
        self._unseen = 0.0
        self._frozen = 0.0
        self._faulty, self._why = -np.inf, ""

    def update(self, observation: Observation, tracks: Tracks | None) -> None:
        """Take one step's tracks; None where there are none.

        The clock is the observations'; one that does not advance is taken to be one step later
        than the call before.
        """
        step = float(observation.dt)
        elapsed = step if self._time is None else float(observation.time) - self._time
        good = np.isfinite(elapsed) and elapsed > 1e-6
        passed = elapsed if good else step
        self.clock += passed
        if not good:
            self.late = "the observation's time stands still"
        else:
            late = self._time is not None and elapsed > max(LATE, 3.5 * step)
            self.late = f"no observation for {elapsed:.1f} s" if late else ""
            self._time = float(observation.time)
        fault = self._faults(tracks if good else None, passed, observation)
        if self.late and good:
            fault = fault or self.late
        if fault:
            self._faulty, self._why = self.clock, fault
        recovering = self.clock - self._faulty < RECOVERY
        self.fault = self._why if recovering else ""

    def _faults(self, tracks: Tracks | None, passed: float, observation: Observation) -> str:
        """Take the tracks in; what is wrong with them for too long, else empty."""
        self.jumped = ()
        if tracks is None:
            self._unseen += passed
            self._seen = self._seen.after(passed)
            self._keep_ghosts(nobody(), passed)
            if self._unseen > MISSING:
                return self.late or f"no tracks for {self._unseen:.1f} s"
            return ""
        self._unseen = 0.0
        seen = road_users(tracks)
        mine, theirs = _matches(self._seen.id, seen.id)
        stuck = self._frozen
        self._frozen = stuck + passed if self._is_frozen(seen, mine, theirs) else 0.0
        broken = np.isin(self._seen.id, tracks.states.id[tracks.states.valid])
        broken[mine] = False
        lost = self._seen.pick(broken).after(passed)
        jumped = self._turn(seen, mine, theirs, passed, stuck + self._frozen)
        self._keep_ghosts(together(lost, jumped), passed)
        if self._frozen > MISSING and float(observation.ego.speed) > MOVES:
            return f"tracks have not moved for {self._frozen:.1f} s"
        return ""

    def _is_frozen(self, seen: RoadUsers, mine: Array, theirs: Array) -> bool:
        """Whether all that should move stayed exactly where they were."""
        should = self._seen.speed[mine] > MOVES
        if not should.any():
            return False
        same = (self._seen.x[mine] == seen.x[theirs]) & (self._seen.y[mine] == seen.y[theirs])
        return bool(same[should].all())

    def _turn(
        self, seen: RoadUsers, mine: Array, theirs: Array, passed: float, stuck: float
    ) -> RoadUsers:
        """``seen`` becomes what is seen, with yaw rates; where those must be who jumped.

        ``stuck``: s for which the tracks were frozen; what they missed in that time is no jump.
        """
        was = self._seen.pick(mine)
        there = was.after(passed)
        miss = np.hypot(seen.x[theirs] - there.x, seen.y[theirs] - there.y)
        bound = JUMP + 0.5 * JUMP_ACCELERATION * passed**2
        bound = bound + SIGMAS * (was.std + seen.std[theirs]) + was.speed * stuck
        jumped = miss > bound
        rate = np.zeros(len(seen))
        turn = np.pi - np.mod(np.pi - (seen.heading[theirs] - was.heading), 2.0 * np.pi)
        known = (seen.std[theirs] < 0.1) & ~jumped & (seen.speed[theirs] > 1.0)
        rate[theirs] = np.where(known, np.clip(turn / passed, -1.0, 1.0), 0.0)
        self._seen = dataclasses.replace(seen, yaw_rate=rate)
        if not jumped.any():
            return nobody()
        self.jumped = tuple(int(i) for i in was.id[jumped])
        return there.pick(jumped)

    def _keep_ghosts(self, new: RoadUsers, passed: float) -> None:
        """Ghosts move on; they go after `GHOST` s."""
        if len(self._ghosts):
            keep = self.clock - self._ghost_since < GHOST
            self._ghosts = self._ghosts.pick(keep).after(passed)
            self._ghost_since = self._ghost_since[keep]
        if len(new):
            self._ghosts = together(self._ghosts, new)
            self._ghost_since = np.append(self._ghost_since, np.full(len(new), self.clock))
        self.users = together(self._seen, self._ghosts) if len(self._ghosts) else self._seen


def road_users(tracks: Tracks) -> RoadUsers:
    """The valid tracks whose numbers make sense; yaw rates are not known."""
    states = tracks.states
    numbers = np.stack([states.x, states.y, states.heading, states.vx, states.vy])
    sizes = np.stack([states.length, states.width, tracks.position_std])
    with np.errstate(invalid="ignore", over="ignore"):
        speed = np.hypot(states.vx, states.vy)
        good = states.valid & np.isfinite(numbers).all(0) & np.isfinite(sizes).all(0)
        row = np.flatnonzero(good & (speed < TOO_FAST) & (states.length > 0.0))
    kind = states.kind[row]
    speed = np.where(kind == AgentKind.STATIC, 0.0, speed[row])
    heading = states.heading[row]
    course = np.where(speed > MOVES, np.arctan2(states.vy[row], states.vx[row]), heading)
    return RoadUsers(
        row=row,
        id=states.id[row],
        kind=kind,
        x=states.x[row],
        y=states.y[row],
        z=states.z[row],
        heading=heading,
        speed=speed,
        course=course,
        yaw_rate=np.zeros(len(row)),
        length=states.length[row],
        width=states.width[row],
        std=np.maximum(tracks.position_std[row], 0.0),
    )


def _matches(before: Array, now: Array) -> tuple[Array, Array]:
    """Rows of the same id in both; of ids that appear twice, the first."""
    _, mine, theirs = np.intersect1d(before, now, return_indices=True)
    return mine, theirs
