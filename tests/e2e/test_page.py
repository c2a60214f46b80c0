"""The page in a browser, on a service of its own: what somebody sees who signs in, and that it moves by itself."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from psycopg import sql

from tests.conftest import database_of
from tests.e2e.page_service import FLAGS, NOT_TESTED, ServiceProcess, browser_path, eventually

CHROMIUM = browser_path()
if CHROMIUM is None and os.environ.get("CI") != "true":
    pytest.skip(NOT_TESTED, allow_module_level=True)

WATCH = (
    "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective));"
)
_numbers = itertools.count(1)
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "no chromium: CI must install one"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def fresh_database(postgres: str, template: str) -> Iterator[str]:
    """A database that outlives its service's last connection, and then is gone."""
    name = f"page_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        statement = sql.SQL("create database {} template {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        yield database_of(postgres, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


class Visit:
    """A reader: a browser of their own, what its console said, and the service."""

    def __init__(self, service: ServiceProcess, context: BrowserContext) -> None:
        self.service = service
        self.context = context
        self.complaints: list[str] = []
        context.add_init_script(WATCH)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda message: self._say(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _say(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()


@pytest.fixture
def service(fresh_database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path, fresh_database, demo=getattr(request, "param", False))
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def visit(service: ServiceProcess, browser: Browser) -> Iterator[Visit]:
    """Somebody who has followed the one-time link and sees a page that moves."""
    link = service.start()
    context = browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id="Asia/Kathmandu", locale="de-DE")
    visit = Visit(service, context)
    visit.page.goto(link)
    expect(visit.page.locator("#link")).to_have_text("Live", timeout=30_000)
    yield visit
    context.close()


def trade(number: int, pnl: str, currency: str = "USD") -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC).isoformat()
    data = {"trade_id": f"x-{number}", "user_id": "ada", "broker": "paper", "symbol": "ETHUSD", "side": "buy"}
    numbers = {"quantity": "1", "entry_price": "1", "exit_price": "1", "pnl": pnl, "currency": currency}
    data = {**data, **numbers, "opened_at": now, "closed_at": now}
    return {"specversion": "1.0", "id": f"x-{number}", "source": "test", "type": "trade", "time": now, "data": data}


def view(number: int, creator: str, action: str = "view") -> dict[str, Any]:
    data = {"video_id": "clip", "creator_id": creator, "user_id": f"u-{number}", "action": action}
    now = dt.datetime.now(dt.UTC).isoformat()
    return {"specversion": "1.0", "id": f"w-{number}", "source": "test", "type": "view", "time": now, "data": data}


def example(visit: Visit, box: str) -> dict[str, Any]:
    """The event in the request that an empty panel shows."""
    found = re.search(r"-d '(.*)'", visit.text(f"{box} pre"), re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_page_moves_by_itself(visit: Visit) -> None:
    """One visit, no reload: the host's figures, exact P&L in two currencies, the leaderboard, and nothing for the console to say."""
    page, service = visit.page, visit.service
    page.evaluate("window.stayed = true")

    # The host: figures with units that change, and charts that are drawn.
    for metric in ("cpu_usage", "memory_usage", "network_latency", "active_connections", "system_load"):
        expect(page.locator(f'[data-metric="{metric}"] .value')).to_contain_text(re.compile(r"^\d"))
    expect(page.locator('[data-metric="cpu_usage"] .value small')).to_have_text("%")
    expect(page.locator('[data-metric="network_latency"] .value small')).to_have_text("ms")
    before = visit.text('[data-metric="network_latency"] .value')
    eventually(lambda: visit.text('[data-metric="network_latency"] .value'), lambda now: now != before)
    drawn = """() => { const canvas = document.querySelector('[data-metric="cpu_usage"] canvas');
      if (!canvas) return false;
      const blank = Object.assign(document.createElement('canvas'), {width: canvas.width, height: canvas.height});
      return canvas.width > 100 && canvas.toDataURL() !== blank.toDataURL(); }"""
    page.wait_for_function(drawn)
    page.locator('[data-metric="cpu_usage"] .chart').focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator('[data-metric="cpu_usage"] .tip')).to_contain_text("%")

    # The empty panels say how to fill them, and what they say works.
    expect(page.locator("#pnl-empty")).to_contain_text("No trades")
    expect(page.locator("#creators-empty")).to_contain_text("Nobody has watched")
    service.post([example(visit, "#pnl-empty"), example(visit, "#creators-empty")])
    expect(page.locator("#pnl-net")).to_have_text("+23.77")
    expect(page.locator("#creators-table tbody")).to_contain_text("grace")

    # Money: 0.1 + 0.2 is 0.3, and all of 36 digits are there.
    service.post([trade(1, "0.1", "EUR"), trade(2, "0.2", "EUR")])
    expect(page.locator("#currency-select")).to_be_visible()
    page.locator("#currency-select").select_option("EUR")
    expect(page.locator("#pnl-net")).to_have_text("+0.3")
    service.post(trade(3, "-123456789012345678.000000000000000001", "EUR"))
    expect(page.locator("#pnl-net")).to_have_text("−123,456,789,012,345,677.700000000000000001")
    expect(page.locator("#pnl-loss")).to_have_text("123,456,789,012,345,678.000000000000000001")
    expect(page.locator("#pnl-win-rate")).to_have_text("66.67 %")
    expect(page.locator("#pnl-range")).to_contain_text("Asia/Kat")
    page.locator("details summary").click()
    expect(page.locator("#pnl-table tbody tr")).to_have_count(1)
    expect(page.locator("#pnl-table tbody")).to_contain_text("−123,456,789,012,345,677.700000000000000001")

    # Whatever a creator calls themselves is text.
    hostile = "<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>"
    service.post([view(number, hostile) for number in range(1, 30)] + [view(99, hostile, "like")])
    expect(page.locator("#creators-table tbody tr").first).to_contain_text(hostile)
    expect(page.locator("#creators-table tbody tr").first).to_contain_text("29")
    assert page.locator("#creators-table tbody *:not(tr):not(td)").count() == 0
    assert page.title() == "Default · Streamgauge"

    assert page.evaluate("window.stayed") is True
    assert page.evaluate("violations") == []
    assert visit.complaints == []


def test_without_a_session_there_is_a_form(service: ServiceProcess, browser: Browser) -> None:
    service.start()
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = Visit(service, context).page
    page.goto(service.url)
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#sign-in")).to_contain_text("make run")
    expect(page.locator("#sign-in")).to_contain_text("credentials.json")
    expect(page.locator("#board")).to_be_hidden()

    page.get_by_label("E-mail address").fill(service.credentials["admin_email"])
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in-problem")).to_contain_text("wrong")
    page.get_by_label("Password").fill(service.credentials["admin_password"])
    page.keyboard.press("Enter")
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#sign-in")).to_be_hidden()
    expect(page.locator('[data-metric="cpu_usage"] .value')).to_contain_text(re.compile(r"^\d"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a phone would have to scroll sideways"

    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#board")).to_be_hidden()
    page.reload()
    expect(page.locator("#sign-in")).to_be_visible()
    context.close()


def test_it_outlives_a_restart_and_notices_the_end_of_its_session(visit: Visit) -> None:
    page, service = visit.page, visit.service
    page.evaluate("window.stayed = true")
    service.stop()
    expect(page.locator("#link")).to_have_text("Reconnecting…")
    expect(page.locator("#as-of")).to_have_attribute("data-aged", "", timeout=40_000)
    service.start()
    expect(page.locator("#link")).to_have_text("Live", timeout=60_000)
    expect(page.locator("#as-of")).not_to_have_attribute("data-aged", "")
    assert page.evaluate("window.stayed") is True

    # The session ends elsewhere, as it does when its time is over.
    assert visit.context.request.post(service.url + "/api/auth/logout", headers={"Origin": service.url}).ok
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#sign-in-reason")).to_contain_text("session has ended")
    expect(page.locator("#board")).to_be_hidden()


@pytest.mark.parametrize("service", [True], indirect=True, ids=["demo"])
def test_a_demo_says_so(visit: Visit) -> None:
    page = visit.page
    expect(page.locator("#simulated")).to_be_visible()
    page.locator("#organization-select").select_option(label="Default")
    expect(page.locator("#simulated")).to_be_hidden()
    expect(page.locator("#link")).to_have_text("Live")
    page.reload()
    expect(page.locator("#organization-select")).to_have_value(visit.service.credentials["organization_id"])
    expect(page.locator("#simulated")).to_be_hidden()
    assert visit.complaints == []


def test_the_files_are_locked_down_and_kept_by_browsers(service: ServiceProcess) -> None:
    service.start()
    status, headers, body = service.get("/")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert service.get("/", **{"If-None-Match": headers["etag"]})[0] == 304
    files = set(re.findall(r'"(/page/[^"]+)"', body.decode()))
    assert len(files) >= 4
    for path in files:
        status, headers, body = service.get(path, **{"Accept-Encoding": "gzip"})
        assert (status, headers["content-encoding"], body[:2]) == (200, "gzip", b"\x1f\x8b"), path
        assert "immutable" in headers["cache-control"]
        assert service.get(path)[2][:2] != b"\x1f\x8b"
    assert service.get("/page/0000/page.js")[0] == 404
    assert service.get(next(iter(files)).rpartition("/")[0] + "/page.html")[0] == 404
    assert service.get(next(iter(files)).rpartition("/")[0] + "/..%2froutes.py")[0] == 404
