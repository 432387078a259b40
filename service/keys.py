"""API keys: who may ask for what, how often. A file holds their hashes and is read again when it changes.

One key a line, as JSON; `python -m service create-key` writes such a line and shows the key once:

    {"name": "web", "hash": "sha256:…", "scopes": ["rank"], "rate_per_second": 50.0, "burst": 100}

A key is 256 random bits, so its plain SHA-256 cannot be turned back by guessing. This module does not know HTTP, or
which path needs which scope.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from service.errors import Forbidden, RateLimited, Unauthorized

log = logging.getLogger(__name__)

Scope = Literal["rank", "events", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "rk_"
MOST_KEYS = 10_000
_KEY_BYTES = 32
_LOOK_EVERY_SECONDS = 1.0


class KeyLine(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One line of the file. burst: requests that may come at once, by default what a second allows."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    hash: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    rate_per_second: Annotated[float, Meta(gt=0)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None


class KeysFileError(ValueError):
    """The file cannot be used; the message names the line, and nothing of a key."""


@dataclass
class _Bucket:
    """Tokens that a key has left. It fills with `rate` a second up to `burst`; None: without limit."""

    rate: float | None
    burst: float
    tokens: float
    filled_at: float

    def wait_seconds(self, now: float) -> float:
        """Take a token, or say after how long there is one."""
        if self.rate is None:
            return 0.0
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1.0:
            return (1.0 - self.tokens) / self.rate
        self.tokens -= 1.0
        return 0.0


@dataclass(frozen=True)
class _Key:
    name: str
    scopes: frozenset[Scope]
    bucket: _Bucket


class ApiKeys:
    """The keys of a file. Reading it first raises KeysFileError; later a bad edit leaves the keys as they were."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        # Keys are found under a hash of their hash that is this process's own: how long a look-up takes tells nobody
        # how near a guess came to a key, or to its hash in the file.
        self._blind = secrets.token_bytes(32)
        self._looked_at = clock()
        self._seen = _fingerprint(path)
        self._keys = self._read({})

    def check(self, secret: str | None, scope: Scope) -> str:
        """The name of the key that may. Raises Unauthorized, Forbidden or RateLimited."""
        now = self._clock()
        if now - self._looked_at >= _LOOK_EVERY_SECONDS:
            self._looked_at = now
            self._look_again()
        if secret is None:
            raise Unauthorized("send an API key: Authorization: Bearer …")
        key = self._keys.get(self._hidden(hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()))
        if key is None:
            raise Unauthorized("the API key is not known here")
        if scope not in key.scopes:
            raise Forbidden(f"the API key {key.name} lacks the scope {scope}")
        if (wait := key.bucket.wait_seconds(now)) > 0:
            raise RateLimited(f"the API key {key.name} is used more often than it may", wait)
        return key.name

    def _hidden(self, digest: str) -> bytes:
        return hmac.digest(self._blind, digest.encode(), "sha256")

    def _look_again(self) -> None:
        found = _fingerprint(self._path)
        if found == self._seen:
            return
        self._seen = found
        try:
            self._keys = self._read({key.name: key.bucket for key in self._keys.values()})
        except KeysFileError as error:
            log.error("the API keys stay as they were: %s", error)
            return
        log.info("read %d API keys", len(self._keys))

    def _read(self, buckets: dict[str, _Bucket]) -> dict[bytes, _Key]:
        """Limits that did not change keep their tokens: reading the file is no way to a fresh burst."""
        keys: dict[bytes, _Key] = {}
        for line in read_lines(self._path):
            burst = float(line.burst or max(1.0, line.rate_per_second or 1.0))
            bucket = buckets.get(line.name)
            if bucket is None or (bucket.rate, bucket.burst) != (line.rate_per_second, burst):
                bucket = _Bucket(line.rate_per_second, burst, burst, self._clock())
            keys[self._hidden(line.hash.removeprefix("sha256:"))] = _Key(line.name, frozenset(line.scopes), bucket)
        return keys


def read_lines(path: Path) -> list[KeyLine]:
    """Every key of a file. Raises KeysFileError, also for a file without any: it may be half-written."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise KeysFileError(f"{path}: {error.strerror or 'cannot be read'}") from None
    decoder = msgspec.json.Decoder(KeyLine)
    lines: list[KeyLine] = []
    for number, one in enumerate(text.splitlines(), start=1):
        if not one.strip():
            continue
        try:
            lines.append(decoder.decode(one))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise KeysFileError(f"{path}: line {number} is not a key (name, hash, scopes)") from None
    if not 1 <= len(lines) <= MOST_KEYS:
        raise KeysFileError(f"{path}: holds {len(lines)} keys, expected 1 to {MOST_KEYS}")
    _refuse_doubles(path, "name", (line.name for line in lines))
    _refuse_doubles(path, "hash", (line.hash for line in lines))
    return lines


def create_key(path: Path, name: str, scopes: Iterable[str], rate_per_second: float | None = None) -> str:
    """Append a new key's line to the file, which only its owner may read; returns the key. Raises KeysFileError."""
    secret = PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    given = {"name": name, "hash": f"sha256:{digest}", "scopes": list(scopes), "rate_per_second": rate_per_second}
    try:
        line = msgspec.convert(given, KeyLine)
    except msgspec.ValidationError as error:
        raise KeysFileError(str(error)) from None
    before = path.read_bytes() if path.exists() else b""
    if before.strip() and any(known.name == name for known in read_lines(path)):
        raise KeysFileError(f"{path}: there is a key named {name} already")
    begin = b"\n" if before and not before.endswith(b"\n") else b""
    try:
        path.touch(0o600)  # before anything is in it
        with path.open("ab") as file:
            file.write(begin + msgspec.json.encode(line) + b"\n")
    except OSError as error:
        raise KeysFileError(f"{path}: {error.strerror}") from None
    return secret


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _refuse_doubles(path: Path, what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for number, value in enumerate(values, start=1):
        if value in seen:
            raise KeysFileError(f"{path}: key {number} has the {what} of another")
        seen.add(value)
