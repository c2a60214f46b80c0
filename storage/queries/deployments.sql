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
