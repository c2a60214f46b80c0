-- Runs of reports: first those of the organization of the transaction, then what the jobs do for all of them.

-- name: in_flight
-- Reports that schedules made, which have a period, have a bound of their own.
select count(*) from app.report_run where status in ('queued', 'running') and period is null;

-- name: ask
insert into app.report_run (organization, id, type, parameters, own, format, requested_by, digest, created_at)
values (
    app.organization(), %(id)s, %(type)s, %(parameters)s::json, %(own)s, %(format)s, %(requested_by)s, %(digest)s, %(created_at)s
)
on conflict (organization, digest) where status in ('queued', 'running') do nothing
returning id;

-- name: joined
select id from app.report_run where digest = %(digest)s and status in ('queued', 'running');

-- name: one
select
    id, type, parameters::text as parameters, format, requested_by, status, created_at, started_at, finished_at, error, error_status,
    summary::text as summary, (summary ->> 'generated_at')::timestamptz as generated_at, file_name, size, step
from app.report_run join app.report_step using (organization, id)
where id = %(id)s and (%(requested_by)s::text is null or requested_by = %(requested_by)s::text);

-- name: page
select
    id, type, parameters::text as parameters, format, requested_by, status, created_at, started_at, finished_at, error, error_status,
    null::text as summary, (summary ->> 'generated_at')::timestamptz as generated_at, file_name, size, step
from app.report_run join app.report_step using (organization, id)
where %(requested_by)s::text is null or requested_by = %(requested_by)s::text
order by created_at desc, id desc
limit %(limit)s offset %(offset)s;

-- name: count
select count(*) from app.report_run where %(requested_by)s::text is null or requested_by = %(requested_by)s::text;

-- name: progress
-- The place is the one in the organization's own line: how many others wait is no business of theirs.
select
    run.status, step.step, step.fraction,
    (
        select 1 + count(*) from app.report_run as before
        where run.status = 'queued' and before.status = 'queued' and (before.created_at, before.id) < (run.created_at, run.id)
    ) as place
from app.report_run as run join app.report_step as step using (organization, id)
where run.id = %(id)s and (%(requested_by)s::text is null or run.requested_by = %(requested_by)s::text);

-- name: cancel
update app.report_run set status = 'cancelled', finished_at = greatest(created_at, %(now)s)
where id = %(id)s and status in ('queued', 'running')
  and (%(requested_by)s::text is null or requested_by = %(requested_by)s::text)
returning organization;

-- name: file
select artefact, content_type, file_name, sha256 from app.report_run where id = %(id)s and status = 'succeeded';

-- name: tell
select pg_notify(%(channel)s, %(id)s::text);

-- name: exhausted
-- Whoever made these ended each time; to try again would end the next one.
update store.report_run
set status = 'failed', finished_at = %(now)s, error = 'the process that made it ended each time it was tried', error_status = 500
where status = 'running' and lease < clock_timestamp() and attempts >= %(attempts)s
returning id;

-- name: claim
-- The organization of which the fewest are being made comes first: many of one hold up nobody else's.
with held as (
    select organization, count(*) as hands from store.report_run
    where status = 'running' and lease > clock_timestamp()
    group by organization
)
update store.report_run as run
set status = 'running', claimed_by = %(claim)s, lease = clock_timestamp() + make_interval(secs => %(lease_s)s),
    started_at = %(now)s, attempts = attempts + 1, step = 'reading', fraction = null
where id = (
    select one.id from store.report_run as one left join held on held.organization = one.organization
    where status = 'queued' or (status = 'running' and lease < clock_timestamp() and attempts < %(attempts)s)
    order by coalesce(held.hands, 0), created_at, one.id
    limit 1
    for update of one skip locked
)
returning run.organization, run.id, run.claimed_by as claim, run.type, run.parameters::text as parameters, run.own, run.format;

-- name: renew
update store.report_run set lease = clock_timestamp() + make_interval(secs => %(lease_s)s)
where id = %(id)s and claimed_by = %(claim)s and status = 'running'
returning id;

-- name: move
update store.report_run set step = %(step)s, fraction = %(fraction)s
where id = %(id)s and claimed_by = %(claim)s and status = 'running'
returning id;

-- name: release
update store.report_run
set status = 'queued', claimed_by = null, lease = null, attempts = attempts - 1, step = null, fraction = null
where id = %(id)s and claimed_by = %(claim)s and status = 'running'
returning id;

-- name: finish
update store.report_run
set status = 'succeeded', finished_at = %(now)s, summary = %(summary)s::json, artefact = %(artefact)s,
    content_type = %(content_type)s, file_name = %(file_name)s, size = length(%(artefact)s::bytea),
    sha256 = sha256(%(artefact)s::bytea)
where id = %(id)s and claimed_by = %(claim)s and status = 'running'
returning id;

-- name: fail
update store.report_run set status = 'failed', finished_at = %(now)s, error = %(error)s, error_status = %(error_status)s
where id = %(id)s and claimed_by = %(claim)s and status = 'running'
returning id;

-- name: prune
delete from store.report_run where created_at < %(before)s;
