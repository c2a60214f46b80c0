-- The audit trail.

-- name: record
-- An organization is entered once a minute: the index says so, whichever process asks.
insert into store.audit (organization, happened_at, action, account, actor, subject, address, details)
values (
    %(organization)s, %(happened_at)s, %(action)s, %(account)s, %(actor)s, %(subject)s, %(address)s, %(details)s
)
on conflict (account, organization, date_trunc('minute', happened_at at time zone 'UTC'))
where action = 'organization.enter' do nothing

-- name: record_at_home
-- Under the organization that the account starts in; under none where it is in none, or where nobody has the address.
insert into store.audit (organization, happened_at, action, account, actor, subject, address, details)
select
    (
        select m.organization
        from store.membership as m
        join store.organization as o on o.id = m.organization
        where m.account = asked.account
        order by o.demo, m.created_at, o.created_at, o.id
        limit 1
    ),
    %(happened_at)s, %(action)s, asked.account, %(actor)s, %(subject)s, %(address)s, %(details)s
from (select %(account)s::uuid as account) as asked

-- name: of_organization
select id, organization, happened_at, action, account, actor, subject, address, details
from app.audit
where (%(before)s::bigint is null or id < %(before)s) and (%(action)s::text is null or action = %(action)s)
order by id desc
limit %(limit)s

-- name: of_deployment
select id, organization, happened_at, action, account, actor, subject, address, details
from store.audit
where (%(before)s::bigint is null or id < %(before)s) and (%(action)s::text is null or action = %(action)s)
order by id desc
limit %(limit)s

-- name: prune
with gone as (delete from store.audit where happened_at < %(before)s returning 1)
select count(*) as pruned from gone
