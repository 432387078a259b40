"""SharedWork: parts are done once, by the owner and its helpers, and the owner pauses between them."""

from __future__ import annotations

import threading

import pytest

from service.shared_work import SharedWork


def test_the_owner_alone_does_every_part_and_pauses_between_them() -> None:
    """In order; not before the first part and not after the last."""
    seen: list[int | str] = []
    SharedWork(seen.append, range(3)).finish(lambda: seen.append("pause"))

    assert seen == [0, "pause", 1, "pause", 2]


def test_a_helper_that_comes_late_does_nothing() -> None:
    """The owner is through: the parts are done, and nobody waits."""
    done: list[int] = []
    work = SharedWork(done.append, range(2))
    work.finish(lambda: None)
    work.help(until=lambda: False)

    assert done == [0, 1]


def test_the_owner_waits_for_a_helper_at_work_and_raises_its_error() -> None:
    """Whoever owns the work returns when nothing of it runs any more."""
    helping, go = threading.Event(), threading.Event()

    def part(number: int) -> None:
        if number == 0:
            helping.set()
            go.wait(30)
            raise ValueError("no")
        go.set()

    work = SharedWork(part, range(2))
    helper = threading.Thread(target=work.help, args=(lambda: False,))
    helper.start()
    helping.wait(30)

    with pytest.raises(ValueError, match="no"):
        work.finish(lambda: None)
    helper.join()
