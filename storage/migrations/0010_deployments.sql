-- Deployments as OpsSight lists them; and when the scheduler's jobs last ran.

create table store.deployment (
    organization uuid not null references store.organization on delete cascade,
    id uuid not null default gen_random_uuid(),
    service text collate "C" not null check (length(service) between 1 and 200),
    version text collate "C" not null check (length(version) between 1 and 100),
    environment text collate "C" not null check (length(environment) between 1 and 100),
    status text not null check (status in ('pending', 'running', 'succeeded', 'failed', 'rolled_back')),
    started_at timestamptz not null,
    finished_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (organization, id),
    check (finished_at >= started_at),
    check ((finished_at is null) = (status in ('pending', 'running')))
);
create index on store.deployment (organization, started_at desc, id desc);

alter table store.deployment enable row level security;
alter table store.deployment force row level security;
create policy own_rows on store.deployment
    using (organization = app.organization()) with check (organization = app.organization());

create view app.deployment with (security_barrier) as
select * from store.deployment where organization = app.organization()
with local check option;
grant select, insert, update on app.deployment to streamgauge_api;

-- A row a job. `ran_at`: when it last came to its end; `failed_at`: when it last could not; `every`: how often it is due.
create table store.job_run (
    job text primary key,
    every interval not null,
    ran_at timestamptz,
    failed_at timestamptz,
    problem text
);
