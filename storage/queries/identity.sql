-- Accounts, organizations, keys and all that a person or a program signs in with. Digests are SHA-256; what was digested is stored nowhere.

-- name: create_organization
insert into store.organization (
    name, time_zone, demo, subscription_tier, max_users, max_models, max_comparisons_per_month
)
select %(name)s, %(time_zone)s, %(demo)s, t.name, t.max_users, t.max_models, t.max_comparisons_per_month
from store.subscription_tier as t
where t.name = %(tier)s
returning id

-- name: create_account
insert into store.account (email, name, password_hash, deployment_admin)
values (%(email)s, %(name)s, %(password_hash)s, %(deployment_admin)s)
returning id

-- name: create_membership
insert into store.membership (account, organization, role) values (%(account)s, %(organization)s, %(role)s)
on conflict (account, organization) do update set role = excluded.role

-- name: create_api_key
insert into store.api_key (organization, name, prefix, digest, scopes)
values (%(organization)s, %(name)s, %(prefix)s, %(digest)s, %(scopes)s)
returning id

-- name: find_api_key
select id, organization, name, prefix, digest, scopes
from store.api_key
where prefix = %(prefix)s and revoked_at is null

-- name: find_account
select id, email, name, password_hash, deployment_admin, disabled_at from store.account
where lower(email) = lower(%(email)s)

-- name: find_organization
select id, name, demo from store.organization where id = %(organization)s

-- name: find_access
select
    a.id as account, coalesce(a.email, x.email) as email, a.name, o.id as organization, o.name as organization_name, o.demo,
    case when a.deployment_admin then 'admin' else m.role end as role, x.subjects
from store.account as a
cross join lateral store.external_names(a.id) as x
join store.organization as o on o.id = %(organization)s
left join store.membership as m on m.account = a.id and m.organization = o.id
where a.id = %(account)s and a.disabled_at is null and (a.deployment_admin or m.role is not null)

-- name: list_access
-- An admin's own organizations come before all the others, real ones before demos, and those that the account has been in for longest
-- first: to accept an invitation does not change where one starts.
select
    a.id as account, coalesce(a.email, x.email) as email, a.name, o.id as organization, o.name as organization_name, o.demo,
    case when a.deployment_admin then 'admin' else way.role end as role, x.subjects
from store.account as a
cross join lateral store.external_names(a.id) as x
cross join lateral (
    select m.organization, m.role, m.created_at as since from store.membership as m where m.account = a.id
    union all
    select every.id, null, null from store.organization as every
    where a.deployment_admin
    and not exists (select from store.membership as m where m.account = a.id and m.organization = every.id)
) as way
join store.organization as o on o.id = way.organization
where a.id = %(account)s and a.disabled_at is null
order by way.role is null, o.demo, way.since, o.created_at, o.id
limit %(limit)s

-- name: create_browser_session
insert into store.browser_session (digest, account, organization, created_at, expires_at)
values (%(digest)s, %(account)s, %(organization)s, %(now)s, %(expires_at)s)

-- name: find_browser_session
select
    s.expires_at, a.id as account, coalesce(a.email, x.email) as email, a.name, o.id as organization, o.name as organization_name, o.demo,
    case when a.deployment_admin then 'admin' else m.role end as role, x.subjects
from store.browser_session as s
join store.account as a on a.id = s.account
cross join lateral store.external_names(a.id) as x
join store.organization as o on o.id = s.organization
left join store.membership as m on m.account = a.id and m.organization = o.id
where s.digest = %(digest)s and s.expires_at > %(now)s and a.disabled_at is null
and (a.deployment_admin or m.role is not null)

-- name: extend_browser_session
update store.browser_session set expires_at = %(expires_at)s
where digest = %(digest)s and expires_at < %(expires_at)s

-- name: switch_browser_session
update store.browser_session as s set organization = o.id
from store.account as a, store.organization as o
where s.digest = %(digest)s and s.expires_at > %(now)s and a.id = s.account and a.disabled_at is null
and o.id = %(organization)s
and (
    a.deployment_admin
    or exists (select from store.membership as m where m.account = a.id and m.organization = o.id)
)
returning o.id, o.name, o.demo

-- name: delete_browser_session
delete from store.browser_session where digest = %(digest)s

-- name: create_sign_in_link
insert into store.sign_in_link (digest, account, organization, expires_at)
values (%(digest)s, %(account)s, %(organization)s, %(expires_at)s)

-- name: consume_sign_in_link
delete from store.sign_in_link as l
using store.account as a
where l.digest = %(digest)s and l.expires_at > %(now)s and a.id = l.account and a.disabled_at is null
returning l.account, l.organization, a.email

-- name: create_stream_ticket
insert into store.stream_ticket (digest, principal, expires_at) values (%(digest)s, %(principal)s, %(expires_at)s)

-- name: consume_stream_ticket
delete from store.stream_ticket where digest = %(digest)s and expires_at > %(now)s returning principal

-- name: prune_expired
with
sessions as (delete from store.browser_session where expires_at <= %(now)s returning 1),
links as (delete from store.sign_in_link where expires_at <= %(now)s returning 1),
tickets as (delete from store.stream_ticket where expires_at <= %(now)s returning 1),
families as (delete from store.refresh_family where expires_at <= %(now)s returning 1),
invitations as (delete from store.invitation where expires_at <= %(now)s returning 1)
select
    (select count(*) from sessions) + (select count(*) from links) + (select count(*) from tickets)
    + (select count(*) from families) + (select count(*) from invitations) as pruned

-- name: lock_bootstrap
select pg_advisory_xact_lock(%(lock)s)

-- name: bootstrapped
select
    exists (select from store.account) as accounts,
    (select id from store.account where deployment_admin order by created_at, id limit 1) as admin,
    (select id from store.organization where not demo order by created_at, id limit 1) as organization

-- name: find_demo_organization
select id from store.organization where demo order by created_at, id limit 1

-- name: let_admins_own
insert into store.membership (account, organization, role)
select id, %(organization)s, 'owner' from store.account where deployment_admin
on conflict (account, organization) do nothing
