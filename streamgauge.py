"""The front door: the command line."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console

from front import identity_cli, logs
from front import settings as configuration
from front.settings import InvalidSetting, Settings
from front.shared_figures import shared_figures

app = typer.Typer(
    name="streamgauge",
    help="Streaming metrics, counted exactly once. Settings are environment variables; see docs/settings.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(stderr=True, highlight=False)


def main() -> None:
    """Runs a command; an error that is the user's to mend is one line, not a traceback."""
    # Read at import. To hand pieces of a batch of some thousand rows to other threads costs more than they save.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except InvalidSetting as error:
        _fail(str(error))


def _fail(message: str, code: int = 2) -> None:
    console.print(f"[bold red]error[/] {message}", markup=True)
    sys.exit(code)


def _settings(*, workers: int | None = None) -> Settings:
    found = configuration.read(os.environ)
    if workers is not None:
        found = replace(found, workers=workers)
    logs.configure(found)
    return found


_WORKERS = typer.Option(
    min=1, max=64, help="API processes behind the one port; by default STREAMGAUGE_WORKERS, or one.", show_default=False
)


@app.command()
def run(
    demo: Annotated[
        bool, typer.Option("--demo", help="Add an organization with simulated data, labelled as such.")
    ] = False,
    workers: Annotated[int | None, _WORKERS] = None,
) -> None:
    """Run everything: API, sink (with Kafka: a worker), scheduler, this host's own metrics; a database if none is set."""
    _serve(_settings(workers=workers), demo=demo)


@app.command()
def api(workers: Annotated[int | None, _WORKERS] = None) -> None:
    """Run an API process, one of as many as are wanted. Without Kafka it writes to the database itself."""
    _serve(_settings(workers=workers), whole=False)


def _serve(settings: Settings, *, demo: bool = False, whole: bool = True) -> None:
    with shared_figures(settings.workers):
        from front.serving import run_command

        sys.exit(run_command(settings, console, demo=demo, whole=whole))


@app.command()
def worker() -> None:
    """Run a worker, which counts what is in Kafka. Exit code 3 where too many events could not be counted."""
    from front.serving import worker_command

    sys.exit(worker_command(_settings(), console))


@app.command()
def scheduler() -> None:
    """Run the jobs: housekeeping, and reports that are asked for or due by schedule."""
    from front.serving import scheduler_command

    sys.exit(scheduler_command(_settings(), console))


@app.command()
def health() -> None:
    """Ask this process's kind whether it is well: a worker where STREAMGAUGE_METRICS_PORT is set, else the API. Exit code 1 if not."""
    from front.health import health_command

    sys.exit(health_command(_settings(), console))


@app.command()
def partitions(
    kind: Annotated[str, typer.Argument(help="system, enterprise, trade or view.")],
    count: Annotated[int, typer.Argument(help="The new number: a multiple of what there is.")],
) -> None:
    """Raise the number of a topic's partitions. Events of that kind get 503 until the log is drained and it is done."""
    from front.log_commands import partitions_command

    sys.exit(partitions_command(_settings(), kind, count, console))


dead_letters = typer.Typer(help="Records that could not be counted.", no_args_is_help=True)
app.add_typer(dead_letters, name="dead-letters")


@dead_letters.command("list")
def list_dead_letters(
    limit: Annotated[int, typer.Option(help="At most so many, the newest first.")] = 50,
    reason: Annotated[str | None, typer.Option(help="Only those whose reason contains this.")] = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Those too that were sent again.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the record's value.")] = False,
) -> None:
    """List them with their reasons."""
    from front.log_commands import list_command

    sys.exit(list_command(_settings(), limit, reason, replayed, json_, console))


@dead_letters.command("replay")
def replay_dead_letters(
    reason: Annotated[str | None, typer.Option(help="Only those whose reason contains this.")] = None,
) -> None:
    """Send them to their topics again, each once."""
    from front.log_commands import replay_command

    sys.exit(replay_command(_settings(), reason, console))


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


archive = typer.Typer(help="Raw events in Parquet files (docs/archive.md).", no_args_is_help=True)
app.add_typer(archive, name="archive")


@archive.command("list")
def list_archive(
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the days in the archive: rows, files, bytes, and whether the raw table has them still."""
    from front.archive_commands import archive_list_command

    sys.exit(archive_list_command(_settings(), json_, console))


@archive.command("verify")
def verify_archive() -> None:
    """Read every file and compare it with what was written. Exit code 1 where one is damaged or missing."""
    from front.archive_commands import archive_verify_command

    sys.exit(archive_verify_command(_settings(), console))


@archive.command("run")
def run_archive(
    older_than: Annotated[
        int | None,
        typer.Option(min=0, help="Days; by default STREAMGAUGE_RETENTION_DAYS.", show_default=False),
    ] = None,
) -> None:
    """Archive raw events now. Nothing is dropped: the scheduler does that, where STREAMGAUGE_RETENTION_DAYS is set."""
    from front.archive_commands import archive_run_command

    sys.exit(archive_run_command(_settings(), older_than, console))


def _moment(text: str | None, option: str) -> dt.datetime | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        found = dt.datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    raise InvalidSetting(f"{option}: expected a date or a time such as 2026-01-05")


app.add_typer(identity_cli.user_commands(_settings, console), name="user")
app.add_typer(identity_cli.key_commands(_settings, console), name="key")


_TO = typer.Option(help="http: to the service; kafka: straight to the topics (DATABASE_URL is needed too).")
_ORGANIZATION = typer.Option(help="Whose they are, with --to kafka; by default that of credentials.json.")


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
    to: Annotated[str, _TO] = "http",
    organization: Annotated[str | None, _ORGANIZATION] = None,
) -> None:
    """Import a file. Started again, it goes on where it was; no row counts twice."""
    from front.importing import import_command
    from front.targets import Target

    target = Target(to, url, api_key, organization)
    sys.exit(import_command(_settings(), file, as_, map_ or [], kind, target, write_rejected, console))


@app.command()
def report(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE",
            help="performance, usage, billing, team, pnl, leaderboard or operations.",
            show_default=False,
        ),
    ],
    from_: Annotated[
        str | None, typer.Option("--from", help="First day, as 2026-01-01; 29 days before the last.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Last day, which is in it; today by default.")] = None,
    format_: Annotated[str, typer.Option("--format", help="json, pdf or excel.")] = "pdf",
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; by default its own name, here.")] = None,
    tz: Annotated[str | None, typer.Option("--tz", help="Whose days; by default the organization's.")] = None,
    url: Annotated[str | None, typer.Option(help="The service; by default that of credentials.json.")] = None,
    api_key: Annotated[str | None, typer.Option(help="By default that of credentials.json.")] = None,
) -> None:
    """Have a report made, and download it. Ctrl-C cancels it. Exit code 1 where it could not be made."""
    from front.report_command import AskedReport, report_command
    from front.targets import Target

    asked = AskedReport(kind, format_, from_, to, tz)
    sys.exit(report_command(_settings(), Target("http", url, api_key, None), asked, out, console))


@app.command()
def export(
    rollup: Annotated[str, typer.Argument(help="As GET /api/v1/rollups names them.", show_default=False)],
    from_: Annotated[str | None, typer.Option("--from", help="Start, inclusive; 24 hours before the end.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, exclusive; now by default.")] = None,
    format_: Annotated[str, typer.Option("--format", help="csv, parquet or xlsx.")] = "csv",
    measures: Annotated[str | None, typer.Option(help="With commas; by default all but percentiles.")] = None,
    group_by: Annotated[str | None, typer.Option(help="Keys, with commas.")] = None,
    filter_: Annotated[list[str] | None, typer.Option("--filter", help="key:value[,value]; repeatable.")] = None,
    grain: Annotated[str | None, typer.Option(help="1m, 5m, 15m, 1h, 1d, 1w or 1mo.")] = None,
    tz: Annotated[str | None, typer.Option("--tz", help="Whose days; by default the organization's.")] = None,
    fill: Annotated[str | None, typer.Option(help="null or zero: empty buckets too.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; by default its own name, here.")] = None,
    url: Annotated[str | None, typer.Option(help="The service; by default that of credentials.json.")] = None,
    api_key: Annotated[str | None, typer.Option(help="By default that of credentials.json.")] = None,
) -> None:
    """Download a rollup's rows, and check them against the export's manifest. Exit code 1, and no file, where they did not come whole."""
    from front.export_command import AskedExport, export_command
    from front.targets import Target

    parameters = {
        "from": from_, "to": to, "measures": measures, "group_by": group_by, "grain": grain, "tz": tz, "fill": fill
    }  # fmt: skip
    asked = AskedExport(rollup, format_, parameters, filter_ or [])
    sys.exit(export_command(_settings(), Target("http", url, api_key, None), asked, out, console))


@app.command()
def collect(
    url: Annotated[str | None, typer.Option(help="The service; by default that of credentials.json.")] = None,
    api_key: Annotated[str | None, typer.Option(help="By default that of credentials.json.")] = None,
    spool: Annotated[
        Path | None, typer.Option(help="A file for what waits while the service is away, kept when this ends.")
    ] = None,
    to: Annotated[str, _TO] = "http",
    organization: Annotated[str | None, _ORGANIZATION] = None,
) -> None:
    """Measure this host every second and send it, until it is stopped."""
    from front.collecting import collect_command
    from front.targets import Target

    sys.exit(collect_command(_settings(), Target(to, url, api_key, organization), spool, console))


@app.command()
def version() -> None:
    """Print the version."""
    from api.app import VERSION

    typer.echo(VERSION)


if __name__ == "__main__":
    main()
