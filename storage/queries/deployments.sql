-- Deployments of the organization of the transaction.

-- name: record
insert into app.deployment (organization, id, service, version, environment, status, started_at, finished_at)
values (
    app.organization(), coalesce(%(id)s, gen_random_uuid()), %(service)s, %(version)s, %(environment)s, %(status)s,
    %(started_at)s, %(finished_at)s
)
on conflict (organization, id) do nothing
returning id, service, version, environment, status, started_at, finished_at;

-- name: one
select id, service, version, environment, status, started_at, finished_at from app.deployment where id = %(id)s;

-- name: held
-- The same, held until the transaction ends.
select id, service, version, environment, status, started_at, finished_at from app.deployment where id = %(id)s for update;

-- name: change
update app.deployment set status = %(status)s, finished_at = %(finished_at)s where id = %(id)s;

-- name: page
select id, service, version, environment, status, started_at, finished_at
from app.deployment
where (%(service)s::text is null or service = %(service)s::text)
  and (%(environment)s::text is null or environment = %(environment)s::text)
  and (%(status)s::text is null or status = %(status)s::text)
order by started_at desc, id desc
limit %(limit)s offset %(offset)s;

-- name: count
select count(*)
from app.deployment
where (%(service)s::text is null or service = %(service)s::text)
  and (%(environment)s::text is null or environment = %(environment)s::text)
  and (%(status)s::text is null or status = %(status)s::text);

-- name: tell
select pg_notify(%(channel)s, app.organization()::text);

-- name: figures
-- Of those that started in a time: of all of them, then of the services with the most.
with started as (
    select service, status, started_at, extract(epoch from finished_at - started_at) as seconds
    from app.deployment where started_at >= %(start)s and started_at < %(end)s
)
select
    service, count(*) as deployments,
    count(*) filter (where status = 'succeeded') as succeeded,
    count(*) filter (where status = 'failed') as failed,
    count(*) filter (where status = 'rolled_back') as rolled_back,
    count(*) filter (where status in ('pending', 'running')) as unfinished,
    avg(seconds) as seconds, max(started_at) as last_started_at, count(distinct service) as services
from started
group by grouping sets ((), (service))
order by grouping(service) desc, deployments desc, service
limit 1 + %(limit)s;

-- name: by_day
select width_bucket(started_at, %(days)s::timestamptz[]) as day, status, count(*)
from app.deployment where started_at >= %(start)s and started_at < %(end)s
group by 1, 2;

-- name: latest
select id, service, version, environment, status, started_at, finished_at
from app.deployment where started_at >= %(start)s and started_at < %(end)s
order by started_at desc, id desc
limit %(limit)s;

-- name: ever
select exists (select from app.deployment);
