-- API keys as their organization manages them.

-- name: create
-- A prefix that is taken by chance makes none: another key is minted then.
insert into store.api_key (organization, name, prefix, digest, scopes, created_at, created_by)
values (%(organization)s, %(name)s, %(prefix)s, %(digest)s, %(scopes)s, %(now)s, %(created_by)s)
on conflict (prefix) do nothing
returning id, name, prefix, scopes, created_at, last_used_at, revoked_at, 1 as total

-- name: living
select count(*) as living from store.api_key where organization = %(organization)s and revoked_at is null

-- name: list
select id, name, prefix, scopes, created_at, last_used_at, revoked_at, count(*) over () as total
from app.api_key
order by created_at desc, id
limit %(limit)s offset %(offset)s

-- name: revoke
update store.api_key set revoked_at = coalesce(revoked_at, %(now)s)
where organization = %(organization)s and id = %(key)s
returning id, name, prefix, scopes, created_at, last_used_at, revoked_at, 1 as total

-- name: used
-- In the order of the rows' ids, so that two processes never wait for each other in a ring.
with due as (
    select k.id
    from store.api_key as k
    where k.prefix = any(%(prefixes)s) and (k.last_used_at is null or k.last_used_at <= %(due)s)
    order by k.id
    for update
)
update store.api_key as k set last_used_at = %(now)s from due where k.id = due.id
