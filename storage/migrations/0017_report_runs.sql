-- Reports on demand: a row a run, from the request to the finished file.

create table store.report_run (
    organization uuid not null references store.organization on delete cascade,
    id uuid primary key,
    type text not null check (length(type) between 1 and 40),
    -- Which days and what narrows them, as the job that makes it reads them; `own` are the names of the one member whose trades
    -- alone may be in it, null for whoever may see all.
    parameters json not null,
    own text[],
    format text not null check (format in ('json', 'pdf', 'excel')),
    requested_by text not null check (length(requested_by) between 1 and 100),
    -- What makes two requests the same one.
    digest bytea not null check (length(digest) = 32),
    status text not null default 'queued' check (status in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    error text,
    error_status smallint check (error_status between 400 and 599),
    -- json, not jsonb: the order of the figures and every digit stay as they were written.
    summary json,
    artefact bytea,
    content_type text,
    file_name text,
    size bigint check (size = length(artefact)),
    sha256 bytea check (length(sha256) = 32),
    -- Who makes it and until when that is believed without another word.
    claimed_by uuid,
    lease timestamptz,
    attempts smallint not null default 0,
    check ((finished_at is null) = (status in ('queued', 'running'))),
    check ((error is not null) = (status = 'failed')),
    check ((error_status is not null) = (status = 'failed')),
    check ((artefact is not null and summary is not null and content_type is not null and file_name is not null
            and size is not null and sha256 is not null) = (status = 'succeeded')),
    check ((claimed_by is not null and lease is not null and started_at is not null) or status <> 'running')
);
-- A file is compressed already, or is not worth it.
alter table store.report_run alter column artefact set storage external;
create index on store.report_run (organization, created_at desc, id desc);
create index on store.report_run (created_at);
create index report_run_waiting on store.report_run (created_at, id) where status in ('queued', 'running');
create unique index report_run_in_flight on store.report_run (organization, digest) where status in ('queued', 'running');

alter table store.report_run enable row level security, force row level security;
-- The API's role has its organization's rows; the jobs make the reports of all.
create policy of_the_organization on store.report_run
    using (organization = app.organization()) with check (organization = app.organization());
create policy of_the_jobs on store.report_run to streamgauge_jobs using (true) with check (true);
grant select, update, delete on store.report_run to streamgauge_jobs;

create view app.report_run with (security_barrier) as
select
    organization, id, type, parameters, own, format, requested_by, digest, status, created_at, started_at, finished_at,
    error, error_status, summary, artefact, content_type, file_name, size, sha256
from store.report_run where organization = app.organization()
with local check option;
-- The API asks and cancels; what a run comes to only the jobs write.
grant select on app.report_run to streamgauge_api;
grant insert (organization, id, type, parameters, own, format, requested_by, digest, created_at)
    on app.report_run to streamgauge_api;
grant update (status, finished_at) on app.report_run to streamgauge_api;
