-- Accounts of one's own: what a subscription allows, refresh tokens, invitations, the use of keys, and the audit trail.

-- Null is no limit. The figures of `basic` are those of ModelCompare's organizations table.
create table store.subscription_tier (
    name text primary key,
    max_users integer check (max_users > 0),
    max_models integer check (max_models >= 0),
    max_comparisons_per_month integer check (max_comparisons_per_month >= 0)
);
insert into store.subscription_tier (name, max_users, max_models, max_comparisons_per_month) values
('free', 3, 10, 100),
('basic', 10, 100, 1000),
('starter', 10, 100, 1000),
('pro', 50, 500, 10000),
('elite', 200, 2000, 100000),
('enterprise', null, null, null);

-- The organizations that are there had no limits and keep none.
alter table store.organization
    add column subscription_tier text not null default 'enterprise' references store.subscription_tier,
    add column max_users integer check (max_users > 0),
    add column max_models integer check (max_models >= 0),
    add column max_comparisons_per_month integer check (max_comparisons_per_month >= 0),
    add column updated_at timestamptz not null default now();

alter table store.account
    add column plan text not null default 'free',
    add column disabled_at timestamptz;

alter table store.membership add column created_at timestamptz not null default now();
create index on store.membership (organization, created_at, account);

alter table store.api_key
    add column created_by uuid references store.account on delete set null,
    add column last_used_at timestamptz;
create index on store.api_key (organization, created_at, id);

-- A family is a sign-in. A token names its family and is good while its digest stands here: one that was used before does not.
create table store.refresh_family (
    id uuid primary key,
    account uuid not null references store.account on delete cascade,
    digest bytea not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz
);
create index on store.refresh_family (account);
create index on store.refresh_family (expires_at);

create table store.invitation (
    id uuid primary key default gen_random_uuid(),
    digest bytea not null unique,
    organization uuid not null references store.organization on delete cascade,
    email text not null,
    role text not null check (role in ('owner', 'member')),
    invited_by uuid references store.account on delete set null,
    created_at timestamptz not null,
    expires_at timestamptz not null
);
-- To invite somebody again replaces the invitation that they have.
create unique index invitation_once on store.invitation (organization, lower(email));
create index on store.invitation (expires_at);

-- What was done, by whom, to what, from where. It outlives accounts and organizations, so it refers to none.
create table store.audit (
    id bigint generated always as identity primary key,
    organization uuid,
    happened_at timestamptz not null,
    action text not null,
    account uuid,
    actor text,
    subject text,
    address text,
    details jsonb not null default '{}'
);
create index on store.audit (organization, id desc);
create index on store.audit using brin (happened_at);
create unique index audit_enter_once_a_minute
on store.audit (account, organization, date_trunc('minute', happened_at at time zone 'UTC'))
where action = 'organization.enter';

-- What the API's role may read of an organization: no digests, and nobody's password.
create view app.member with (security_barrier) as
select m.organization, m.account, a.email, a.name, m.role, m.created_at, a.disabled_at is not null as disabled
from store.membership as m
join store.account as a on a.id = m.account
where m.organization = app.organization();

create view app.invitation with (security_barrier) as
select id, organization, email, role, invited_by, created_at, expires_at
from store.invitation
where organization = app.organization();

create view app.api_key with (security_barrier) as
select id, organization, name, prefix, scopes, created_at, created_by, last_used_at, revoked_at
from store.api_key
where organization = app.organization();

create view app.audit with (security_barrier) as
select * from store.audit where organization = app.organization();

grant select on app.member, app.invitation, app.api_key, app.audit to streamgauge_api;
