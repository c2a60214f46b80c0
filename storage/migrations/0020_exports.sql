-- Exports: a manifest each, which says what was asked, how it ended, and how many rows and which bytes it has.

create table store.export (
    organization uuid not null references store.organization on delete cascade,
    id uuid primary key,
    rollup text not null check (length(rollup) between 1 and 100),
    format text not null check (format in ('csv', 'parquet', 'xlsx')),
    -- What was read, with every default put in.
    question json not null,
    columns text[] not null,
    requested_by text not null check (length(requested_by) between 1 and 100),
    as_of timestamptz not null,
    status text not null default 'running' check (status in ('running', 'complete', 'failed')),
    created_at timestamptz not null,
    finished_at timestamptz,
    rows bigint check (rows >= 0),
    bytes bigint check (bytes >= 0),
    sha256 bytea check (length(sha256) = 32),
    error text,
    check ((finished_at is null) = (status = 'running')),
    check ((error is not null) = (status = 'failed')),
    -- Of a file that is not whole there is no checksum to be taken for one.
    check ((rows is not null and bytes is not null and sha256 is not null) = (status = 'complete'))
);
create index on store.export (organization, created_at);
create index on store.export (created_at);
create index export_running on store.export (created_at) where status = 'running';

alter table store.export enable row level security, force row level security;
create policy of_the_organization on store.export
    using (organization = app.organization()) with check (organization = app.organization());
-- The jobs end what was left behind, and delete what is old.
create policy of_the_jobs on store.export to streamgauge_jobs using (true) with check (true);
grant select (status, created_at), update (status, finished_at, error), delete on store.export to streamgauge_jobs;

create view app.export with (security_barrier) as
select
    organization, id, rollup, format, question, columns, requested_by, as_of, status, created_at, finished_at, rows, bytes, sha256,
    error
from store.export where organization = app.organization()
with local check option;
grant select on app.export to streamgauge_api;
grant insert (organization, id, rollup, format, question, columns, requested_by, as_of, created_at) on app.export to streamgauge_api;
grant update (status, finished_at, rows, bytes, sha256, error) on app.export to streamgauge_api;
