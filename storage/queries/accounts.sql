-- Accounts of our own: registering, signing in again, disabling.

-- name: register
insert into store.account (email, name, password_hash, plan, deployment_admin)
values (%(email)s, %(name)s, %(password_hash)s, %(plan)s, %(deployment_admin)s)
on conflict (lower(email)) do nothing
returning id, email, name, plan, deployment_admin, created_at, disabled_at

-- name: find
select id, email, name, plan, deployment_admin, created_at, disabled_at from store.account where id = %(account)s

-- name: find_by_email
select id, email, name, plan, deployment_admin, created_at, disabled_at
from store.account
where lower(email) = lower(%(email)s)

-- name: list
select
    a.id, a.email, a.name, a.plan, a.deployment_admin, a.created_at, a.disabled_at,
    count(*) over () as total
from store.account as a
order by a.created_at, a.id
limit %(limit)s offset %(offset)s

-- name: set_password
update store.account set password_hash = %(password_hash)s where id = %(account)s

-- name: set_disabled
update store.account set disabled_at = %(disabled_at)s where id = %(account)s

-- name: sign_out_everywhere
with
sessions as (delete from store.browser_session where account = %(account)s),
links as (delete from store.sign_in_link where account = %(account)s)
update store.refresh_family set revoked_at = %(now)s where account = %(account)s and revoked_at is null

-- name: open_family
insert into store.refresh_family (id, account, digest, created_at, expires_at)
values (%(family)s, %(account)s, %(digest)s, %(now)s, %(expires_at)s)

-- name: rotate
-- One statement: of two that come with one token, the second waits for the first and then finds another digest.
update store.refresh_family as f set digest = %(next)s, expires_at = %(next_expires_at)s
from store.account as a
where f.id = %(family)s and f.digest = %(digest)s and f.revoked_at is null and f.expires_at > %(now)s
and a.id = f.account and a.disabled_at is null
returning a.id, a.email

-- name: revoke_reused
update store.refresh_family as f set revoked_at = %(now)s
from store.account as a
where f.id = %(family)s and f.digest <> %(digest)s and f.revoked_at is null and a.id = f.account
returning a.id, a.email

-- name: end_family
update store.refresh_family set revoked_at = %(now)s where id = %(family)s and revoked_at is null
