"""The front door: the command line."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console

from front import settings as configuration
from front.settings import InvalidSetting, Settings

app = typer.Typer(
    name="streamgauge",
    help="Streaming metrics, counted exactly once. Settings are environment variables; see docs/settings.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
LONGEST_STOP_S = 10.0
"""A stop takes a second or two. After so many it is taken for stuck."""

console = Console(stderr=True, highlight=False)


def main() -> None:
    """Runs a command; an error that is the user's to mend is one line, not a traceback."""
    try:
        app()
    except InvalidSetting as error:
        _fail(str(error))


def _fail(message: str, code: int = 2) -> None:
    console.print(f"[bold red]error[/] {message}", markup=True)
    sys.exit(code)


def _settings() -> Settings:
    found = configuration.read(os.environ)
    _logging(found)
    return found


def _logging(found: Settings) -> None:
    level = logging.getLevelNamesMapping()[found.log_level.upper()]
    renderer: Any = structlog.processors.JSONRenderer()
    if found.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if found.log_format == "json" else _as_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _as_is(_: Any, __: str, event: Any) -> Any:
    return event


@app.command()
def run(
    demo: Annotated[
        bool, typer.Option("--demo", help="Add an organization with simulated data, labelled as such.")
    ] = False,
) -> None:
    """Run everything in one process: database, API, sink, scheduler and this host's own metrics."""
    found = _settings()
    try:
        _runner()(_serve(found, demo))
    except OSError as error:
        _fail(f"port {found.port}: {error.strerror or error}")


def _runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def _tune() -> None:
    """Prepares the process for many small batches. What is read at import is set before the import."""
    # To hand pieces of a batch of some thousand rows to other threads costs more than they save.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _settle() -> None:
    """Modules and their objects stay: the collector need not look at them again, nor at every few hundred new events."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _serve(found: Settings, demo: bool) -> None:
    _tune()
    from front.parts import service

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    started = loop.time()
    async with service(found, demo=demo) as running:
        _settle()
        console.print(f"\n[bold]Streamgauge[/] is up after {loop.time() - started:.1f} s at [bold]{running.url}[/]")
        if running.sign_in:
            console.print(f"  sign in (once, within the hour)  {running.sign_in}", soft_wrap=True)
        if running.credentials:
            console.print(f"  API key and password            {running.credentials}", soft_wrap=True)
        console.print("  stop                            Ctrl-C\n")
        await stop.wait()
        console.print("stopping…")
        _end_for_sure(found.data)


def _end_for_sure(data: Path) -> None:
    """Ends the process where something holds it up: what was accepted is committed, and the database ends by itself."""

    def end() -> None:
        print(f"not stopped after {LONGEST_STOP_S:.0f} s: ended; nothing accepted is lost ({data})", file=sys.stderr)
        os._exit(1)

    watchdog = threading.Timer(LONGEST_STOP_S, end)
    watchdog.daemon = True
    watchdog.start()


@app.command()
def verify(
    from_: Annotated[
        str | None, typer.Option("--from", help="First day, as 2026-01-05; the first with data by default.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; the last day with data by default.")] = None,
    rollup: Annotated[list[str] | None, typer.Option("--rollup", help="Only this rollup; may be repeated.")] = None,
) -> None:
    """Recompute rollups from the raw events and print every difference. Exit code 1 where there is one."""
    from front.maintenance import verify_command

    sys.exit(verify_command(_settings(), _moment(from_, "--from"), _moment(to, "--to"), rollup or [], console))


@app.command()
def rebuild(
    from_: Annotated[
        str | None, typer.Option("--from", help="First day, as 2026-01-05; the first with data by default.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; the last day with data by default.")] = None,
    rollup: Annotated[list[str] | None, typer.Option("--rollup", help="Only this rollup; may be repeated.")] = None,
) -> None:
    """Replace rollups by their recomputation from the raw events, while live events keep coming."""
    from front.maintenance import rebuild_command

    sys.exit(rebuild_command(_settings(), _moment(from_, "--from"), _moment(to, "--to"), rollup or [], console))


def _moment(text: str | None, option: str) -> dt.datetime | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        found = dt.datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    raise InvalidSetting(f"{option}: expected a date or a time such as 2026-01-05")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file; .gz is read as it is.")],
    as_: Annotated[str, typer.Option("--as", help="nab, access-log, freqtrade, ndjson or csv.")],
    map_: Annotated[list[str] | None, typer.Option("--map", help="field=column or field=constant; repeatable.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Event type, for csv and plain ndjson.")] = None,
    url: Annotated[str | None, typer.Option(help="The service; by default that of credentials.json.")] = None,
    api_key: Annotated[str | None, typer.Option(help="By default that of credentials.json.")] = None,
    write_rejected: Annotated[
        bool, typer.Option("--write-rejected", help="Write every rejected row to FILE.rejected.ndjson.")
    ] = False,
) -> None:
    """Import a file. Started again, it goes on where it was; no row counts twice."""
    from front.importing import import_command

    sys.exit(import_command(_settings(), file, as_, map_ or [], kind, url, api_key, write_rejected, console))


@app.command()
def version() -> None:
    """Print the version."""
    from api.app import VERSION

    typer.echo(VERSION)


if __name__ == "__main__":
    main()
