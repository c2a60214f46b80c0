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
    fresh_until = greatest(p.fresh_until, h.appended)
from held as h
where (p.kind, p.partition) = (h.kind, h.partition)
returning p.kind, p.partition
