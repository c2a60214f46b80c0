-- People who sign in with another issuer (Auth0, Supabase), and the profiles by which an organization's people know each other.

-- An account that another issuer vouches for has no password here, and no address to sign in with: an e-mail address says who
-- somebody is only to the issuer that asked for it, so that nobody enters another's account by having, or claiming, the same one.
alter table store.account
    alter column email drop not null,
    alter column password_hash drop not null,
    add column if not exists updated_at timestamptz not null default now();
update store.account set updated_at = created_at;

-- Whom an issuer calls by that name. `email` is what the newest token seen says (of `told_at`): data, by which nobody is found.
create table store.external_subject (
    issuer text collate "C" not null,
    subject text collate "C" not null,
    account uuid not null references store.account on delete cascade,
    email text,
    told_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (issuer, subject)
);
create index on store.external_subject (account);
create index on store.external_subject (subject);

-- What other issuers say of an account: one row, the names that events may have for the person in it.
create function store.external_names(wanted uuid) returns table (email text, subjects text[])
language sql stable parallel safe as $$
    select min(s.email), coalesce(array_agg(s.subject order by s.issuer, s.subject), '{}')
    from store.external_subject as s
    where s.account = wanted
$$;

create table store.profile (
    organization uuid not null references store.organization on delete cascade,
    account uuid not null references store.account on delete cascade,
    username text not null check (username <> ''),
    avatar_url text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_active_at timestamptz,
    primary key (organization, account)
);
create unique index on store.profile (organization, lower(username));
alter table store.profile enable row level security, force row level security;
create policy of_the_organization on store.profile
    using (organization = app.organization()) with check (organization = app.organization());

create view app.profile with (security_barrier) as
select p.account, p.username, p.avatar_url, p.created_at, p.updated_at, p.last_active_at,
       array(select s.subject from store.external_subject as s where s.account = p.account order by s.issuer, s.subject) as subjects
from store.profile as p
where p.organization = app.organization();

-- By the name that an issuer, and so an event, has for somebody.
create view app.profile_subject with (security_barrier) as
select s.subject, p.account, p.username
from store.profile as p
join store.external_subject as s on s.account = p.account
where p.organization = app.organization();

grant select on app.profile, app.profile_subject to streamgauge_api;
