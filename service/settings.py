"""Settings: every knob of the service, read once from `RANKER_*` variables. Nothing else reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Mode = Literal["amortized", "non_amortized"]


class Settings(BaseSettings):
    """Frozen. Each field's description is its documentation; its variable is `RANKER_` + the name in capitals.

    What is wrong with a value is told without the value, which may be a secret.
    """

    model_config = SettingsConfigDict(env_prefix="RANKER_", frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    model_repository: Path = Field(Path("var/models"), description="folder of <name>/<version>/ bundles")
    redis_url: SecretStr | None = Field(None, description="redis:// or rediss:// or unix://; unset: an embedded server")
    redis_url_file: Path | None = Field(
        None, description="file that holds the Redis URL, such as a mounted secret; instead of redis_url"
    )
    namespace: str = Field("rankonce", pattern=r"^[a-z0-9_-]+$", description="prefix of every Redis key")
    history_ttl_seconds: int | None = Field(None, ge=1, description="a log unused for so long is forgotten")
    store_timeout_ms: float = Field(100.0, gt=0, description="longest that one history lookup may take")
    wait_replicas: int = Field(
        0, ge=0, description="Redis replicas that must have an event before it is acknowledged; too few in time: 503"
    )
    on_history_failure: Literal["degraded", "unavailable"] = Field(
        "degraded", description="store down or log damaged: rank as a cold start, flagged, or answer 503"
    )
    default_mode: Mode = Field("amortized", description="inference mode of a request that names none")
    inference_threads: int = Field(
        default_factory=lambda: max(1, len(os.sched_getaffinity(0))), ge=1, description="threads that run the ranker"
    )
    inference_niceness: int = Field(
        5, ge=0, le=19, description="added to the niceness of those threads (Linux), so that the event loop comes first"
    )
    inference_hang_seconds: float = Field(
        30.0, gt=0, description="longest that one pass of the ranker may take; then the process is not ready, and exits"
    )
    intra_op_threads: int | None = Field(
        None, ge=1, description="threads that one request is spread over while they are idle; unset: all of them"
    )
    microbatch_size: int = Field(1024, ge=1, description="most candidates scored in one pass over an encoded history")
    non_amortized_chunk: int | None = Field(
        None, ge=1, description="candidates per pass in the non-amortized mode; unset: the fastest, measured at load"
    )
    max_candidates: int = Field(16384, ge=1, description="most candidates a request may carry, whatever the manifest")
    amortized_permits: int = Field(64, ge=1, description="amortized requests in flight; more are shed")
    non_amortized_permits: int = Field(4, ge=1, description="non-amortized requests in flight; more are shed")
    amortized_deadline_ms: float = Field(1000.0, gt=0, description="longest an amortized request may take")
    non_amortized_deadline_ms: float = Field(30000.0, gt=0, description="longest a non-amortized request may take")
    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="longest request body")
    tls_certificate: Path | None = Field(None, description="PEM file, chain included: serve HTTPS; needs tls_key")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key, not encrypted")
    max_connections: int = Field(4096, ge=1, description="clients connected at a time; more are sent away with 503")
    transfer_seconds: float = Field(
        10.0, gt=0, description="longest that a client may take to send a request, or to take its answer"
    )
    encoded_cache_bytes: int = Field(256 * 1024 * 1024, ge=0, description="encoded histories kept; 0 keeps none")
    prefetch_pending: int = Field(64, ge=0, description="prefetches under way at once; more are dropped, 0 drops all")
    api_keys_file: Path | None = Field(
        None, description="file of hashed API keys, read again when it changes; unset: no key is asked for"
    )
    playground: bool | None = Field(
        None, description="the live page lets one rank and shows members; unset: while listening on a loopback address"
    )
    drain_seconds: float = Field(0.0, ge=0, description="SIGTERM: not ready, yet serving, so long; then stop listening")
    shutdown_seconds: int = Field(35, ge=1, description="after that, longest that requests in flight may take to end")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["text", "json"] = Field("text", description="lines on stderr for people, or one object a line")
    shadow_fraction: float = Field(
        0.0, ge=0, le=1, description="share of requests run again in both modes, after the answer, on spare threads"
    )
    tracing_endpoint: str | None = Field(
        None, description="OTLP/HTTP collector, http://host:4318/v1/traces; unset: off. Needs the extra `tracing`"
    )
    tracing_fraction: float = Field(
        1.0, ge=0, le=1, description="share of requests traced where the caller has not decided"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A URL from a file is checked as if it had been given itself."""
        file = given.get("redis_url_file")
        if file is None:
            return given
        if given.get("redis_url") is not None:
            raise ValueError("redis_url and redis_url_file: give one of them")
        try:
            return {**given, "redis_url": Path(file).read_text().strip()}
        except (OSError, UnicodeDecodeError):
            raise ValueError("redis_url_file: cannot be read") from None

    @model_validator(mode="after")
    def _whole_tls(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key: give both or neither")
        return self

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return url

    @field_validator("tracing_endpoint")
    @classmethod
    def _endpoint_without_secrets(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must start with http:// or https:// and name a host")
        if "@" in parts.netloc or parts.query:
            raise ValueError("is logged when it fails: give credentials in OTEL_EXPORTER_OTLP_HEADERS")
        return url
