-- Sketches become bytes (aggregators/sketch_bytes.py): a quarter of the size to store, to send and to merge.
-- What is stored is converted where it stands, so that no percentile has to be read from raw events again.

create function pg_temp.varint(number bigint) returns bytea
language sql immutable as $$
    select string_agg(
        set_byte('\x00', 0, (number >> shift & 127)::integer | case when number >> shift > 127 then 128 else 0 end),
        '' order by shift
    )
    from generate_series(0, 42, 7) as shift
    where shift = 0 or number >> shift > 0
$$;

create function pg_temp.sketch_bytes(pairs bigint[]) returns bytea
language sql immutable as $$
    select string_agg(
        case
            when before is not null then pg_temp.varint(index - before)
            when index < 0 then '\x00'::bytea || pg_temp.varint(-2 * index)
            else '\x00'::bytea || pg_temp.varint(2 * index + 1)
        end || pg_temp.varint(value),
        '' order by index
    )
    from (
        select pair >> 40 as index, pair & 1099511627775 as value, lag(pair >> 40) over (order by pair) as before
        from unnest(pairs) as pair
    ) as unpacked
$$;

do $$
declare
    held record;
begin
    for held in
        select t.relname as name, string_agg(
            format('alter column %1$I type bytea using pg_temp.sketch_bytes(%1$I)', a.attname), ', ' order by a.attnum
        ) as changes
        from pg_class as t join pg_attribute as a on a.attrelid = t.oid
        where t.relnamespace = 'store'::regnamespace and t.relkind in ('r', 'p') and t.relname like 'rollup\_%'
            and a.atttypid = 'bigint[]'::regtype and not a.attisdropped
        group by t.relname
    loop
        -- A column that a view reads keeps its type, so the organization's view is made anew.
        execute format('drop view if exists app.%I', held.name);
        execute format('alter table store.%I %s', held.name, held.changes);
        execute format(
            'create view app.%1$I with (security_barrier) as select * from store.%1$I where organization = app.organization()',
            held.name
        );
        execute format('grant select on app.%I to streamgauge_api', held.name);
    end loop;
end
$$;

drop function store.bins_merge(bigint[], bigint[]);
drop function store.registers_merge(bigint[], bigint[]);
