-- Exports' manifests: first those of the organization of the transaction, then what the jobs do for all of them.

-- name: begin
insert into app.export (organization, id, rollup, format, question, columns, requested_by, as_of, created_at)
values (
    app.organization(), %(id)s, %(rollup)s, %(format)s, %(question)s::json, %(columns)s, %(requested_by)s, %(as_of)s, %(created_at)s
);

-- name: complete
update app.export
set status = 'complete', finished_at = greatest(created_at, %(now)s), rows = %(rows)s, bytes = %(size)s, sha256 = %(sha256)s
where id = %(id)s and status = 'running'
returning id;

-- name: fail
update app.export set status = 'failed', finished_at = greatest(created_at, %(now)s), error = %(error)s
where id = %(id)s and status = 'running';

-- name: one
select
    id, rollup, format, question::text as question, columns, requested_by, as_of, status, created_at, finished_at, rows,
    bytes as size, sha256, error
from app.export
where id = %(id)s;

-- name: abandon
update store.export set status = 'failed', finished_at = greatest(created_at, %(now)s), error = %(error)s
where status = 'running' and created_at < %(before)s;

-- name: prune
delete from store.export where created_at < %(before)s;
