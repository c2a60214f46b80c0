-- Schedules of reports: first those of the organization of the transaction, then what the jobs do for all of them.

-- name: lock
-- One at a time an organization is counted and added.
select pg_advisory_xact_lock(hashtextextended('report_schedule ' || app.organization(), 0));

-- name: lock_maker
-- As store.pause_report_schedules does: rights that are looked at under it are not lost before the commit without pausing what is made.
select pg_advisory_xact_lock(hashtextextended('report_schedule ' || %(name)s::text, 0));

-- name: standing
select case when %(account)s::uuid is null
    then exists (select from app.api_key where prefix = %(key)s::text and revoked_at is null)
    else exists (select from app.member where account = %(account)s::uuid and role = %(role)s::text and not disabled)
end;

-- name: living
select count(*) from app.report_schedule;

-- name: add
insert into app.report_schedule (
    organization, id, name, type, format, cron, tz, days, parameters, own, recipients, secret, paused, created_by, created_at, updated_at,
    since, next_at
)
values (
    app.organization(), %(id)s, %(name)s, %(type)s, %(format)s, %(cron)s, %(tz)s, %(days)s, %(parameters)s::json, %(own)s,
    %(recipients)s::json, %(secret)s, %(paused)s, %(created_by)s, %(created_at)s, %(updated_at)s, %(since)s, %(next_at)s
);

-- name: one
select
    id, name, type, format, cron, tz, days, parameters::text as parameters, own, recipients::text as recipients, secret, paused,
    paused_reason, created_by, created_at, updated_at, since, next_at
from app.report_schedule
where id = %(id)s and (%(created_by)s::text is null or created_by = %(created_by)s::text);

-- name: held
select
    id, name, type, format, cron, tz, days, parameters::text as parameters, own, recipients::text as recipients, secret, paused,
    paused_reason, created_by, created_at, updated_at, since, next_at
from app.report_schedule
where id = %(id)s and (%(created_by)s::text is null or created_by = %(created_by)s::text)
for update;

-- name: page
select
    id, name, type, format, cron, tz, days, parameters::text as parameters, own, recipients::text as recipients, secret, paused,
    paused_reason, created_by, created_at, updated_at, since, next_at
from app.report_schedule
where %(created_by)s::text is null or created_by = %(created_by)s::text
order by created_at desc, id desc
limit %(limit)s offset %(offset)s;

-- name: count
select count(*) from app.report_schedule where %(created_by)s::text is null or created_by = %(created_by)s::text;

-- name: change
update app.report_schedule
set
    name = %(name)s, type = %(type)s, format = %(format)s, cron = %(cron)s, tz = %(tz)s, days = %(days)s,
    parameters = %(parameters)s::json, own = %(own)s, recipients = %(recipients)s::json, paused = %(paused)s,
    paused_reason = %(paused_reason)s, created_by = %(created_by)s, updated_at = %(updated_at)s, since = %(since)s,
    next_at = %(next_at)s
where id = %(id)s;

-- name: delete
delete from app.report_schedule
where id = %(id)s and (%(created_by)s::text is null or created_by = %(created_by)s::text)
returning name;

-- name: note
insert into app.report_schedule_audit (organization, happened_at, action, account, actor, subject, address, details)
values (
    app.organization(), %(happened_at)s, %(action)s, %(account)s, %(actor)s, %(subject)s, %(address)s, %(details)s
);

-- name: latest_dues
select
    due.schedule, due.period, due.due_at, due.status, due.reason, run.id as report, run.status as report_status, run.error, run.file_name
from unnest(%(schedules)s::uuid[]) as wanted (id)
cross join lateral (
    select * from app.report_due as d where d.schedule = wanted.id order by d.period desc limit %(limit)s
) as due
left join app.report_run as run on run.id = due.run
order by due.schedule, due.period desc;

-- name: dues
select
    due.schedule, due.period, due.due_at, due.status, due.reason, run.id as report, run.status as report_status, run.error, run.file_name
from app.report_due as due
left join app.report_run as run on run.id = due.run
where due.schedule = %(schedule)s
order by due.period desc
limit %(limit)s offset %(offset)s;

-- name: count_dues
select count(*) from app.report_due where schedule = %(schedule)s;

-- name: tell
select pg_notify(%(channel)s, %(id)s::text);

-- name: claim
-- Another scheduler that looks at the same time takes the next one.
select
    organization, id, type, format, cron, tz, days, parameters::text as parameters, own, recipients::text as recipients, created_by, since,
    next_at
from store.report_schedule
where next_at <= %(now)s
order by next_at, id
limit 1
for update skip locked;

-- name: in_flight
-- A run that a schedule made has its period, when the schedule is deleted too.
select count(*) from store.report_run
where status in ('queued', 'running') and period is not null and organization = %(organization)s;

-- name: make
-- Both or neither; a period that is decided stays as it is.
with due as (
    insert into store.report_due (organization, schedule, period, due_at, status, run, noted_at)
    values (%(organization)s, %(schedule)s, %(period)s, %(due_at)s, 'made', %(run)s, %(now)s)
    on conflict (schedule, period) do nothing
    returning organization, schedule, period, run
)
insert into store.report_run (
    organization, id, type, parameters, own, format, requested_by, digest, created_at, schedule, period, recipients
)
select
    due.organization, due.run, %(type)s, %(parameters)s::json, %(own)s, %(format)s, %(created_by)s, %(digest)s, %(now)s, due.schedule,
    due.period, %(recipients)s::json
from due
returning id;

-- name: miss
insert into store.report_due (organization, schedule, period, due_at, status, reason, noted_at)
select %(organization)s, %(schedule)s, missed.period, missed.due_at, 'missed', %(reason)s, %(now)s
from unnest(%(periods)s::timestamp[], %(due_at)s::timestamptz[]) as missed (period, due_at)
on conflict (schedule, period) do nothing;

-- name: advance
update store.report_schedule set since = %(since)s, next_at = %(next_at)s where id = %(id)s;

-- name: next
select min(next_at) from store.report_schedule where next_at is not null;

-- name: prune_dues
delete from store.report_due where noted_at < %(before)s;
