-- People of other issuers, what an account tells of itself, and profiles.

-- name: lock_subject
-- First requests of one person meet here, so that one of them makes the account.
select pg_advisory_xact_lock(hashtextextended(%(issuer)s || E'\n' || %(subject)s, 7205759403792794))

-- name: find_link
select account, email, told_at from store.external_subject where issuer = %(issuer)s and subject = %(subject)s

-- name: create_person
insert into store.account (name) values (%(name)s) returning id

-- name: create_link
insert into store.external_subject (issuer, subject, account, email, told_at)
values (%(issuer)s, %(subject)s, %(account)s, %(email)s, %(told_at)s)

-- name: update_link
-- The newest token's word counts, whatever order they are sent in.
update store.external_subject set email = %(email)s, told_at = %(told_at)s
where issuer = %(issuer)s and subject = %(subject)s and (told_at is null or told_at < %(told_at)s)

-- name: find_details
select a.id, coalesce(a.email, x.email) as email, a.name, a.created_at, a.updated_at
from store.account as a
cross join lateral store.external_names(a.id) as x
where a.id = %(account)s

-- name: rename_account
update store.account set name = %(name)s, updated_at = now() where id = %(account)s

-- name: act_for
select set_config('app.organization', %(organization)s, true)

-- name: create_profile
insert into store.profile (organization, account, username, avatar_url)
values (%(organization)s, %(account)s, %(username)s, %(avatar_url)s)
on conflict do nothing

-- name: change_profile
-- What is not given stays.
update store.profile
set username = coalesce(%(username)s, username),
    avatar_url = case when %(avatar_given)s then %(avatar_url)s else avatar_url end,
    updated_at = %(now)s, last_active_at = %(now)s
where organization = %(organization)s and account = %(account)s

-- name: find_profile
-- An array, because a subquery in the condition would not be pushed below the barrier view: all of its rows would be read.
select account, username, avatar_url, created_at, updated_at, last_active_at, subjects
from app.profile
where account = any(
    %(account)s::uuid || array(select s.account from app.profile_subject as s where s.subject = %(id)s)
)
order by account = %(account)s::uuid desc nulls last, account
limit 1

-- name: usernames
select account::text, username from app.profile where account = any(%(accounts)s::uuid[])
union all
select subject, username from app.profile_subject where subject = any(%(ids)s::text[])
