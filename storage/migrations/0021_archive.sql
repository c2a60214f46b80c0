-- The Parquet archive of raw events: a row a file, and what of a day the raw table no longer has.

-- How many of a day's archived rows were dropped from the raw table, and how large its files are. `batch` and `dropped_batch` tell of
-- the newest batch only: batches are numbered before they are written, so a later one may have a lower number. What is archived and what
-- was dropped is therefore counted.
alter table store.archived_day
    add column dropped_rows bigint not null default 0 check (dropped_rows between 0 and rows),
    add column files integer not null default 0,
    add column bytes bigint not null default 0;

-- A file of the archive: raw events of one organization, kind and UTC day. A day has several where events came late. It is written
-- here once the file is durable and was read back; `dropped_at` is when its rows left the raw table: until then they are in both.
create table store.archived_file (
    organization uuid not null,
    kind text not null,
    day date not null,
    path text primary key,
    rows bigint not null check (rows > 0),
    bytes bigint not null check (bytes > 0),
    sha256 text not null check (length(sha256) = 64),
    first_time timestamptz not null,
    last_time timestamptz not null,
    written_at timestamptz not null default now(),
    dropped_at timestamptz,
    foreign key (kind, day) references store.archived_day
);
create index on store.archived_file (kind, day);
create index on store.archived_file (organization, kind, day);

alter table store.archived_file enable row level security, force row level security;
create policy of_the_organization on store.archived_file
    using (organization = app.organization()) with check (organization = app.organization());
create policy of_the_jobs on store.archived_file to streamgauge_jobs using (true) with check (true);
grant select, insert, update on store.archived_file to streamgauge_jobs;

create view app.archived_file with (security_barrier) as
select organization, kind, day, path, rows, bytes, sha256, first_time, last_time, dropped_at is not null as dropped
from store.archived_file where organization = app.organization();
grant select on app.archived_file to streamgauge_api;

-- Who reads raw events of both places shares this lock from before its snapshot on; who drops has it alone at the end. Nothing is in it.
create table store.archive_gate (nothing boolean);
create view app.archive_gate with (security_barrier) as
select nothing from store.archive_gate where app.organization() is not null;
grant select on app.archive_gate to streamgauge_api;
grant select, update on store.archive_gate to streamgauge_jobs;

-- Which folder is this database's (a mark in it says the same), and what the last look found.
create table store.archive_state (
    singleton boolean primary key default true check (singleton),
    identity uuid not null default gen_random_uuid(),
    looked_at timestamptz,
    oldest_waiting date,
    days_waiting integer not null default 0
);
insert into store.archive_state default values;
grant select, update on store.archive_state to streamgauge_jobs;
grant select on store.archive_state, store.archived_day to streamgauge_service;
