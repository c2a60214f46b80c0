-- Schemas, the API's role, organizations and what the organization of a transaction is.

create schema store;
create schema app;

do $$
begin
    create role streamgauge_api nologin;
exception when duplicate_object or unique_violation then
    null;
end
$$;

grant usage on schema app to streamgauge_api;

create table store.organization (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    time_zone text not null default 'UTC',
    demo boolean not null default false,
    created_at timestamptz not null default now()
);

-- The organization that a transaction acts for. It fails closed: no setting, no rows, but an error.
create function app.organization() returns uuid
language plpgsql stable parallel safe as $$
declare
    setting text := current_setting('app.organization', true);
begin
    if setting is null or setting = '' then
        raise exception 'no organization is set for this transaction' using errcode = 'insufficient_privilege';
    end if;
    return setting::uuid;
end
$$;

-- Packed pairs: index * 2^40 + value, sorted. The same layout as aggregators/sketches.py.
create function store.bins_merge(a bigint[], b bigint[]) returns bigint[]
language sql immutable parallel safe as $$
    select case when a is null then b when b is null then a else (
        select array_agg((i << 40) + n order by i)
        from (
            select pair >> 40 as i, sum(pair & 1099511627775)::bigint as n
            from (select unnest(a) as pair union all select unnest(b)) as both_sides
            group by 1
        ) as merged
    ) end
$$;

create function store.registers_merge(a bigint[], b bigint[]) returns bigint[]
language sql immutable parallel safe as $$
    select case when a is null then b when b is null then a else (
        select array_agg(pair order by pair)
        from (
            select max(pair) as pair
            from (select unnest(a) as pair union all select unnest(b)) as both_sides
            group by pair >> 40
        ) as merged
    ) end
$$;
