"""API keys: hashes in a file, scopes, rates, and a file that changes while it is used."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Forbidden, RateLimited, Unauthorized
from service.keys import ApiKeys, KeysFileError, create_key, read_lines

HASH = "sha256:" + "0" * 64


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keys are kept."""
    return tmp_path / "keys.jsonl"


@pytest.fixture
def clock() -> Clock:
    """Starts at 0."""
    return Clock()


def line(**changed: object) -> str:
    return json.dumps({"name": "web", "hash": HASH, "scopes": ["rank"], **changed}) + "\n"


def test_a_created_key_opens_its_scopes_and_no_other(file: Path) -> None:
    """Scopes are what they say: admin does not rank."""
    web, root = create_key(file, "web", ["rank", "events"]), create_key(file, "root", ["admin"])
    keys = ApiKeys(file)

    assert (keys.check(web, "rank"), keys.check(web, "events"), keys.check(root, "admin")) == ("web", "web", "root")
    for key, scope in ((web, "admin"), (root, "rank")):
        with pytest.raises(Forbidden):
            keys.check(key, scope)  # type: ignore[arg-type]


def test_the_file_holds_no_key_and_is_its_owners_alone(file: Path) -> None:
    """Who reads the file can ask for nothing with it."""
    key = create_key(file, "web", ["rank"])

    assert key not in file.read_text()
    assert key.removeprefix("rk_") not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(Unauthorized):
        ApiKeys(file).check(read_lines(file)[0].hash, "rank")


def test_keys_are_long_and_differ(file: Path) -> None:
    """256 bits each: there is nothing to guess."""
    made = {create_key(file, f"k{i}", ["rank"]) for i in range(20)}

    assert len(made) == 20
    assert all(len(key) >= 46 for key in made)


@pytest.mark.parametrize("secret", [None, "", "rk_", "rk_unknown", "\x00", "é" * 10_000])
def test_who_sends_no_known_key_is_unauthorized(file: Path, secret: str | None) -> None:
    """Whatever was sent; and the refusal does not repeat it."""
    create_key(file, "web", ["rank"])
    with pytest.raises(Unauthorized) as caught:
        ApiKeys(file).check(secret, "rank")

    assert not secret or secret not in caught.value.detail


def test_a_key_has_its_own_rate(file: Path, clock: Clock) -> None:
    """A burst, then so many a second; another key is not touched by it."""
    limited, free = create_key(file, "a", ["rank"], rate_per_second=2.0), create_key(file, "b", ["rank"])
    keys = ApiKeys(file, clock)
    for _ in range(2):
        keys.check(limited, "rank")
    with pytest.raises(RateLimited) as caught:
        keys.check(limited, "rank")
    assert caught.value.retry_after_seconds == 0.5
    for _ in range(100):
        keys.check(free, "rank")

    clock.now += 0.5
    keys.check(limited, "rank")
    with pytest.raises(RateLimited):
        keys.check(limited, "rank")


@given(gaps=st.lists(st.floats(0, 3), max_size=60))
def test_no_pattern_of_requests_beats_the_rate(tmp_path_factory: pytest.TempPathFactory, gaps: list[float]) -> None:
    """In any stretch of time at most burst + rate · seconds are let through."""
    file = tmp_path_factory.mktemp("keys") / "keys.jsonl"
    key, clock, passed = create_key(file, "web", ["rank"], rate_per_second=3.0), Clock(), 0
    keys = ApiKeys(file, clock)
    for gap in gaps:
        clock.now += gap
        try:
            keys.check(key, "rank")
        except RateLimited:
            continue
        passed += 1

    assert passed <= 3 + 3 * clock.now + 1e-6


def test_an_edit_is_seen_within_a_second(file: Path, clock: Clock) -> None:
    """A new key works, a removed one does not, and a used-up rate is not renewed by it."""
    old, limited = create_key(file, "old", ["rank"]), create_key(file, "limited", ["rank"], rate_per_second=1.0)
    keys = ApiKeys(file, clock)
    keys.check(old, "rank")
    keys.check(limited, "rank")
    new = create_key(file, "new", ["rank"])
    kept = [text for text in file.read_text().splitlines(True) if '"old"' not in text]
    file.write_text("".join(kept))

    clock.now += 1.0
    keys.check(new, "rank")
    with pytest.raises(Unauthorized):
        keys.check(old, "rank")
    keys.check(limited, "rank")
    with pytest.raises(RateLimited):
        keys.check(limited, "rank")


@pytest.mark.parametrize("edit", [b"", b"{", b"\xff", line(scopes=["root"]).encode(), None])
def test_a_bad_edit_keeps_the_keys_that_were(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture, edit: bytes | None
) -> None:
    """Emptied, broken or removed: told once, and nobody is locked out or let in."""
    key = create_key(file, "web", ["rank"])
    keys = ApiKeys(file, clock)
    file.unlink() if edit is None else file.write_bytes(edit)
    for _ in range(3):
        clock.now += 1.0
        assert keys.check(key, "rank") == "web"

    assert caplog.text.count("stay as they were") == 1

    mended = file.with_suffix(".new")
    other = create_key(mended, "other", ["rank"])
    mended.replace(file)
    clock.now += 1.0
    assert keys.check(other, "rank") == "other"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "nonsense",
        line(scopes=[]),
        line(hash="sha256:short"),
        line(hash="rk_a-key-in-clear"),
        line(name="a b"),
        line(rate_per_second=0),
        line(colour="red"),
        line() + line(name="other"),
        line() + line(hash=HASH.replace("0", "1")),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(file: Path, text: str) -> None:
    """At the start there is nothing to fall back on; the message names no hash and no key."""
    file.write_text(text)
    with pytest.raises(KeysFileError) as caught:
        ApiKeys(file)

    assert str(file) in str(caught.value)
    assert "sha256:" not in str(caught.value)
    assert "rk_" not in str(caught.value)


@pytest.mark.parametrize(("name", "scopes"), [("web", ["rank"]), ("a b", ["rank"]), ("new", ["root"]), ("new", [])])
def test_a_key_that_cannot_be_meant_is_not_created(file: Path, name: str, scopes: list[str]) -> None:
    """A second of one name, a name for a shell to trip over, or a scope that there is not."""
    create_key(file, "web", ["rank"])
    before = file.read_bytes()
    with pytest.raises(KeysFileError):
        create_key(file, name, scopes)

    assert file.read_bytes() == before


def test_a_missing_last_line_break_is_added(file: Path) -> None:
    """A file that was edited by hand is not spoilt."""
    create_key(file, "web", ["rank"])
    file.write_bytes(file.read_bytes().rstrip())
    create_key(file, "other", ["rank"])

    assert [one.name for one in read_lines(file)] == ["web", "other"]
