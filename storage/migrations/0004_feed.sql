-- Where the feed begins: cursors before it cannot be continued.

create function app.feed_tail() returns bigint
language sql stable security definer set search_path = store, pg_temp as $$
    select coalesce((select min(position) from store.feed), (select position + 1 from store.feed_head), 0)
$$;
revoke execute on function app.feed_tail() from public;
grant execute on function app.feed_tail() to streamgauge_api;
grant execute on function app.organization() to streamgauge_api;
