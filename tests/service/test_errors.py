"""The error tree: closed, drawn, and with stable codes."""

from __future__ import annotations

import inspect

from service import errors
from service.errors import RankonceError


def classes() -> list[type[RankonceError]]:
    return [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, RankonceError)]


def test_every_error_is_drawn_with_its_status() -> None:
    """The module docstring's tree is the documentation: name and status of each class stand on one line."""
    drawn = errors.__doc__ or ""
    for cls in set(classes()) - {RankonceError}:
        assert any(
            cls.__name__ in line.split() and str(errors.STATUS[cls]) in line.split() for line in drawn.splitlines()
        ), cls


def test_codes_differ() -> None:
    """A caller branches on the code, so no two classes share one."""
    codes = [cls.code for cls in classes()]

    assert len(set(codes)) == len(codes)


def test_only_the_detail_is_public() -> None:
    """An error's text is what the caller reads, nothing more."""
    error = errors.StoreUnavailable("down")
    error.__cause__ = OSError("redis://:secret@host")

    assert (str(error), error.detail) == ("down", "down")
