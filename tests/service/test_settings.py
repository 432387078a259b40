"""Settings: read once from RANKER_* variables, checked, described."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_every_field_says_what_it_does() -> None:
    """The descriptions are the documentation."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_variables_carry_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """`RANKER_` + the field's name in capitals sets it."""
    monkeypatch.setenv("RANKER_PORT", "9001")
    monkeypatch.setenv("RANKER_MODEL_REPOSITORY", "/models")

    settings = Settings()

    assert (settings.port, settings.model_repository) == (9001, Path("/models"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70000),
        ("redis_url", "http://host"),
        ("default_mode", "fast"),
        ("on_history_failure", "ignore"),
        ("inference_threads", 0),
        ("inference_niceness", 20),
        ("store_timeout_ms", 0),
        ("max_body_bytes", 10),
        ("log_format", "xml"),
        ("tracing_endpoint", "host:4318"),
        ("tracing_endpoint", "http://user:hunter2@host:4318"),
        ("tracing_endpoint", "http://host:4318/?token=hunter2"),
        ("tracing_fraction", 1.5),
        ("shadow_fraction", -0.1),
        ("colour", "red"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: object) -> None:
    """The message names the setting."""
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_settings_do_not_change() -> None:
    """What was checked at the start holds until the end."""
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_the_redis_password_is_not_shown() -> None:
    """Settings may be logged."""
    settings = Settings(redis_url="redis://:hunter2@host:6379")

    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_the_redis_url_may_come_from_a_file(tmp_path: Path) -> None:
    """As secrets are mounted; it is checked like one that is set, and only one of the two may be."""
    file = tmp_path / "url"
    file.write_text("rediss://user:hunter2@host:6379/0\n")

    settings = Settings(redis_url_file=file)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "rediss://user:hunter2@host:6379/0"
    assert "hunter2" not in repr(settings)

    with pytest.raises(ValidationError, match="give one of them"):
        Settings(redis_url_file=file, redis_url="redis://other")
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings(redis_url_file=tmp_path / "none")
    file.write_text("http://user:hunter2@host")
    with pytest.raises(ValidationError, match="redis_url"):
        Settings(redis_url_file=file)


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_half_a_certificate_is_refused(name: str) -> None:
    """A certificate without its key would be plain HTTP where HTTPS was meant."""
    with pytest.raises(ValidationError, match="both or neither"):
        Settings(**{name: Path("x.pem")})  # type: ignore[arg-type]
