-- Kafka as the log: partitions, their positions and owners, dead letters.

-- name: move_positions
with wanted as (
    select * from unnest(
        %(kinds)s::text[], %(partitions)s::integer[], %(epochs)s::bigint[], %(expected)s::bigint[], %(next)s::bigint[],
        %(appended)s::timestamptz[]
    ) as w (kind, partition, epoch, expected, next, appended)
), held as materialized (
    select p.kind, p.partition, w.next, w.appended
    from store.log_partition as p join wanted as w using (kind, partition)
    where p.epoch = w.epoch and p.next_offset = w.expected
    order by p.kind, p.partition
    for update of p
)
update store.log_partition as p
set next_offset = h.next,
    moved_at = case when h.next = p.next_offset then p.moved_at else clock_timestamp() end,
    appended_at = coalesce(h.appended, p.appended_at),
    fresh_until = greatest(p.fresh_until, h.appended),
    seen_at = clock_timestamp()
from held as h
where (p.kind, p.partition) = (h.kind, h.partition)
returning p.kind, p.partition

-- name: register_topic
insert into store.log_topic (kind, partitions) values (%(kind)s, %(partitions)s) on conflict (kind) do nothing

-- name: register_partitions
insert into store.log_partition (kind, partition)
select t.kind, n from store.log_topic as t, generate_series(0, t.partitions - 1) as n
on conflict (kind, partition) do nothing

-- name: topics
select kind, partitions, draining_since is not null as draining from store.log_topic order by kind

-- name: claim
with held as materialized (
    select p.kind, p.partition from store.log_partition as p
    join unnest(%(kinds)s::text[], %(partitions)s::integer[]) as w (kind, partition) using (kind, partition)
    join store.log_topic as t on t.kind = p.kind and p.partition < t.partitions
    order by p.kind, p.partition
    for update of p
)
update store.log_partition as p set epoch = p.epoch + 1, owner = %(owner)s, seen_at = clock_timestamp()
from held as h, store.log_topic as t
where (p.kind, p.partition) = (h.kind, h.partition) and t.kind = p.kind
returning p.kind, p.partition, t.partitions, p.epoch, p.next_offset, p.appended_at

-- name: owners
select p.kind, p.partition, p.owner, p.epoch, p.next_offset from store.log_partition as p
join unnest(%(kinds)s::text[], %(partitions)s::integer[]) as w (kind, partition) using (kind, partition)

-- name: skip
update store.log_partition set next_offset = %(next)s, moved_at = clock_timestamp()
where kind = %(kind)s and partition = %(partition)s and epoch = %(epoch)s and next_offset = %(expected)s

-- name: tell_fresh
update store.log_partition as p
set fresh_until = greatest(p.fresh_until, w.fresh), seen_at = clock_timestamp()
from unnest(%(kinds)s::text[], %(partitions)s::integer[], %(epochs)s::bigint[], %(fresh)s::timestamptz[])
    as w (kind, partition, epoch, fresh)
where (p.kind, p.partition, p.epoch) = (w.kind, w.partition, w.epoch)
returning p.kind, p.partition

-- name: release
update store.log_partition set owner = null where owner = %(owner)s

-- name: progress
select p.kind, p.partition, p.next_offset, p.owner, p.fresh_until,
    extract(epoch from clock_timestamp() - p.moved_at)::double precision as moved_ago,
    extract(epoch from clock_timestamp() - p.seen_at)::double precision as seen_ago
from store.log_partition as p join store.log_topic as t using (kind) where p.partition < t.partitions
order by p.kind, p.partition

-- name: bury
insert into store.dead_letter (kind, partition, log_offset, organization, reason)
select * from unnest(%(kinds)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(organizations)s::text[],
    %(reasons)s::text[])
on conflict (kind, partition, log_offset)
do update set organization = excluded.organization, reason = excluded.reason, dead_at = now(), replayed_at = null

-- name: dead_letters
select kind, partition, log_offset, organization, reason, dead_at, replayed_at from store.dead_letter
where (%(reason)s::text is null or position(lower(%(reason)s) in lower(reason)) > 0)
    and (%(replayed)s or replayed_at is null)
order by dead_at desc, kind, partition, log_offset desc
limit %(limit)s

-- name: count_dead_letters
select count(*) filter (where replayed_at is null), count(*) filter (where replayed_at is not null),
    count(*) filter (where dead_at > now() - interval '10 minutes')
from store.dead_letter

-- name: mark_replayed
update store.dead_letter as d set replayed_at = now()
from unnest(%(kinds)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[]) as w (kind, partition, log_offset)
where (d.kind, d.partition, d.log_offset) = (w.kind, w.partition, w.log_offset)

-- name: begin_draining
update store.log_topic set draining_since = coalesce(draining_since, now()) where kind = %(kind)s
returning partitions, extract(epoch from clock_timestamp() - draining_since)::double precision

-- name: end_draining
update store.log_topic set draining_since = null where kind = %(kind)s

-- name: raise_count
update store.log_topic
set previous = case when partitions = any(previous) then previous else previous || partitions end, partitions = %(count)s
where kind = %(kind)s and partitions < %(count)s

-- name: fence_all
update store.log_partition set epoch = epoch + 1 where kind = %(kind)s

-- name: prune_dead_letters
delete from store.dead_letter where dead_at < now() - make_interval(days => %(days)s)

-- name: prune_retired_ledgers
delete from store.ledger as l using store.log_topic as t
where l.kind like t.kind || '/%%' and l.kind not like '%%/' || t.partitions::text
    and l.accepted_at < now() - make_interval(hours => %(hours)s)

-- name: prune_retired_slices
delete from store.ledger_slice as l using store.log_topic as t
where l.kind like t.kind || '/%%' and l.kind not like '%%/' || t.partitions::text
    and l.last_at < now() - make_interval(hours => %(hours)s)
