-- Raw events by kind, and what the sink needs to count each of them once.

create sequence store.batch_number;

create table store.event_system (
    organization uuid not null,
    time timestamptz not null,
    source text collate "C" not null,
    id text collate "C" not null,
    sequence bigint,
    host text collate "C" not null,
    metrics jsonb not null,
    batch bigint not null,
    item integer not null
);

create table store.event_enterprise (
    organization uuid not null,
    time timestamptz not null,
    source text collate "C" not null,
    id text collate "C" not null,
    sequence bigint,
    team_type text collate "C",
    metrics jsonb not null,
    batch bigint not null,
    item integer not null
);

create table store.event_trade (
    organization uuid not null,
    time timestamptz not null,
    source text collate "C" not null,
    id text collate "C" not null,
    sequence bigint,
    trade_id text collate "C" not null,
    user_id text collate "C" not null,
    broker text collate "C" not null,
    symbol text collate "C" not null,
    strategy text collate "C",
    side text collate "C" not null,
    quantity numeric not null,
    entry_price numeric not null,
    exit_price numeric not null,
    fees numeric not null,
    pnl numeric not null,
    currency text collate "C" not null,
    opened_at timestamptz not null,
    batch bigint not null,
    item integer not null
);

create table store.event_view (
    organization uuid not null,
    time timestamptz not null,
    source text collate "C" not null,
    id text collate "C" not null,
    sequence bigint,
    video_id text collate "C" not null,
    creator_id text collate "C" not null,
    user_id text collate "C",
    session_id text collate "C",
    action text collate "C" not null,
    watch_ms bigint,
    batch bigint not null,
    item integer not null
);

-- Events arrive nearly in the order of their time and exactly in the order of their batch: block ranges find both, at no cost
-- worth naming when writing.
create index on store.event_system using brin (time, batch) with (pages_per_range = 32, autosummarize = on);
create index on store.event_enterprise using brin (time, batch) with (pages_per_range = 32, autosummarize = on);
create index on store.event_trade using brin (time, batch) with (pages_per_range = 32, autosummarize = on);
create index on store.event_view using brin (time, batch) with (pages_per_range = 32, autosummarize = on);

-- Identities accepted lately: a row a batch, 16 bytes an event, until they are sealed into a slice.
create table store.ledger (
    number bigint generated always as identity primary key,
    kind text not null,
    accepted_at timestamptz not null default now(),
    hashes bytea not null
);
create index on store.ledger (kind, number);
alter table store.ledger alter column hashes set storage external;

-- A sealed slice of the ledger: a Bloom filter that says no, and sorted pages that say yes.
create table store.ledger_slice (
    kind text not null,
    slice bigint not null,
    last_number bigint not null,
    ids bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    filter bytea not null,
    primary key (kind, slice)
);
alter table store.ledger_slice alter column filter set storage external;

create table store.ledger_page (
    kind text not null,
    slice bigint not null,
    first bytea not null,
    hashes bytea not null,
    primary key (kind, slice, first),
    foreign key (kind, slice) references store.ledger_slice on delete cascade
);
alter table store.ledger_page alter column hashes set storage external;

-- The highest sequence of each source that numbers its events.
create table store.source_sequence (
    organization uuid not null,
    kind text not null,
    source text collate "C" not null,
    sequence bigint not null,
    heard_at timestamptz not null default now(),
    primary key (organization, kind, source)
);

-- The feed: a row for each organization and kind in a batch, in the order of the commits.
create table store.feed (
    position bigint primary key,
    organization uuid not null,
    kind text not null,
    batch bigint not null,
    events integer not null,
    first_time timestamptz not null,
    last_time timestamptz not null,
    committed_at timestamptz not null
);
create index on store.feed (organization, position);

-- How far each organization's data of a kind has come: the commit sequence that freshness and caches rest on.
create table store.watermark (
    organization uuid not null,
    kind text not null,
    position bigint not null,
    committed_at timestamptz not null,
    primary key (organization, kind)
);

create table store.feed_head (
    singleton boolean primary key default true check (singleton),
    position bigint not null
);
insert into store.feed_head (position) values (0);

create table store.metric_name (
    organization uuid not null,
    kind text not null,
    name text collate "C" not null,
    primary key (organization, kind, name)
);

-- One person's current reaction to a video: the latest by (time, id), then source.
create table store.video_reaction (
    organization uuid not null,
    video_id text collate "C" not null,
    viewer text collate "C" not null,
    creator_id text collate "C" not null,
    reaction text,
    time timestamptz not null,
    id text collate "C" not null,
    source text collate "C" not null,
    primary key (organization, video_id, viewer)
) with (fillfactor = 80);
create index on store.video_reaction (organization, creator_id);

-- Which rollups this database holds, what they were declared as, and whether all events before that are in them.
create table store.rollup (
    name text primary key,
    declaration text not null,
    filled boolean not null default true
);

create view app.watermark with (security_barrier) as
select * from store.watermark where organization = app.organization();
create view app.event_system with (security_barrier) as
select * from store.event_system where organization = app.organization();
create view app.event_enterprise with (security_barrier) as
select * from store.event_enterprise where organization = app.organization();
create view app.event_trade with (security_barrier) as
select * from store.event_trade where organization = app.organization();
create view app.event_view with (security_barrier) as
select * from store.event_view where organization = app.organization();
create view app.feed with (security_barrier) as
select * from store.feed where organization = app.organization();
create view app.source_sequence with (security_barrier) as
select * from store.source_sequence where organization = app.organization();
create view app.video_reaction with (security_barrier) as
select * from store.video_reaction where organization = app.organization();
create view app.organization_profile with (security_barrier) as
select * from store.organization where id = app.organization();

grant select on all tables in schema app to streamgauge_api;
