-- Deliveries of reports: what the end of a run brings, what the jobs do for all organizations, and what an organization sees.

-- name: hand_on
-- A run that failed has no file to store; people and programs that wait for it are told why.
insert into store.report_delivery (organization, id, run, place, recipient, next_at, created_at)
select run.organization, gen_random_uuid(), run.id, one.ordinality - 1, one.value, %(now)s, %(now)s
from store.report_run as run cross join lateral json_array_elements(run.recipients) with ordinality as one
where run.id = %(id)s and (run.status = 'succeeded' or (run.status = 'failed' and one.value ->> 'kind' <> 'store'))
on conflict (run, place) do nothing;

-- name: run_failed
insert into store.report_alert (organization, key, metric, happened_at)
select organization, 'report-' || id, 'reports_failed', %(now)s from store.report_run
where id = %(id)s and status = 'failed' and schedule is not null
on conflict (key) do nothing;

-- name: tell
select pg_notify(%(channel)s, %(id)s::text);

-- name: exhausted
-- Whoever handed these over ended each time, or was stopped at the last one.
update store.report_delivery
set status = 'dead', error = 'the process that handed it over ended each time it was tried', dead_at = %(now)s, deaths = deaths + 1,
    claimed_by = null, lease = null
where status = 'waiting' and (lease is null or lease < clock_timestamp()) and attempts >= %(most)s
returning organization, run, place, deaths, recipient ->> 'kind' as kind;

-- name: claim
-- The organization that the fewest hands are at comes first: receivers that never answer hold up nobody else's.
with held as (
    select organization, count(*) as hands from store.report_delivery
    where status = 'waiting' and lease > clock_timestamp()
    group by organization
)
update store.report_delivery
set claimed_by = %(claim)s, lease = clock_timestamp() + make_interval(secs => %(lease_s)s), attempts = attempts + 1
where id = (
    select one.id from store.report_delivery as one left join held on held.organization = one.organization
    where status = 'waiting' and next_at <= %(now)s and (lease is null or lease < clock_timestamp()) and attempts < %(most)s
    order by coalesce(held.hands, 0), next_at, one.id
    limit 1
    for update of one skip locked
)
returning organization, id, run, place, recipient::text as recipient, attempts, claimed_by as claim;

-- name: renew
update store.report_delivery set lease = clock_timestamp() + make_interval(secs => %(lease_s)s)
where id = %(id)s and claimed_by = %(claim)s and status = 'waiting'
returning id;

-- name: release
-- What was begun counts as an attempt: it may have arrived.
update store.report_delivery set claimed_by = null, lease = null
where id = %(id)s and claimed_by = %(claim)s and status = 'waiting';

-- name: delivered
update store.report_delivery
set status = 'delivered', delivered_at = %(now)s, error = null, claimed_by = null, lease = null
where id = %(id)s and claimed_by = %(claim)s and status = 'waiting'
returning id;

-- name: postponed
update store.report_delivery set next_at = %(next_at)s, error = %(error)s, claimed_by = null, lease = null
where id = %(id)s and claimed_by = %(claim)s and status = 'waiting'
returning id;

-- name: dead
update store.report_delivery
set status = 'dead', error = %(error)s, dead_at = %(now)s, deaths = deaths + 1, claimed_by = null, lease = null
where id = %(id)s and claimed_by = %(claim)s and status = 'waiting'
returning organization, run, place, deaths, recipient ->> 'kind' as kind;

-- name: cancelled
update store.report_delivery set status = 'cancelled', error = %(error)s, claimed_by = null, lease = null
where id = %(id)s and claimed_by = %(claim)s and status = 'waiting'
returning id;

-- name: delivery_died
insert into store.report_alert (organization, key, metric, happened_at)
values (%(organization)s, %(key)s, 'report_deliveries_dead', %(now)s)
on conflict (key) do nothing;

-- name: content
select
    run.type, run.format, run.status, run.parameters::text as parameters, run.created_at, run.finished_at, run.error,
    run.summary::text as summary, (run.summary ->> 'generated_at')::timestamptz as generated_at, run.file_name, run.content_type,
    run.size, run.period, run.schedule, schedule.name as schedule_name, schedule.secret
from store.report_run as run left join store.report_schedule as schedule on schedule.id = run.schedule
where run.id = %(run)s;

-- name: artefact
select artefact from store.report_run where id = %(run)s and status = 'succeeded';

-- name: of_run
select delivery.id, recipient::text as recipient, delivery.status, attempts, next_at, delivery.error, delivered_at, delivery.created_at
from app.report_delivery as delivery join app.report_run as run on run.id = delivery.run
where run.id = %(run)s and (%(requested_by)s::text is null or requested_by = %(requested_by)s::text)
order by place;

-- name: seen
select id from app.report_run where id = %(run)s and (%(requested_by)s::text is null or requested_by = %(requested_by)s::text);

-- name: again
update app.report_delivery set status = 'waiting', attempts = 0, next_at = %(now)s, error = null
where id = %(id)s and run = %(run)s and status = 'dead'
returning id;
