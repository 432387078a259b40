"""Decoders: hypothesis feeds every reader of bytes in this process. Each gives what was meant or its own typed refusal.

What is read: history logs, request bodies, bundles' manifests, item tables and golden cases, request and histories
files, files of API keys.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from model.bundle import (
    GOLDEN_FILE,
    ITEMS_FILE,
    MANIFEST_FILE,
    BundleError,
    Manifest,
    read_golden,
    read_items,
    read_manifest,
)
from service.bodies import BodyDecoder
from service.codec import HEADER, decode_log, encode_records, pack_header
from service.errors import HistoryDamaged, InvalidRequest, Unauthorized
from service.keys import ApiKeys, KeysFileError, create_key
from service.loading import LoadingFailed, load_histories
from service.requests_file import BadRequest, read_request
from service.schemas import EventsRequest, RankRequest
from tests.fuzz.part import Part

DIM = 3
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "member_id": st.text(max_size=300) | _JSON,
        "surface": st.sampled_from(["feed", "ads"]) | _JSON,
        "candidates": st.lists(st.fixed_dictionaries({"id": st.text(max_size=5)}) | _JSON, max_size=4) | _JSON,
        "events": st.lists(
            st.fixed_dictionaries({"item_id": st.text(max_size=5), "action": st.text(max_size=70), "timestamp": _JSON})
        )
        | _JSON,
        "weights": st.dictionaries(st.text(max_size=5), st.floats() | _JSON, max_size=3),
        "limit": _JSON,
        "request_time": _JSON,
    },
)
BODIES = (
    st.binary(max_size=200)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | _FIELDS.map(lambda fields: json.dumps(fields).encode())
)
LOGS = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(-(2**63), 2**63 - 1)), max_size=6
)
_decoders = {wire_type: BodyDecoder(wire_type) for wire_type in (RankRequest, EventsRequest)}


def fuzz(bundle: Path, cases: int) -> Part:
    """`bundle`: a valid one, whose files are damaged in a copy."""
    part = Part("decoders")
    with tempfile.TemporaryDirectory(prefix="rankonce-fuzz-") as folder:
        checks: list[tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]]] = [
            (check_log, {"rows": LOGS, "trimmed": st.integers(0, 2**53 - 1), "cut": st.integers(0, 90), "at": _AT}),
            (check_any_log, {"log": st.binary(max_size=120)}),
            (check_body, {"body": BODIES}),
            *((bundle_check(Path(folder), bundle, file), _DAMAGE) for file in (MANIFEST_FILE, ITEMS_FILE, GOLDEN_FILE)),
            (file_check(Path(folder)), {"lines": st.lists(BODIES, max_size=4)}),
            (keys_check(Path(folder)), _DAMAGE),
        ]
        for check, given_by in checks:
            _run(part, check, given_by, -(-cases // len(checks)))
    return part


_AT = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))
"""Where a byte is changed, as a share of the whole, and to what."""
_DAMAGE: dict[str, st.SearchStrategy[Any]] = {"at": _AT, "more": st.binary(max_size=8), "cut": st.integers(0, 40)}


def check_log(rows: list[tuple[int, int, int]], trimmed: int, cut: int, at: tuple[float, int]) -> None:
    """A log is read as it was written; cut short or with one byte of its header changed it is damaged, or equal."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    embeddings = np.arange(len(rows) * DIM, dtype=np.float16).reshape(len(rows), DIM)
    log = pack_header(DIM, 7, trimmed) + encode_records(*columns, embeddings)
    history = decode_log(log, DIM)
    assert (history.total, history.start, history.incarnation) == (trimmed + len(rows), trimmed, 7)
    read = zip(history.item_rows.tolist(), history.actions.tolist(), history.timestamps.tolist(), strict=True)
    assert list(read) == rows
    assert np.array_equal(history.embeddings, embeddings)

    short = log[: max(0, len(log) - cut)]
    try:
        damaged = decode_log(short, DIM)
    except HistoryDamaged:
        pass
    else:
        assert (len(log) - len(short)) % (14 + 2 * DIM) == 0
        assert damaged.records.tobytes() == log[HEADER.size : len(short)]
    place = int(at[0] * 8)  # magic, schema and record size
    changed = log[:place] + bytes([at[1]]) + log[place + 1 :]
    try:
        decode_log(changed, DIM)
    except HistoryDamaged:
        return
    assert changed == log


def check_any_log(log: bytes) -> None:
    """Foreign bytes are damaged, unless they begin as a log does and are whole."""
    for wanted in (log, pack_header(DIM, 7, 0)[:8] + log):
        try:
            history = decode_log(wanted, DIM)
        except HistoryDamaged:
            continue
        assert wanted.startswith(b"RKH1")
        assert history.records.tobytes() == wanted[HEADER.size :]


def check_body(body: bytes) -> None:
    """Decoded, or refused as an invalid request whose field and detail can be put into an answer."""
    for decoder in _decoders.values():
        refused: InvalidRequest | None = None
        try:
            decoded: Any = decoder.decode(body)
        except InvalidRequest as error:
            refused = error
        if refused is None:
            assert decoder.decode(msgspec.json.encode(decoded)) == decoded
        else:
            assert len((refused.field + refused.detail).encode()) <= 2000


def bundle_check(folder: Path, bundle: Path, name: str) -> Callable[..., None]:
    whole = (bundle / name).read_bytes()
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())

    def check(at: tuple[float, int], more: bytes, cut: int) -> None:
        """A damaged file is refused as the bundle's fault; one that still reads is a valid file of its kind."""
        place = int(at[0] * min(len(whole), 4096))  # the beginning is where structure is
        (folder / name).write_bytes(whole[:place] + bytes([at[1]]) + more + whole[place + 1 + cut :])
        try:
            manifest = read_manifest(folder)
            assert manifest == Manifest.model_validate_json(manifest.model_dump_json())
            items = read_items(folder, manifest)
            assert len(items.ids) == len(items.embeddings)
            read_golden(folder)
        except BundleError:
            return
        finally:
            (folder / name).write_bytes(whole)

    return check


def file_check(folder: Path) -> Callable[..., None]:
    def check(lines: list[bytes]) -> None:
        path = folder / "lines.jsonl"
        path.write_bytes(b"\n".join(lines))
        for index in range(len(lines) + 1):
            try:
                assert read_request(path, index).candidates
            except BadRequest as error:
                str(error).encode()
        try:
            assert asyncio.run(load_histories(path, ())).members <= len(lines)
        except LoadingFailed as error:
            str(error).encode()

    return check


def keys_check(folder: Path) -> Callable[..., None]:
    path = folder / "keys.jsonl"
    names = ("first", "second")
    secrets = [create_key(path, name, ["rank"], rate_per_second=2.0) for name in names]
    whole = path.read_bytes()

    def check(at: tuple[float, int], more: bytes, cut: int) -> None:
        """A damaged file of keys is refused, or lets in nobody but who was in it, under whatever name."""
        place = int(at[0] * len(whole))
        path.write_bytes(whole[:place] + bytes([at[1]]) + more + whole[place + 1 + cut :])
        try:
            keys = ApiKeys(path)
        except KeysFileError:
            return
        for stranger in (None, "", "rk_", secrets[0][:-1], secrets[0] + "x"):
            try:
                raise AssertionError(f"{stranger!r} is let in as {keys.check(stranger, 'rank')}")
            except Unauthorized:
                continue

    return check


def _run(part: Part, check: Callable[..., None], given_by: dict[str, Any], cases: int) -> None:
    def counted(**values: Any) -> None:
        part.cases += 1
        check(**values)

    try:
        seed(1)(
            settings(
                max_examples=cases,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )(given(**given_by)(counted))
        )()
    except Exception as error:
        notes = " ".join(getattr(error, "__notes__", ()))
        part.fail(f"{check.__qualname__}: {type(error).__name__}: {error} {notes}"[:600])
