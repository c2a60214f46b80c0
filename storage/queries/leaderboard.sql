-- name: define
-- Creators with their score = 100 * W(likes, dislikes) * log10(10 + views); W is the lower bound of the 95 % Wilson score interval
-- (Wilson 1927; z = 1.959963984540054), 0 without likes: there the bound is 0, and rounding must not put it below.
create materialized view store.creator_standing as
with engagement as (
    select organization, creator_id, sum(views) as views, count(distinct video_id) as videos, max(last_active) as last_active
    from store."rollup_video_engagement_1d"
    group by organization, creator_id
),
reactions as (
    select organization, creator_id,
           count(*) filter (where reaction = 'like') as likes,
           count(*) filter (where reaction = 'dislike') as dislikes
    from store.video_reaction
    group by organization, creator_id
)
select organization, creator_id, e.views::bigint as views, e.videos,
       coalesce(r.likes, 0) as likes, coalesce(r.dislikes, 0) as dislikes,
       to_timestamp(e.last_active / 1000000.0) as last_active_at,
       case when coalesce(r.likes, 0) = 0 then 0.0 else
           (r.likes / n + 1.920729410347062 / n
               - 1.959963984540054 * sqrt((r.likes * r.dislikes / n + 0.960364705173531) / n) / sqrt(n))
           / (1 + 3.841458820694124 / n)
       end * 100 * log(10 + e.views)::float8 as score
from engagement e
left join reactions r using (organization, creator_id)
cross join lateral (select (r.likes + r.dislikes)::float8 as n) as total;

create unique index on store.creator_standing (organization, creator_id);
create index on store.creator_standing (organization, score desc, likes desc, creator_id);
create view app.creator_standing with (security_barrier) as
select * from store.creator_standing where organization = app.organization();
grant select on app.creator_standing to streamgauge_api;

-- name: drop
drop materialized view if exists store.creator_standing cascade;

-- name: defined_as
select obj_description(to_regclass('store.creator_standing'), 'pg_class');

-- name: top_creators
-- Ties: more likes, then the smaller creator id.
select row_number() over (order by score desc, likes desc, creator_id) as rank,
       creator_id, views, videos, likes, dislikes, last_active_at, score
from app.creator_standing
order by score desc, likes desc, creator_id
limit %(limit)s;

-- name: creator_figures
-- What the videos of one person came to, who may have several names; no row where nothing is known of any.
select sum(videos)::bigint as videos, sum(likes)::bigint as likes, sum(dislikes)::bigint as dislikes, max(last_active_at) as last_active_at
from app.creator_standing
where creator_id = any(%(creators)s)
having count(*) > 0;

-- name: freshness
-- How far the organization's standings are: what they hold, what there is, and when they were read from the tables.
select coalesce(s.position, 0), coalesce(s.as_of, o.created_at), coalesce(w.position, 0), app.standings_read_at()
from app.organization_profile o
left join app.standing_stamp s on true
left join app.watermark w on w.kind = 'view';

-- name: due
-- Whether view events came since the last refresh, and it is time: two seconds after it began, and it took no more than half of the
-- time since. Two refreshes of unequal length that follow each other take no more than half of the time either.
select w.position > r.position
       and (r.began_at is null
            or clock_timestamp() >= r.began_at + greatest(make_interval(secs => %(interval)s), 2 * r.took))
from store.standing_refresh r
cross join lateral (select coalesce(max(position), 0) as position from store.watermark where kind = 'view') w;

-- name: filled
-- Whether the rollup that the standings are made of holds all events.
select filled or not coalesce(unfilled -> '1d' ?| array['views', 'last_active'], false)
from store.rollup where name = 'video_engagement';

-- name: began
-- Before the refresh: what will be in the standings at least.
with marks as (
    select organization, position, committed_at from store.watermark where kind = 'view'
), stamped as (
    insert into store.standing_stamp as s (organization, position, as_of) select * from marks
    on conflict (organization) do update set position = excluded.position, as_of = excluded.as_of
    where s.position <> excluded.position
)
update store.standing_refresh set position = (select max(position) from marks), began_at = now();

-- name: refresh
refresh materialized view concurrently store.creator_standing;

-- name: done
update store.standing_refresh set took = clock_timestamp() - began_at;
