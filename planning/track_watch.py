"""What is believed of the tracks: late, frozen, missing or impossible ones are found out here."""

from __future__ import annotations

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


class RoadUsers:
    """Who is believed to be there, ``(users,)``: box centres in the world frame.

    All numbers stand in two arrays, so that picking some of the users is picking columns.

    Attributes:
        row: of the tracks, -1 for a ghost: somebody believed to be there although no track says so.
        id, kind: as in the tracks.
        x, y, z: m.
        heading: rad.
        length, width: m.
        std: m, standard deviation of the position.
        speed: m/s, magnitude of the velocity.
        course: rad, direction of the velocity; the heading where it hardly moves.
        yaw_rate: rad/s, 0 where it is not known well.
    """

    def __init__(self, whole: Array, numbers: Array) -> None:
        """``(3, users)`` whole numbers and ``(10, users)`` others, rows as they are unpacked."""
        self.whole, self.numbers = whole, numbers
        self.row, self.id, self.kind = whole
        self.x, self.y, self.heading, self.length, self.width, self.std = numbers[:6]
        self.speed, self.course, self.yaw_rate, self.z = numbers[6:]

    def __len__(self) -> int:
        return len(self.id)

    def pick(self, rows: Array) -> RoadUsers:
        """Those of ``rows``, indices."""
        return RoadUsers(self.whole.take(rows, axis=1), self.numbers.take(rows, axis=1))

    def after(self, seconds: float) -> RoadUsers:
        """Going on at constant velocity; no rows of tracks any more."""
        gone = RoadUsers(self.whole.copy(), self.numbers.copy())
        gone.row[:] = -1
        gone.x += self.speed * np.cos(self.course) * seconds
        gone.y += self.speed * np.sin(self.course) * seconds
        return gone


def nobody() -> RoadUsers:
    """An empty road."""
    return RoadUsers(np.zeros((3, 0), np.int64), np.zeros((10, 0)))


def together(a: RoadUsers, b: RoadUsers) -> RoadUsers:
    """Both, ``a`` first."""
    if not len(a) or not len(b):
        return a if len(a) else b
    return RoadUsers(np.hstack([a.whole, b.whole]), np.hstack([a.numbers, b.numbers]))


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
        self._ids = _Ids(self._seen.id)
        self._ghosts = nobody()
        self._ghost_since = np.zeros(0)
        self._time: float | None = None
        self.clock = 0.0
        """s since the first observation"""
        self._unseen = np.inf  # what was never seen cannot be bridged
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
                for_how_long = f"for {self._unseen:.1f} s" if self._unseen < np.inf else "yet"
                return self.late or f"no tracks {for_how_long}"
            return ""
        self._unseen = 0.0
        seen, valid = road_users(tracks), tracks.states.valid
        ids = _Ids(seen.id)
        mine, theirs = self._ids.shared_with(ids)
        stuck = self._frozen
        self._frozen = stuck + passed if self._is_frozen(seen, mine, theirs) else 0.0
        gone = nobody()
        if len(seen) < np.count_nonzero(valid) or not (ids.unique and self._ids.unique):
            # somebody is still tracked, but his numbers make no sense any more
            broken = np.isin(self._seen.id, tracks.states.id[valid])
            broken[mine] = False
            gone = self._seen.pick(np.flatnonzero(broken)).after(passed)
        jumped = self._turn(seen, mine, theirs, passed, stuck + self._frozen)
        self._ids = ids
        self._keep_ghosts(together(gone, jumped), passed)
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
        there_x = was.x + was.speed * np.cos(was.course) * passed
        there_y = was.y + was.speed * np.sin(was.course) * passed
        std, heading, speed = seen.std[theirs], seen.heading[theirs], seen.speed[theirs]
        miss = np.hypot(seen.x[theirs] - there_x, seen.y[theirs] - there_y)
        bound = JUMP + 0.5 * JUMP_ACCELERATION * passed**2
        bound = bound + SIGMAS * (was.std + std) + was.speed * stuck
        jumped = miss > bound
        turn = np.pi - np.mod(np.pi - (heading - was.heading), 2.0 * np.pi)
        known = (std < 0.1) & ~jumped & (speed > 1.0)
        rate = np.minimum(np.maximum(turn / passed, -1.0), 1.0)
        seen.yaw_rate[theirs] = np.where(known, rate, 0.0)
        self._seen = seen
        if not jumped.any():
            return nobody()
        gone = was.pick(np.flatnonzero(jumped)).after(passed)
        self.jumped = tuple(gone.id.tolist())
        return gone

    def _keep_ghosts(self, new: RoadUsers, passed: float) -> None:
        """Ghosts move on; they go after `GHOST` s."""
        if len(self._ghosts):
            keep = self.clock - self._ghost_since < GHOST
            self._ghosts = self._ghosts.pick(np.flatnonzero(keep)).after(passed)
            self._ghost_since = self._ghost_since[keep]
        if len(new):
            self._ghosts = together(self._ghosts, new)
            self._ghost_since = np.append(self._ghost_since, np.full(len(new), self.clock))
        self.users = together(self._seen, self._ghosts) if len(self._ghosts) else self._seen


def road_users(tracks: Tracks) -> RoadUsers:
    """The valid tracks whose numbers make sense; yaw rates are not known."""
    states = tracks.states
    numbers = np.zeros((10, len(states.x)))
    numbers[0], numbers[1], numbers[2] = states.x, states.y, states.heading
    numbers[3], numbers[4], numbers[5] = states.length, states.width, tracks.position_std
    numbers[6], numbers[7] = states.vx, states.vy
    good = np.isfinite(numbers[:8]).all(0) & states.valid & (states.length > 0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        speed = np.hypot(states.vx, states.vy)
        good &= speed < TOO_FAST
    numbers[6], numbers[9] = speed, states.z
    row = np.flatnonzero(good)
    whole = np.array([row, states.id[row], states.kind[row]], np.int64)
    users = RoadUsers(whole, numbers.take(row, axis=1))
    users.speed[users.kind == AgentKind.STATIC] = 0.0
    course = np.arctan2(users.course, states.vx[row])
    users.course[:] = np.where(users.speed > MOVES, course, users.heading)
    np.maximum(users.std, 0.0, out=users.std)
    return users


class _Ids:
    """Ids of one moment, sorted; of those that appear twice, the first counts."""

    def __init__(self, ids: Array) -> None:
        self.sorted, self.first = np.unique(ids, return_index=True)
        self.unique = len(self.sorted) == len(ids)

    def shared_with(self, later: _Ids) -> tuple[Array, Array]:
        """Rows of the ids that both have, in mine and in ``later``."""
        if not len(self.sorted):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        at = np.searchsorted(self.sorted, later.sorted)
        at[at == len(self.sorted)] = 0
        same = self.sorted[at] == later.sorted
        return self.first[at[same]], later.first[same]
