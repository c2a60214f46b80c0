-- The creators' ranking by window takes the place of their all-time standings.

-- Under another name (storage/queries/leaderboard.sql): a process of the version before must not take one window's rows for another's.
drop materialized view if exists store.creator_standing cascade;

-- Up to which moment the windows of the last refresh reach: the end of the quarter of an hour in which it began.
alter table store.standing_refresh add column window_end timestamptz not null default '2000-01-01T00:00:00Z';

-- Up to which position of the feed old events are gathered, and for windows that end when; null: it must be done anew.
alter table store.standing_refresh
    add column history_position bigint not null default 0,
    add column history_end timestamptz,
    add column gathered_at timestamptz;

drop function app.standings_read_at();
create function app.standings_refresh() returns table (read_at timestamptz, window_end timestamptz)
language sql stable security definer set search_path = store, pg_temp as $$
    select began_at, window_end from store.standing_refresh
$$;
revoke execute on function app.standings_refresh() from public;
grant execute on function app.standings_refresh() to streamgauge_api;
