"""The command line: `python -m service serve | load-histories | migrate-histories | rank | …`, see --help.

It does not know how any of them works. Every setting is a `RANKER_*` variable (settings.py); an option of the same name
wins over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import msgspec
import typer
from pydantic import ValidationError
from rich.console import Console

from service.client import ProblemError, RankClient
from service.comparison import AMORTIZED, KEPT, NON_AMORTIZED, Variant, compare
from service.logs import log_to_stderr
from service.requests_file import BadRequest, read_request, request_of_ids
from service.settings import Settings

app = typer.Typer(
    help="rankonce: encode a member's history once, rank every candidate against it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class ModeChoice(StrEnum):
    amortized = "amortized"
    non_amortized = "non_amortized"
    both = "both"


class SurfaceChoice(StrEnum):
    feed = "feed"
    ads = "ads"


SAMPLED_CANDIDATES = 128
_VARIANTS: dict[ModeChoice, tuple[Variant, ...]] = {
    ModeChoice.amortized: (AMORTIZED, KEPT),
    ModeChoice.non_amortized: (NON_AMORTIZED,),
    ModeChoice.both: (AMORTIZED, KEPT, NON_AMORTIZED),
}

Host = Annotated[str | None, typer.Option(help="address to listen on")]
Port = Annotated[int | None, typer.Option(help="port to listen on; 0 picks a free one and prints it")]
Repository = Annotated[Path | None, typer.Option("--model-repository", help="folder of <name>/<version>/ bundles")]
Url = Annotated[str, typer.Option(help="the running service")]
LOCAL = "http://127.0.0.1:8000"
LOAD_SECONDS = 600.0
AdminKey = Annotated[
    str | None, typer.Option("--api-key", envvar="RANKER_API_KEY", help="with the scope admin, where one is asked for")
]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="where histories are kept; none: embedded")]


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    model_repository: Repository = None,
    redis_url: RedisUrl = None,
    histories: Annotated[Path | None, typer.Option(help="histories file to load before the service is ready")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; a second signal exits at once."""
    settings = _settings(host=host, port=port, model_repository=model_repository, redis_url=redis_url)
    log_to_stderr(settings.log_level, settings.log_format)
    # Only this command needs torch and the server: the others start in a fraction of its time.
    from service.app import create_app
    from service.health import Readiness
    from service.server import START_FAILED, Server, TlsFilesError

    readiness = Readiness()
    try:
        Server(create_app(settings, histories, readiness), settings, readiness.drain).run()
    except TlsFilesError as error:
        _fail(f"cannot serve HTTPS: {error}")
    except SystemExit as exit_:  # uvicorn has said why
        raise typer.Exit(1 if exit_.code == START_FAILED else 0) from None


@app.command("load-histories")
def load_histories(
    file: Annotated[Path, typer.Argument(help="JSON Lines or Parquet, one member a line")],
    model_repository: Repository = None,
    redis_url: RedisUrl = None,
) -> None:
    """Store every member's history of FILE in Redis, replacing what is there."""
    settings = _settings(model_repository=model_repository, redis_url=redis_url)
    if settings.redis_url is None:
        _fail(
            "there is no Redis to load into. Either set RANKER_REDIS_URL (or --redis-url) here and for `serve`, or "
            f"let the service's embedded Redis load the file: python -m service serve --histories {file}"
        )
    from service.loading import LoadingFailed
    from service.offline import StartFailed, load_offline

    try:
        report = asyncio.run(load_offline(file, settings, settings.redis_url.get_secret_value()))
    except (LoadingFailed, StartFailed) as error:
        _fail(str(error))
    unknown = f"; {report.unknown_items} of unknown items" if report.unknown_items else ""
    typer.echo(f"loaded {report.members} members with {report.actions} actions{unknown}")


@app.command("migrate-histories")
def migrate_histories(
    surface: Annotated[SurfaceChoice, typer.Option(help="whose bundles")],
    from_version: Annotated[int, typer.Option(min=0, help="a bundle of the embedding version that has the histories")],
    to_version: Annotated[int, typer.Option(min=0, help="a bundle of the one that shall have them")],
    model_repository: Repository = None,
    redis_url: RedisUrl = None,
) -> None:
    """Take every history over into another embedding version, while services run; safe to stop and to run again."""
    settings = _settings(model_repository=model_repository, redis_url=redis_url)
    if settings.redis_url is None:
        _fail("there is no Redis whose histories could be migrated: set RANKER_REDIS_URL (or --redis-url)")
    from service.migration import MigrationReport
    from service.offline import StartFailed, migrate_offline

    def show(report: MigrationReport) -> None:
        if report.members % 1000 == 0:
            typer.echo(f"{report.members} members, {report.copied} copied", err=True)

    versions, url = (str(from_version), str(to_version)), settings.redis_url.get_secret_value()
    try:
        report = asyncio.run(migrate_offline(surface.value, *versions, settings, url, show))
    except StartFailed as error:
        _fail(str(error))
    counts = {"actions of unknown items": report.unknown_items, "ahead": report.ahead, "damaged": report.damaged}
    notes = "".join(f"; {count} {what}" for what, count in counts.items() if count)
    typer.echo(f"{report.members} members, {report.copied} copied, the others were complete{notes}")


@app.command()
def rank(
    member: Annotated[
        str | None, typer.Option(help="the member to rank for; with --request: instead of its own")
    ] = None,
    surface: Annotated[SurfaceChoice | None, typer.Option(help="of a ranking that is not from a file")] = None,
    candidates: Annotated[
        str | None, typer.Option(help="ids separated by commas; ads: id=bid; default: some of the service's own")
    ] = None,
    request: Annotated[Path | None, typer.Option(help="JSON Lines file of rank requests")] = None,
    index: Annotated[int, typer.Option(min=0, help="which line of --request, from 0")] = 0,
    url: Url = LOCAL,
    mode: Annotated[ModeChoice, typer.Option(help="inference mode")] = ModeChoice.both,
    limit: Annotated[int, typer.Option(min=1, help="candidates to show; all are ranked")] = 10,
    repeat: Annotated[int, typer.Option(min=1, help="times each mode is asked; medians are shown")] = 5,
    api_key: Annotated[
        str | None, typer.Option(envvar="RANKER_API_KEY", help="with the scope rank, where one is asked for")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON instead of tables")] = False,
) -> None:
    """Rank once in each mode against a running service: scores and times side by side."""
    if request is not None and candidates is not None:
        _fail("give the candidates once: --candidates id,id,… or --request FILE.jsonl")
    if request is None and (member is None or surface is None):
        _fail("say for whom: --member and --surface, or --request FILE.jsonl")
    try:
        with RankClient(url, api_key=api_key) as client:
            if request is not None:
                asked = read_request(request, index)
            else:
                assert member is not None
                assert surface is not None
                ids = candidates or ",".join(sorted(client.items(surface.value))[:SAMPLED_CANDIDATES])
                asked = request_of_ids(member, surface.value, ids)
            if member is not None:
                asked.member_id = member
            comparison = compare(client, asked, _VARIANTS[mode], repeat)
    except (BadRequest, ProblemError) as error:
        _fail(str(error))
    except httpx.HTTPError as error:
        _fail(f"cannot reach {url}: {error}")
    if as_json:
        typer.echo(msgspec.json.encode(comparison.facts(limit)).decode())
        return
    from service.report import show

    show(comparison, Console(), limit)


@app.command()
def models(url: Url = LOCAL, api_key: AdminKey = None) -> None:
    """List every version in the repository of a running service: which serve, and why the others do not."""
    with _asking(url, api_key) as client:
        states = client.models()
    from service.report import models_table

    Console().print(models_table(states))


@app.command()
def load(
    surface: Annotated[SurfaceChoice, typer.Option(help="whose model")],
    version: Annotated[int | None, typer.Option(min=0, help="default: the newest in the repository")] = None,
    url: Url = LOCAL,
    api_key: AdminKey = None,
) -> None:
    """Let a version serve in a running service; the one before serves until it is ready, and on if it is refused."""
    with _asking(url, api_key) as client:
        state = client.load(surface.value, None if version is None else str(version))
    typer.echo(f"{state.name} version {state.version} serves")


@app.command()
def rollback(
    surface: Annotated[SurfaceChoice, typer.Option(help="whose model")], url: Url = LOCAL, api_key: AdminKey = None
) -> None:
    """Let the version serve again that served before."""
    with _asking(url, api_key) as client:
        state = client.rollback(surface.value)
    typer.echo(f"{state.name} version {state.version} serves")


@contextmanager
def _asking(url: str, api_key: str | None) -> Iterator[RankClient]:
    """A client for a command that may take long; what goes wrong ends the command in words."""
    try:
        with RankClient(url, LOAD_SECONDS, api_key=api_key) as client:
            yield client
    except ProblemError as error:
        _fail(str(error))
    except httpx.HTTPError as error:
        _fail(f"cannot reach {url}: {error}")


@app.command("create-key")
def create_key(
    name: Annotated[str, typer.Option(help="who will use it: letters, digits, . _ -")],
    scopes: Annotated[str, typer.Option(help="some of rank,events,admin")],
    file: Annotated[Path | None, typer.Option(help="default: RANKER_API_KEYS_FILE")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="most requests a second; none: no limit")] = None,
) -> None:
    """Add an API key to the file of hashes and print it, once: it is stored nowhere."""
    from service.keys import KeysFileError
    from service.keys import create_key as create

    path = file or _settings().api_keys_file
    if path is None:
        _fail("say where: --file, or RANKER_API_KEYS_FILE here and for `serve`")
    try:
        typer.echo(create(path, name, scopes.split(","), rate))
    except KeysFileError as error:
        _fail(str(error))


def _settings(**options: Any) -> Settings:
    """The environment's settings with the options given; a wrong one ends the command, without its value."""
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        _fail("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
