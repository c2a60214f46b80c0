"""Makes the reports that are due by schedule: one for each local due time, however many schedulers look, however often they are started."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from zoneinfo import ZoneInfo

import msgspec
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from aggregators import calendar, cron
from aggregators.relative_days import RelativeDays, relative_days
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.notices import REPORT_SCHEDULED, NoticeListener
from storage.report_dues import Deciding, DueSchedule, DueTime, deciding, next_due

log = structlog.get_logger(__name__)

LOOK_S = 10
"""How often is looked at least: what no notice and no timer told of is found then."""
MOST_MISSED = 1_000
"""Due times of one schedule that are noted as missed at once, the latest of them."""
LATER = dt.timedelta(days=1)
"""When a schedule is looked at again whose next due time cannot be told."""

MISSED = "no scheduler ran when it was due; the report of a later due time was made"
FULL = "too many reports of the organization's schedules are waiting"
BROKEN = "it could not be made: an error of the service, which is in its log"


class DueReports:
    """Looks for reports that are due: at their times, when a schedule was added or changed, and whenever `run` is called.

    `look` is what the scheduler is to call for `run`.
    """

    def __init__(
        self,
        database: Database,
        scheduler: AsyncIOScheduler,
        look: Callable[[], Awaitable[None]],
        *,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._database = database
        self._scheduler = scheduler
        self._look = look
        self._now = now

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hears of changes while the block does; of the ones before it learns at once."""
        listener = NoticeListener(self._database, (REPORT_SCHEDULED,), self._heard, self._heard)
        await listener.start()
        try:
            yield
        finally:
            await listener.stop()

    async def run(self) -> int:
        """Makes what is due and sets the alarm for what is next; returns how many reports were made."""
        made = await make_due(self._database, now=self._now())
        due = await next_due(self._database)
        if due is not None:
            # What is due and another scheduler is busy with is looked at again.
            self._at("report_schedule_due", max(due, self._now() + dt.timedelta(seconds=1)))
        return made

    def _heard(self, *_: str) -> None:
        self._at("report_schedule_changed", self._now())

    def _at(self, alarm: str, time: dt.datetime) -> None:
        """Looks at a time, however late; one that is set anew takes the place of the last."""
        self._scheduler.add_job(
            self._look, DateTrigger(time), id=alarm, replace_existing=True, max_instances=2, misfire_grace_time=None
        )


async def make_due(database: Database, *, now: dt.datetime) -> int:
    """Makes the reports of all schedules that are due; returns how many. Any number of processes may at once."""
    made = 0
    while True:
        async with deciding(database, now) as found:
            if found is None:
                return made
            made += await _decided(found, now)


async def _decided(found: Deciding, now: dt.datetime) -> int:
    """Decides about one schedule; returns how many runs were made. What is wrong with it is noted and does not hold up the others."""
    schedule = found.schedule
    try:
        tz, expression = calendar.zone(schedule.tz), cron.parsed(schedule.cron)
    except (calendar.UnknownZone, cron.BadCron) as error:
        # What its local time is nobody can say any more.
        log.error("report_schedule_not_understood", schedule=str(schedule.id), reason=str(error))
        due = DueTime(schedule.next_at, cron.due_period(schedule.next_at, ZoneInfo("UTC")))
        await found.miss([due], str(error))
        await found.advance(now, now + LATER)
        return 0
    between = cron.due_between(expression, tz, schedule.since, now)
    dues = [DueTime(at, cron.due_period(at, tz)) for at in islice(between, MOST_MISSED + 1)]
    made = 0
    if dues:
        try:
            async with found.attempt():
                made = await _made(found, dues, cron.due_day(expression, tz, dues[0].at))
        except (StorageUnavailable, QueryTooSlow):
            raise
        except Exception:
            log.exception("report_schedule_failed", schedule=str(schedule.id))
            await found.miss(dues, BROKEN)
    # A zone whose rules were changed may have no due time where one was foreseen.
    await found.advance(dues[0].at if dues else now, next(cron.due_after(expression, tz, now), None))
    return made


async def _made(found: Deciding, dues: Sequence[DueTime], day: dt.date) -> int:
    """Makes the first of the due times, which is due on `day`, and notes the others as missed."""
    schedule, due = found.schedule, dues[0]
    told = {"schedule": str(schedule.id), "due": due.at.isoformat()}
    if await found.full():
        log.warning("report_missed", **told, missed=len(dues), reason=FULL)
        await found.miss(dues, FULL)
        return 0
    run = await found.make(due, _parameters(schedule, day))
    await found.miss(dues[1:], MISSED)
    log.info("report_due", **told, run=str(run), missed=len(dues) - 1)
    return int(run is not None)


def _parameters(schedule: DueSchedule, day: dt.date) -> str:
    """What the run is of, as the makers of reports read it: the days that the schedule names, seen from the due day."""
    first, last = relative_days(msgspec.convert(schedule.days, RelativeDays), day)
    narrowing = msgspec.json.decode(schedule.parameters, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**narrowing, "first": first, "last": last, "tz": schedule.tz}).decode()
