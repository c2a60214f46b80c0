-- Days of raw events that the archive holds, the leaderboard's freshness, and how far a rollup is filled.

-- A day of a kind (UTC) in the archive: of its raw events all whose batch is at most `batch`, `rows` of them. Whoever archives writes
-- it once the files are durable, and raises both when late events were appended. `dropped_batch` is up to where they were dropped
-- from the raw table; it is null as long as the raw table has the whole day.
create table store.archived_day (
    kind text not null,
    day date not null,
    rows bigint not null check (rows >= 0),
    batch bigint not null,
    archived_at timestamptz not null default now(),
    dropped_batch bigint,
    dropped_at timestamptz,
    primary key (kind, day)
);

-- What the creators' standings were computed from: the feed position of each organization's newest view event that is in them.
create table store.standing_stamp (
    organization uuid primary key,
    position bigint not null,
    as_of timestamptz not null
);
create view app.standing_stamp with (security_barrier) as
select * from store.standing_stamp where organization = app.organization();
grant select on app.standing_stamp to streamgauge_api;

create table store.standing_refresh (
    singleton boolean primary key default true check (singleton),
    position bigint not null default 0,
    began_at timestamptz,
    took interval not null default '0'
);
insert into store.standing_refresh default values;
create function app.standings_read_at() returns timestamptz
language sql stable security definer set search_path = store, pg_temp as $$
    select began_at from store.standing_refresh
$$;
revoke execute on function app.standings_read_at() from public;
grant execute on function app.standings_read_at() to streamgauge_api;

-- By grain, a fingerprint of each measure as it was declared; and by grain the measures that do not hold all events yet, with how
-- far the filling has come: the last day done, the days done and the days there are.
alter table store.rollup
    add column measures jsonb not null default '{}',
    add column unfilled jsonb not null default '{}',
    add column filled_to date,
    add column days_done integer not null default 0,
    add column days integer not null default 0;

-- What the API asks before it reads a rollup; a row a rollup that is not filled, which is none nearly always.
create function app.unfilled(wanted text) returns table (unfilled jsonb, days_done integer, days integer)
language sql stable security definer set search_path = store, pg_temp as $$
    select r.unfilled, r.days_done, r.days from store.rollup r where r.name = wanted and not r.filled
$$;
revoke execute on function app.unfilled(text) from public;
grant execute on function app.unfilled(text) to streamgauge_api;
