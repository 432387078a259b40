"""TLS on both sides with certificates made here: clients → the service, and the service → Redis."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from service.keys import create_key
from service.settings import Settings
from tests.live import process, serving
from tests.service.test_routes import request

EVENTS = {"member_id": "m", "events": [{"item_id": "item-1", "action": "view", "timestamp": 1}]}


@dataclass(frozen=True)
class Authority:
    """A private authority and what it signed for `localhost`. context: of a client that trusts it alone."""

    ca: trustme.CA
    ca_file: Path
    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for the module."""
    return make_authority(tmp_path_factory.mktemp("tls"))


def make_authority(folder: Path, host: str = "localhost") -> Authority:
    ca = trustme.CA()
    issued = ca.issue_cert(host)
    made = Authority(ca, folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    ca.cert_pem.write_to_path(str(made.ca_file))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(made.certificate), append=True)
    issued.private_key_pem.write_to_path(str(made.key))
    return made


@contextlib.contextmanager
def tls_in_front(socket_path: str, authority: Authority) -> Iterator[int]:
    """A proxy that speaks TLS on the port it gives and plain Redis behind it; the embedded server cannot."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    ready, loop, port = threading.Event(), asyncio.new_event_loop(), 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_unix_connection(socket_path)
        await asyncio.gather(pump(reader, before), pump(behind, writer))

    async def run() -> None:
        nonlocal port
        server = await asyncio.start_server(joined, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    task = loop.create_task(run())
    thread = threading.Thread(target=lambda: loop.run_until_complete(task))
    thread.start()
    assert ready.wait(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        for left in asyncio.all_tasks(loop):
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(left)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_the_service_speaks_https(repository: Path, authority: Authority, tmp_path: Path) -> None:
    """With its own certificate: a client that trusts the authority ranks, the command line too; plain HTTP does not."""
    key = create_key(tmp_path / "keys.jsonl", "web", ["rank"])
    with process(
        *("serve", "--port", 0, "--model-repository", repository),
        RANKER_TLS_CERTIFICATE=str(authority.certificate),
        RANKER_TLS_KEY=str(authority.key),
        RANKER_API_KEYS_FILE=str(tmp_path / "keys.jsonl"),
    ) as service:
        url = service.url()
        assert url.startswith("https://")
        port = urlsplit(url).port
        local = f"https://localhost:{port}"
        with httpx.Client(base_url=local, verify=authority.context, headers={"x-api-key": key}) as client:
            assert client.post("/v1/rank", json=request()).status_code == 200
            assert client.post("/v1/rank", content=b"x" * 100).status_code == 415
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{local}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/healthz")

        words = ("rank", "--member", "m", "--surface", "feed", "--candidates", "item-1", "--url", local)
        with process(*words, SSL_CERT_FILE=str(authority.ca_file), RANKER_API_KEY=key) as rank:
            assert rank.popen.wait(60) == 0, "".join(rank.log)
        assert "Traceback" not in "".join(service.log)


def test_old_versions_of_tls_are_not_spoken(repository: Path, authority: Authority) -> None:
    """1.2 is the least."""
    with process(
        *("serve", "--port", 0, "--model-repository", repository),
        RANKER_TLS_CERTIFICATE=str(authority.certificate),
        RANKER_TLS_KEY=str(authority.key),
    ) as service:
        port = urlsplit(service.url()).port
        for version, spoken in (("tls1_1", False), ("tls1_2", True)):
            assert _handshake(port or 0, version, authority) is spoken


def _handshake(port: int, version: str, authority: Authority) -> bool:
    import subprocess

    command = ["openssl", "s_client", "-connect", f"localhost:{port}", f"-{version}", "-CAfile", authority.ca_file]
    said = subprocess.run(command, input=b"", capture_output=True, timeout=30)
    return b"Verify return code: 0" in said.stdout and b"Cipher is (NONE)" not in said.stdout


@pytest.mark.parametrize("broken", ["missing", "not a certificate", "another key"])
def test_files_that_cannot_be_used_are_told_in_one_line(
    repository: Path, authority: Authority, tmp_path: Path, broken: str
) -> None:
    """The service ends with 1, names the file, and shows no stack and nothing of the key."""
    certificate, key = tmp_path / "cert.pem", authority.key
    if broken == "not a certificate":
        certificate.write_text("hello")
    if broken == "another key":
        certificate.write_bytes(authority.certificate.read_bytes())
        key = make_authority(tmp_path / "x" if (tmp_path / "x").mkdir() is None else tmp_path).key
    with process(
        *("serve", "--port", 0, "--model-repository", repository),
        RANKER_TLS_CERTIFICATE=str(certificate),
        RANKER_TLS_KEY=str(key),
    ) as service:
        assert service.popen.wait(60) == 1

    told = "".join(service.log)
    assert str(certificate) in told
    assert "Traceback" not in told


@pytest.fixture(scope="module")
def tls_port(redis_url: str, authority: Authority) -> Iterator[int]:
    """A Redis that is reached by TLS."""
    with tls_in_front(redis_url.removeprefix("unix://"), authority) as port:
        yield port


def redis_settings(repository: Path, url: str) -> Settings:
    return Settings(
        model_repository=repository,
        redis_url=url,
        namespace="tls",
        inference_threads=2,
        store_timeout_ms=5000,
    )


def test_histories_are_kept_by_tls(repository: Path, authority: Authority, tls_port: int) -> None:
    """rediss:// with the authority's file in the URL: an event is stored and read."""
    url = f"rediss://localhost:{tls_port}/0?ssl_ca_certs={authority.ca_file}"
    with serving(redis_settings(repository, url)) as live:
        assert live.http.post("/v1/events", json=EVENTS).status_code == 200
        answer = live.http.post("/v1/rank", json={**request(), "member_id": "m"}).json()

    assert answer["history"] == {"length": 1, "source": "store"}


@pytest.mark.parametrize("wrong", ["authority", "name", "plain"])
def test_a_redis_that_cannot_prove_itself_gets_nothing(
    repository: Path, authority: Authority, tls_port: int, tmp_path: Path, wrong: str
) -> None:
    """Signed by another, valid for another name, or spoken to without TLS: the store counts as down."""
    url = {
        "authority": f"rediss://localhost:{tls_port}/0?ssl_ca_certs={make_authority(tmp_path).ca_file}",
        "name": f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={authority.ca_file}",
        "plain": f"redis://localhost:{tls_port}/0",
    }[wrong]
    with serving(redis_settings(repository, url)) as live:
        answer = live.http.post("/v1/events", json=EVENTS)
        ranked = live.http.post("/v1/rank", json=request())

    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert ranked.json()["history"]["source"] == "degraded"
