"""What a training is fed with: single moments, then clips, of epochs that are counted through."""

from __future__ import annotations

import itertools

import numpy as np

from training.data import make_loader
from training.feed import ClipSources, Feed

SINGLES, CLIPS, BATCH, TURN = 6, 4, 1, 4
"""6 single moments in steps of 2 are 3 steps an epoch; clips come after the first of the second"""


class Drawn:
    """Samples that are others in each epoch, and say of which they are."""

    def __init__(self, count: int, clips: bool, epoch: int = 0) -> None:
        self.count, self.clips, self.epoch = count, clips, epoch

    def __len__(self) -> int:
        return self.count

    def in_epoch(self, epoch: int) -> Drawn:
        return Drawn(self.count, self.clips, epoch)

    def sample(self, index: int) -> dict[str, np.ndarray]:
        return {"of": np.array([self.clips, self.epoch, index])}


def feed(turn: int = TURN) -> Feed:
    sources = ClipSources(Drawn(CLIPS, True), singles=Drawn(SINGLES, False))
    return Feed(sources, BATCH, turn, lambda source, size: make_loader(source, size, seed=3))


def taken(made: Feed, steps: int) -> list[list[list[int]]]:
    """(clips or not, epoch, index) of the samples of so many steps."""
    return [batch["of"].tolist() for batch in itertools.islice(made, steps)]


def test_clips_are_of_epochs_that_single_moments_have_not_had() -> None:
    found = [step[0][:2] for step in taken(feed(), TURN + 2 * CLIPS)]
    assert found[:TURN] == [[0, 0]] * 3 + [[0, 1]]
    assert found[TURN:] == [[1, 2]] * CLIPS + [[1, 3]] * CLIPS
    assert [step[0][:2] for step in taken(feed(turn=0), CLIPS + 1)] == [[1, 0]] * CLIPS + [[1, 1]]


def test_a_feed_goes_on_as_if_there_had_been_no_break() -> None:
    whole = taken(feed(), TURN + CLIPS + 2)
    for stop in (1, 3, TURN, TURN + 1, TURN + CLIPS, TURN + CLIPS + 1):
        first = feed()
        batches = iter(first)
        for _ in range(stop):
            next(batches)
        later = feed()
        later.resume(stop, first.state())
        assert taken(later, len(whole) - stop) == whole[stop:]
