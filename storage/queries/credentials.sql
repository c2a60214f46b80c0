-- Which credentials still let their bearers in: many at once, for streams that last.

-- name: living_keys
select prefix from store.api_key where prefix = any(%(keys)s) and revoked_at is null

-- name: extend_sessions
-- Only what is an hour old: a row is written once an hour, however often it is looked at.
update store.browser_session set expires_at = %(extended)s
where digest = any(%(sessions)s) and expires_at > %(now)s and expires_at < %(due)s

-- name: living_sessions
select digest from store.browser_session where digest = any(%(sessions)s) and expires_at > %(now)s

-- name: living_access
select a.id, o.id, case when a.deployment_admin then 'admin' else m.role end
from unnest(%(accounts)s::uuid[], %(organizations)s::uuid[]) as asked (account, organization)
join store.account as a on a.id = asked.account
join store.organization as o on o.id = asked.organization
left join store.membership as m on m.account = a.id and m.organization = o.id
where a.disabled_at is null and (a.deployment_admin or m.role is not null)
