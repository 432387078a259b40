"""Requests for the `rank` command: from a JSON Lines file, or from ids typed by hand. It does not know the service."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import msgspec

from service.bodies import BodyDecoder
from service.errors import InvalidRequest
from service.schemas import Candidate, RankRequest, Surface

DEFAULT_BID = 1.0


class BadRequest(Exception):
    """What was given is no rank request; the message says where."""


def read_request(path: Path, index: int) -> RankRequest:
    """Line `index` (from 0) of a file of rank requests. Raises BadRequest."""
    try:
        with path.open("rb") as file:
            line = next(islice(file, index, None), None)
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    if line is None:
        raise BadRequest(f"{path} has no line {index} (counted from 0)")
    try:
        return BodyDecoder(RankRequest).decode(line)
    except InvalidRequest as error:
        raise BadRequest(f"{path} line {index}: {error.field}: {error.detail}") from None


def request_of_ids(member_id: str, surface: Surface, ids: str) -> RankRequest:
    """`50,172` or, for ads, `50=0.35,172=1.2`; an ad without a bid gets 1. Raises BadRequest."""
    candidates = [_candidate(part.strip(), surface) for part in ids.split(",") if part.strip()]
    if not candidates:
        raise BadRequest("--candidates names no item")
    return RankRequest(member_id, surface, candidates)


def _candidate(text: str, surface: Surface) -> Candidate:
    if surface == "feed":
        return Candidate(text)
    item_id, _, bid = text.rpartition("=") if "=" in text else (text, "", str(DEFAULT_BID))
    try:
        return msgspec.convert({"id": item_id, "bid": msgspec.json.decode(bid)}, Candidate)
    except (ValueError, msgspec.ValidationError):
        raise BadRequest(f"{text!r} is not id=bid") from None
