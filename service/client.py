"""RankClient: the service's HTTP interface as typed calls. It does not know how the service answers them.

Blocking, over one connection pool; every method raises ProblemError when the service refuses and httpx.HTTPError when
it cannot be reached. Safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from service.schemas import (
    Event,
    EventsRequest,
    EventsResponse,
    Health,
    HistoryResponse,
    LoadParameters,
    LoadRequest,
    ModelState,
    PrefetchRequest,
    Problem,
    RankRequest,
    RankResponse,
    Surface,
)

T = TypeVar("T")

_JSON = {"content-type": "application/json"}


class ProblemError(Exception):
    """The service refused. `problem` says what and, where there is one, which field; branch on `problem.code`."""

    def __init__(self, problem: Problem, retry_after_seconds: int | None = None) -> None:
        where = f"{problem.field}: " if isinstance(problem.field, str) else ""
        super().__init__(f"{problem.status} {problem.code}: {where}{problem.detail}")
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


class Ranked(NamedTuple):
    """An answer and, in seconds, what each stage took in the service (`Server-Timing`), in the order they ran."""

    response: RankResponse
    stages: dict[str, float]


class RankClient:
    """`with RankClient("http://127.0.0.1:8000") as client: client.rank(request)`."""

    def __init__(
        self,
        url: str,
        timeout_seconds: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        api_key: str | None = None,
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else None
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, transport=transport, headers=headers)

    def __enter__(self) -> RankClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def rank(self, request: RankRequest, deadline_ms: int | None = None) -> Ranked:
        """deadline_ms: an answer later than that is of no use, and need not be computed."""
        headers = _JSON if deadline_ms is None else {**_JSON, "x-request-deadline-ms": str(deadline_ms)}
        response = self._send("POST", "/v1/rank", msgspec.json.encode(request), headers)
        return Ranked(_decode(response, RankResponse), parse_server_timing(response.headers.get("server-timing", "")))

    def prefetch(self, member_id: str, surface: Surface) -> None:
        """Say that a rank is about to come; it answers before anything is done."""
        self._send("POST", "/v1/prefetch", msgspec.json.encode(PrefetchRequest(member_id, surface)), _JSON)

    def append_events(
        self, member_id: str, events: Sequence[Event], idempotency_key: str | None = None
    ) -> EventsResponse:
        """With a key of its own, a batch may be sent again after a lost answer and is still stored once."""
        headers = _JSON if idempotency_key is None else {**_JSON, "idempotency-key": idempotency_key}
        body = msgspec.json.encode(EventsRequest(member_id, list(events)))
        return _decode(self._send("POST", "/v1/events", body, headers), EventsResponse)

    def history(self, member_id: str) -> HistoryResponse:
        return _decode(self._send("GET", history_path(member_id)), HistoryResponse)

    def erase(self, member_id: str) -> None:
        self._send("DELETE", history_path(member_id))

    def items(self, surface: Surface) -> list[str]:
        """Some ids of the item table, as the playground offers them. Raises ProblemError where that is off."""
        offer = msgspec.json.decode(self._send("GET", "/dashboard/playground").content)
        ids: list[str] = offer["surfaces"][surface]["items"]
        return ids

    def models(self) -> list[ModelState]:
        """Every version in the repository, its state, and why."""
        return _decode(self._send("POST", "/v2/repository/index"), list[ModelState])

    def load(self, surface: Surface, version: str | None = None) -> ModelState:
        """Let a version serve, by default the newest; blocks until it does, so give the client time."""
        body = msgspec.json.encode(LoadRequest(LoadParameters(version)))
        return _decode(self._send("POST", f"/v2/repository/models/{surface}/load", body, _JSON), ModelState)

    def rollback(self, surface: Surface) -> ModelState:
        """Load the version that served before."""
        return _decode(self._send("POST", f"/v2/repository/models/{surface}/rollback"), ModelState)

    def unload(self, surface: Surface) -> None:
        """Serve a surface no longer."""
        self._send("POST", f"/v2/repository/models/{surface}/unload")

    def ready(self) -> Health:
        """The readiness report, also when the answer is "not now"."""
        return _decode(self._http.get("/readyz"), Health)

    def _send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        response = self._http.request(method, path, content=body, headers=headers)
        if response.is_success:
            return response
        retry_after = response.headers.get("retry-after", "")
        raise ProblemError(_problem(response), int(retry_after) if retry_after.isdigit() else None)


def history_path(member_id: str) -> str:
    """The path of a member's history. Dots are escaped too: a client would resolve `..` before sending it."""
    return f"/v1/members/{quote(member_id, safe='').replace('.', '%2E')}/history"


def parse_server_timing(header: str) -> dict[str, float]:
    """`history;dur=0.210, score;dur=3.1` → seconds by stage."""
    stages: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in header.split(","))):
        name, _, duration = entry.partition(";dur=")
        stages[name] = float(duration or 0.0) / 1e3
    return stages


def _decode(response: httpx.Response, wire_type: type[T]) -> T:
    return msgspec.json.decode(response.content, type=wire_type)


def _problem(response: httpx.Response) -> Problem:
    """The problem document; a stand-in for what a proxy between us and the service has answered."""
    try:
        return _decode(response, Problem)
    except msgspec.DecodeError:
        blank: dict[str, Any] = {"type": "about:blank", "title": response.reason_phrase, "request_id": ""}
        return Problem(**blank, status=response.status_code, code="http_error", detail=response.reason_phrase)
