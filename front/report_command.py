"""`streamgauge report`: has a report made over HTTP, shows how far it is, and writes the file."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from front.settings import InvalidSetting, Settings
from front.targets import Target, address

_PATH = "/api/v1/reports"
_TIMEOUT_S = 60.0
_WAIT_S = 2
_IN_FLIGHT = ("queued", "running")
_STEPS = {
    "queued": "waits for its turn",
    "reading": "reads the figures",
    "rendering": "renders the file",
    "storing": "stores the file",
}
_PIECE = 64 * 1024


@dataclass(frozen=True)
class AskedReport:
    """What is asked for; the days and their zone are the service's defaults where they are None."""

    type: str
    format: str
    first: str | None
    last: str | None
    tz: str | None

    def body(self) -> dict[str, str]:
        """As it is sent."""
        values = {"type": self.type, "format": self.format, "from": self.first, "to": self.last, "tz": self.tz}
        return {name: value for name, value in values.items() if value is not None}


class ReportNotMade(Exception):
    """There is no file; the message is the service's reason."""


def report_command(settings: Settings, target: Target, asked: AskedReport, out: Path | None, console: Console) -> int:
    """Writes the file and prints its name; returns 0, or 1 where the report could not be made. Raises InvalidSetting."""
    base, key = address(settings, target)
    if urlsplit(base).scheme not in ("http", "https"):
        raise InvalidSetting(f"--url: {escape(base)} is no http address")
    service = _Service(base.rstrip("/"), key)
    try:
        with _bar(console) as bar:
            task = bar.add_task(f"{asked.type} report", total=None)
            found = _finished(service, asked, lambda text: bar.update(task, description=f"{asked.type} report {text}"))
            place = out or Path(found["file_name"])
            bar.update(task, description=f"{asked.type} report", total=found["size"], completed=0)
            service.save(found["download_url"], place, lambda size: bar.advance(task, size))
    except ReportNotMade as error:
        console.print(f"[bold red]no report[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except OSError as error:
        console.print(f"[bold red]no report[/] {escape(str(error))}", soft_wrap=True)
        return 1
    print(place)
    return 0


def _finished(service: _Service, asked: AskedReport, tell: Callable[[str], None]) -> dict[str, Any]:
    """The report once it succeeded. Raises ReportNotMade. Whoever interrupts it does not want it any more: it is cancelled."""
    found = service.ask("POST", f"{_PATH}?wait=0", asked.body())
    try:
        while found["status"] in _IN_FLIGHT:
            tell(_said(found))
            for event, told in service.progress(found["id"]):
                if event == "done":
                    found = told["report"]
                elif event == "progress":
                    tell(_said(told))
            if found["status"] in _IN_FLIGHT:
                # A stream may end early: the service was started again, or the machine between ends what is quiet.
                found = service.ask("GET", f"{_PATH}/{found['id']}?wait={_WAIT_S}")
    except KeyboardInterrupt:
        service.ask("DELETE", f"{_PATH}/{found['id']}")
        raise ReportNotMade("it was cancelled") from None
    if found["status"] != "succeeded":
        raise ReportNotMade(found["error"] or f"it was {found['status']}")
    return found


def _said(progress: dict[str, Any]) -> str:
    """How far it is, in words."""
    place, fraction = progress.get("place"), progress.get("fraction")
    ahead = "" if place is None else f", number {place} in line"
    done = "" if fraction is None else f", {fraction:.0%}"
    step = str(progress["step"])
    return f"{_STEPS.get(step, step)}{ahead}{done}"


class _Service:
    """The API with a key."""

    def __init__(self, base: str, key: str) -> None:
        self._base = base
        self._key = key

    def ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        """The report of an answer. Raises ReportNotMade where it is none, OSError where nobody answers."""
        request = urllib.request.Request(  # noqa: S310  (http or https: checked by the command)
            self._base + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)["report"]
        except urllib.error.HTTPError as error:
            raise ReportNotMade(_reason(error)) from None
        return found

    def progress(self, id_: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The names and data of the events of a report's progress, as they come; none where the service has no stream for it now."""
        request = urllib.request.Request(  # noqa: S310
            f"{self._base}{_PATH}/{id_}/progress", headers={"Authorization": f"Bearer {self._key}"}
        )
        name = ""
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                for line in answer:
                    field, _, value = line.decode().rstrip("\n").partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value)
        except (OSError, http.client.HTTPException):
            # Whoever asks for the report itself is told why.
            return

    def save(self, url: str, place: Path, tell: Callable[[int], object]) -> None:
        """Writes what is there into a file, whole or not at all. Raises ReportNotMade, OSError."""
        # The address that people use may be another one than that by which the service is reached from here.
        parts = urlsplit(url)
        unfinished = place.with_name(place.name + ".part")
        try:
            with (
                urllib.request.urlopen(f"{self._base}{parts.path}?{parts.query}", timeout=_TIMEOUT_S) as answer,  # noqa: S310
                unfinished.open("wb") as file,
            ):
                while piece := answer.read(_PIECE):
                    file.write(piece)
                    tell(len(piece))
            unfinished.replace(place)
        except urllib.error.HTTPError as error:
            raise ReportNotMade(_reason(error)) from None
        finally:
            unfinished.unlink(missing_ok=True)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=console
    )
