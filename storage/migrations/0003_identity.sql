-- Who may ask: accounts, their organizations, API keys, browser sessions and one-time sign-in links.

create table store.account (
    id uuid primary key default gen_random_uuid(),
    email text not null,
    name text,
    password_hash text not null,
    deployment_admin boolean not null default false,
    created_at timestamptz not null default now()
);
create unique index on store.account (lower(email));

create table store.membership (
    account uuid not null references store.account on delete cascade,
    organization uuid not null references store.organization on delete cascade,
    role text not null check (role in ('owner', 'member')),
    primary key (account, organization)
);

-- A key is shown once; what is kept is its prefix, to find it by, and its SHA-256.
create table store.api_key (
    id uuid primary key default gen_random_uuid(),
    organization uuid not null references store.organization on delete cascade,
    name text not null,
    prefix text not null unique,
    digest bytea not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

create table store.browser_session (
    digest bytea primary key,
    account uuid not null references store.account on delete cascade,
    organization uuid not null references store.organization on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

create table store.sign_in_link (
    digest bytea primary key,
    account uuid not null references store.account on delete cascade,
    organization uuid not null references store.organization on delete cascade,
    expires_at timestamptz not null
);

create table store.stream_ticket (
    digest bytea primary key,
    principal jsonb not null,
    expires_at timestamptz not null
);
