-- The archive's books: which files there are, which of their rows left the raw table, and what still waits.

-- name: files
select organization, kind, day, path, rows, bytes, sha256, first_time, last_time, dropped_at is not null as dropped
from store.archived_file
where kind = %(kind)s and day >= %(first)s and day < %(last)s
order by day, organization, written_at, path

-- name: own_files
select organization, kind, day, path, rows, bytes, sha256, first_time, last_time, dropped
from app.archived_file
where kind = %(kind)s and day >= %(first)s and day < %(last)s and dropped
order by day, path

-- name: every_file
select organization, kind, day, path, rows, bytes, sha256, first_time, last_time, dropped_at is not null as dropped
from store.archived_file
order by kind, day, path

-- name: add_file
insert into store.archived_file (organization, kind, day, path, rows, bytes, sha256, first_time, last_time)
values (%(organization)s, %(kind)s, %(day)s, %(path)s, %(rows)s, %(bytes)s, %(sha256)s, %(first_time)s, %(last_time)s)

-- name: add_to_day
insert into store.archived_day as d (kind, day, rows, batch, files, bytes)
values (%(kind)s, %(day)s, %(rows)s, %(batch)s, %(files)s, %(bytes)s)
on conflict (kind, day) do update set
    rows = d.rows + excluded.rows, batch = greatest(d.batch, excluded.batch), archived_at = now(),
    files = d.files + excluded.files, bytes = d.bytes + excluded.bytes

-- name: dropped_days
-- Days of which rows left the raw table, and how many of these the files hold.
select d.day, d.dropped_rows, coalesce(sum(f.rows), 0)::bigint
from store.archived_day as d
left join store.archived_file as f on f.kind = d.kind and f.day = d.day and f.dropped_at is not null
where d.kind = %(kind)s and d.dropped_batch is not null and d.day >= %(first)s and d.day < %(last)s
group by d.day, d.dropped_rows
order by d.day

-- name: droppable_days
select day from store.archived_day where kind = %(kind)s and day < %(before)s and rows > dropped_rows order by day

-- name: lock_day
select rows - dropped_rows from store.archived_day where kind = %(kind)s and day = %(day)s for update

-- name: mark_day_dropped
update store.archived_day set dropped_batch = batch, dropped_rows = rows, dropped_at = now()
where kind = %(kind)s and day = %(day)s

-- name: mark_files_dropped
update store.archived_file set dropped_at = now() where kind = %(kind)s and day = %(day)s and dropped_at is null

-- name: days
select kind, day, rows, files, bytes, dropped_rows, archived_at, dropped_at from store.archived_day order by day, kind

-- name: identity
select identity, exists (select from store.archived_day where files > 0) from store.archive_state

-- name: looked
update store.archive_state set looked_at = now(), oldest_waiting = %(oldest)s, days_waiting = %(waiting)s

-- name: totals
select
    (select count(*) from store.archived_day), (select coalesce(sum(rows), 0)::bigint from store.archived_day),
    (select coalesce(sum(bytes), 0)::bigint from store.archived_day), looked_at, oldest_waiting, days_waiting
from store.archive_state
