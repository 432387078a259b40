"""Bodies: from a request's raw bytes to a wire type, within limits. It does not know HTTP's framework or the routes.

Every refusal is a typed error that names the JSON path at fault; a body is never held beyond the limit, whether its
length was announced or not.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

import msgspec

from service.errors import BodyTooLarge, InvalidJson, InvalidRequest, Overloaded, UnsupportedMediaType

T = TypeVar("T")

BODIES_AT_A_TIME = 32
"""Unfinished bodies of the greatest length that are held at a time; there may be many more small ones."""
_RETRY_SECONDS = 1.0
_MAX_ECHO = 200  # characters of the caller's own text that an answer repeats
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>.*)`$", re.DOTALL)
_OWN_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)$")
_NOT_FINITE = re.compile(rb"-?(?:NaN|Infinity)")


def check_media_type(headers: Mapping[str, str]) -> None:
    """Only plain UTF-8 JSON is read. Raises UnsupportedMediaType."""
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise UnsupportedMediaType("send the body as application/json")
    parameters = parameters.strip().lower().replace('"', "")
    if parameters not in ("", "charset=utf-8", "charset=utf8"):
        raise UnsupportedMediaType("application/json takes no parameter but charset=utf-8")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("send the body uncompressed")


class BodyBudget:
    """How many bytes of unfinished bodies there may be at a time, of all requests together."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes

    @contextmanager
    def receiving(self) -> Iterator[Callable[[int], None]]:
        """For one body, until it is decoded: a function that takes so many more bytes. It raises Overloaded."""
        held = 0

        def take(more: int) -> None:
            nonlocal held
            if more > self._left:
                raise Overloaded("too many large bodies are being received", _RETRY_SECONDS)
            held += more
            self._left -= more

        try:
            yield take
        finally:
            self._left += held


async def read_body(
    headers: Mapping[str, str],
    chunks: AsyncIterator[bytes],
    max_bytes: int,
    take: Callable[[int], None] | None = None,
) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as the announced or the received length passes `max_bytes`.

    `take` is told of every chunk, and may refuse it.
    """
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_bytes:
        raise BodyTooLarge(f"the body is longer than {max_bytes} bytes")
    received: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(f"the body is longer than {max_bytes} bytes")
        if take is not None:
            take(len(chunk))
        received.append(chunk)
    return received[0] if len(received) == 1 else b"".join(received)


class BodyDecoder(Generic[T]):
    """Decodes JSON into one wire type, strictly. Built once, used by every request."""

    def __init__(self, wire_type: type[T]) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(wire_type, strict=True)

    def decode(self, body: bytes) -> T:
        """Raises InvalidRequest naming the field, or InvalidJson where the body is not JSON."""
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise invalid_request(str(error)) from None
        except msgspec.DecodeError as error:
            raise self._malformed(body, str(error)) from None
        except UnicodeDecodeError:
            raise InvalidJson("the body is not valid UTF-8") from None
        except RecursionError:
            raise InvalidJson("the body is nested too deeply") from None

    def _malformed(self, body: bytes, message: str) -> InvalidRequest:
        """NaN and Infinity are not JSON, but their writer wants to know which number it was: so ask the decoder again,
        with the token made a string, and it names the path."""
        at = _BYTE.search(message)
        token = _NOT_FINITE.match(body, max(0, int(at[1]) - 1)) if at else None
        if at and not token:
            token = _NOT_FINITE.match(body, int(at[1]))
        if token:
            try:
                self._decoder.decode(b'%b"%b"%b' % (body[: token.start()], token[0], body[token.end() :]))
            except msgspec.ValidationError as error:
                field = invalid_request(str(error)).field
                if field != "body":
                    return InvalidRequest(field, f"{token[0].decode()} is not a finite number")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        return InvalidJson(_short(message))


def invalid_request(message: str) -> InvalidRequest:
    """msgspec's message, taken apart: "Expected `float` >= 0.0 - at `$.candidates[3].bid`" → candidates[3].bid.

    A missing or unknown field is named itself, not only the object that it is in.
    """
    at = _PATH.search(message)
    path = at["path"] if at else ""
    detail = message[: at.start()] if at else message
    own = _OWN_FIELD.match(detail)
    if own:
        path = f"{path}.{own['name']}" if path else own["name"]
    return InvalidRequest(_short(path) or "body", _short(detail))


def _short(text: str) -> str:
    return text if len(text) <= _MAX_ECHO else text[:_MAX_ECHO] + "…"
