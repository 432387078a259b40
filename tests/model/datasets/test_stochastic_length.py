"""Stochastic length: who is cut, to what, and that nothing is left of a history but its own actions in order."""

from __future__ import annotations

import numpy as np
import pytest

from model.datasets.base import Dataset
from model.datasets.batches import gather, shuffled, window_lengths
from model.datasets.stochastic_length import recency_weights, stochastic_lengths, thinned
from model.datasets.synthetic import World, load_synthetic

LONGEST, SLACK = 20, 5


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A small synthetic feed whose logs outgrow the window."""
    return load_synthetic("feed", seed=5, world=World(members=30, items=60, sessions=10))


def rng(seed: int = 0) -> np.random.Generator:
    """Randomness of its own."""
    return np.random.default_rng(seed)


def test_with_two_every_history_is_kept_whole() -> None:
    """α = 2 is off, whatever the longest history is."""
    for longest in (1, 3, 64, 1000, 4096):
        lengths = np.arange(longest + 1)
        assert np.array_equal(stochastic_lengths(lengths, longest, 2.0, rng()), lengths)


@pytest.mark.parametrize("alpha", [1.01, 1.4, 1.6, 1.99])
def test_a_history_is_kept_whole_or_cut_to_one_length(alpha: float) -> None:
    """Up to N^(α/2) actions nothing changes; above, N^(α/2) rounded down is the only other length."""
    lengths = np.tile(np.arange(257), 40)
    drawn = stochastic_lengths(lengths, 256, alpha, rng())
    short = int(256 ** (alpha / 2))
    cut = drawn != lengths

    assert cut.any()
    assert set(drawn[cut]) == {short}
    assert lengths[cut].min() > short


@pytest.mark.parametrize("alpha", [1.4, 1.6, 1.8])
def test_attention_costs_what_the_equation_says(alpha: float) -> None:
    """The mean of the squared length is n² · N^α / n² + N^α · (1 − N^α / n²), and so never above 2 N^α."""
    longest = 1024
    for length in (400, 700, 1024):
        squares = stochastic_lengths(np.full(50_000, length), longest, alpha, rng()).astype(np.float64) ** 2
        budget = longest**alpha
        whole = min(1.0, budget / length**2)
        expected = length**2 * whole + budget * (1 - whole)
        assert squares.mean() == pytest.approx(expected if length**2 > budget else length**2, rel=0.03)
        assert squares.mean() < 2.06 * budget


def test_what_is_drawn_depends_on_the_seed_alone(dataset: Dataset) -> None:
    """The same generator cuts the same histories and leaves out the same actions, another one does not."""
    part = dataset.splits["train"]
    rows = np.flatnonzero(part.history_end > 15)[:32]
    batch = gather(dataset, part, rows, LONGEST, SLACK)
    lengths = np.tile(np.arange(258), 10)
    first, again, other = (
        (stochastic_lengths(lengths, 257, 1.5, source), thinned(batch, np.full(len(rows), 6), source).history_items)
        for source in (rng(3), rng(3), rng(4))
    )

    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_kept_actions_are_the_histories_own_in_order(dataset: Dataset) -> None:
    """As many as asked for, each once, oldest first, strictly before the request, padded on the right with zeros."""
    part = dataset.splits["train"]
    rows = np.arange(len(part))
    batch = gather(dataset, part, rows, LONGEST, SLACK)
    lengths = rng().integers(1, LONGEST + 1, len(rows))
    thin = thinned(batch, lengths, rng())

    assert thin.history_mask.shape[1] == np.minimum(lengths, batch.history_mask.sum(axis=1)).max()
    for row in range(len(rows)):
        before = [column[row, batch.history_mask[row]].tolist() for column in batch[:3]]
        after = [column[row, thin.history_mask[row]].tolist() for column in thin[:3]]
        count = min(len(before[0]), lengths[row])
        assert thin.history_mask[row].tolist() == [True] * count + [False] * (thin.history_mask.shape[1] - count)
        remaining = iter(zip(*before, strict=True))
        assert all(action in remaining for action in zip(*after, strict=True))  # looks on from where it found the last
        assert all(time < batch.request_time[row] for time in after[2])
        assert not any(column[row, count:].any() for column in thin[:3])
    assert all(theirs is ours for theirs, ours in zip(thin[4:], batch[4:], strict=True))


def test_a_batch_in_which_nothing_is_left_out_stays_as_it_is(dataset: Dataset) -> None:
    """The very same arrays, and nothing drawn: so training with α = 2 is training without."""
    part = dataset.splits["train"]
    source = rng()
    for rows in (np.arange(50), np.flatnonzero(part.history_end == 0)):
        batch = gather(dataset, part, rows, LONGEST, SLACK)
        assert thinned(batch, part.history_end[rows], source) is batch

    assert source.random() == rng().random()


def test_a_history_beside_one_that_is_cut_stays_whole(dataset: Dataset) -> None:
    """Each row has a length of its own, and one that is longer than the history is no limit."""
    part = dataset.splits["train"]
    rows = np.flatnonzero(part.history_end > 10)[:8]
    batch = gather(dataset, part, rows, LONGEST, SLACK)
    thin = thinned(batch, np.array([3] + [10_000] * (len(rows) - 1)), rng())

    assert thin.history_mask[0].sum() == 3
    assert np.array_equal(thin.history_items[1:], batch.history_items[1:, : thin.history_mask.shape[1]])


def test_sorting_by_the_drawn_lengths_saves_padding(dataset: Dataset) -> None:
    """Padded attention falls with α, and more than if the batches were sorted by the whole lengths."""
    part = dataset.splits["train"]
    windows = window_lengths(part.history_end, LONGEST, SLACK)

    def cells(by: np.ndarray, lengths: np.ndarray) -> float:
        return float(sum(len(rows) * lengths[rows].max() ** 2 for rows in shuffled(by, 8, rng(1))))

    drawn = stochastic_lengths(windows, LONGEST, 1.4, rng())

    assert cells(drawn, drawn) < cells(windows, drawn) < cells(windows, windows)


def test_the_longer_ago_an_action_was_the_less_it_weighs() -> None:
    """Appendix F.1's weights of one history, padding beside it; the last action always weighs one."""
    times = np.array([[1000, 1900, 2000, 0], [5, 5, 5, 5]])
    mask = np.array([[True, True, True, False], [True] * 4])

    assert recency_weights(times, mask)[0, :3] == pytest.approx([1 - 1000 / 1100, 1 - 100 / 1100, 1.0])
    assert recency_weights(times, mask)[1] == pytest.approx([1.0] * 4)  # all at once: no reason to prefer one


def test_an_action_that_alone_is_old_still_counts_as_one() -> None:
    """Its share of all ages is the whole, so its weight is next to nothing, but it is no padding."""
    weights = recency_weights(np.array([[0, 7000, 7000, 0]]), np.array([[True, True, True, False]]))

    assert 0.0 < weights[0, 0] < 1e-9


def test_actions_are_drawn_by_their_weights(dataset: Dataset) -> None:
    """Of three actions two are kept; each pair comes as often as drawing one after the other by weight gives it."""
    part = dataset.splits["train"]
    batch = gather(dataset, part, np.full(30_000, np.flatnonzero(part.history_end >= 3)[0]), LONGEST, SLACK)
    three = batch._replace(
        history_items=np.tile([0, 1, 2], (30_000, 1)),
        history_actions=np.zeros((30_000, 3), dtype=np.int64),
        history_times=np.tile([1000, 1900, 2000], (30_000, 1)),
        history_mask=np.ones((30_000, 3), dtype=np.bool_),
    )
    weights = np.array([1 - 1000 / 1100, 1 - 100 / 1100, 1.0])
    kept = thinned(three, np.full(30_000, 2), rng()).history_items

    for first, second in ((0, 1), (0, 2), (1, 2)):
        a, b, total = weights[first], weights[second], weights.sum()
        expected = a / total * b / (total - a) + b / total * a / (total - b)
        assert (kept == [first, second]).all(axis=1).mean() == pytest.approx(expected, abs=0.01)
