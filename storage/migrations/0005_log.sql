-- Kafka as the log: how many partitions a kind's topic has, and how far each of them was counted.

-- `previous`: the numbers of partitions it had before; what was counted then is known by ledgers of those numbers.
-- `draining_since`: no events are taken until the log is empty and the number is raised.
create table store.log_topic (
    kind text primary key,
    partitions integer not null check (partitions > 0),
    previous integer[] not null default '{}',
    draining_since timestamptz
);

-- `next_offset` is moved in the transaction that counts the events before it, by the one worker that knows `epoch`.
-- `appended_at` is when the last record before it was appended, where the broker stamps the records.
-- `fresh_until`: whatever was appended before is counted. `seen_at`: when its owner last looked at it.
create table store.log_partition (
    kind text not null references store.log_topic,
    partition integer not null,
    next_offset bigint not null default 0,
    epoch bigint not null default 0,
    owner text,
    moved_at timestamptz not null default now(),
    appended_at timestamptz,
    fresh_until timestamptz not null default now(),
    seen_at timestamptz,
    primary key (kind, partition)
) with (fillfactor = 50);

-- A record that was passed without being counted. Its value is in the dead-letter topic.
create table store.dead_letter (
    kind text not null,
    partition integer not null,
    log_offset bigint not null,
    organization text,
    reason text not null,
    dead_at timestamptz not null default now(),
    replayed_at timestamptz,
    primary key (kind, partition, log_offset)
);
create index on store.dead_letter (dead_at);
