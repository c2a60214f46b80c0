-- Organizations, their members and whom they invited.

-- name: lock
-- Foreign keys to it need not wait, other changes of who is in it do.
select id from store.organization where id = %(organization)s for no key update

-- name: read
select id, name, time_zone, demo, subscription_tier, max_users, max_models, max_comparisons_per_month, created_at, updated_at
from store.organization
where id = %(organization)s

-- name: list
select
    o.id, o.name, o.time_zone, o.demo, o.subscription_tier, o.max_users, o.max_models, o.max_comparisons_per_month,
    o.created_at, o.updated_at, case when a.deployment_admin then 'admin' else way.role end as role,
    count(*) over () as total
from store.account as a
cross join lateral (
    select m.organization, m.role from store.membership as m where m.account = a.id and not a.deployment_admin
    union all
    select every.id, null from store.organization as every where a.deployment_admin
) as way
join store.organization as o on o.id = way.organization
where a.id = %(account)s and a.disabled_at is null
order by o.created_at, o.id
limit %(limit)s offset %(offset)s

-- name: owned
select count(*) as owned from store.membership where account = %(account)s and role = 'owner'

-- name: change
update store.organization
set
    name = coalesce(%(name)s::text, name),
    time_zone = coalesce(%(time_zone)s::text, time_zone),
    updated_at = %(now)s
where id = %(organization)s

-- name: change_tier
update store.organization as o
set
    subscription_tier = t.name,
    max_users = t.max_users,
    max_models = t.max_models,
    max_comparisons_per_month = t.max_comparisons_per_month,
    updated_at = %(now)s
from store.subscription_tier as t
where o.id = %(organization)s and t.name = %(tier)s
returning o.id

-- name: tiers
select name from store.subscription_tier order by max_users nulls last, name

-- name: members
select account, email, name, role, created_at, disabled, count(*) over () as total
from app.member
order by created_at, account
limit %(limit)s offset %(offset)s

-- name: member
select a.id as account, a.email, m.role
from store.membership as m
join store.account as a on a.id = m.account
where m.organization = %(organization)s and m.account = %(account)s

-- name: other_owners
select count(*) as owners
from store.membership as m
join store.account as a on a.id = m.account
where m.organization = %(organization)s and m.account <> %(account)s and m.role = 'owner' and a.disabled_at is null

-- name: room
select
    o.max_users,
    (select count(*) from store.membership as m where m.organization = o.id) as members,
    (
        select count(*) from store.invitation as i
        where i.organization = o.id and i.expires_at > %(now)s and lower(i.email) <> lower(%(email)s)
    ) as invited
from store.organization as o
where o.id = %(organization)s

-- name: join
insert into store.membership (account, organization, role, created_at)
values (%(account)s, %(organization)s, %(role)s, %(now)s)

-- name: set_role
update store.membership set role = %(role)s where organization = %(organization)s and account = %(account)s

-- name: leave
delete from store.membership where organization = %(organization)s and account = %(account)s

-- name: invite
insert into store.invitation (digest, organization, email, role, invited_by, created_at, expires_at)
values (%(digest)s, %(organization)s, %(email)s, %(role)s, %(invited_by)s, %(now)s, %(expires_at)s)
on conflict (organization, lower(email)) do update
set
    id = excluded.id, digest = excluded.digest, email = excluded.email, role = excluded.role,
    invited_by = excluded.invited_by, created_at = excluded.created_at, expires_at = excluded.expires_at
returning id, email, role, invited_by, created_at, expires_at, 1 as total

-- name: invitations
select id, email, role, invited_by, created_at, expires_at, count(*) over () as total
from app.invitation
where expires_at > %(now)s
order by created_at, id
limit %(limit)s offset %(offset)s

-- name: withdraw
delete from store.invitation where organization = %(organization)s and id = %(invitation)s returning email

-- name: invitation_to
select organization from store.invitation where digest = %(digest)s and expires_at > %(now)s

-- name: accept
delete from store.invitation
where digest = %(digest)s and organization = %(organization)s and expires_at > %(now)s and lower(email) = lower(%(email)s)
returning role
