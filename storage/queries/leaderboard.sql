-- name: define_history
-- What was done with each video up to `live_from`, a midnight between 24 and 48 hours before the windows end, by slice of time. It
-- changes only when the windows move on, or when an event comes that is older than that: so the ranking need not gather it every time.
--
-- Time is cut at the ends of the windows and of the windows before them. Each slice is a bit: 1 is all before 60 days ago, 64 the last
-- 24 hours, 128 what is ahead. A window is some of these bits, so one reading serves all boards.
create view store.standing_edge as
select window_end, date_bin('1 day', window_end - interval '24 hours', '2000-01-01T00:00:00Z') as live_from,
       -- Hours, not days, which depend on the session's zone.
       array(
           select window_end - make_interval(hours => hours) from unnest(array[1440, 720, 336, 168, 48, 24, 0]) as hours
           order by hours desc
       ) as cuts,
       array(
           select date_bin('1 day', window_end - make_interval(hours => hours), '2000-01-01T00:00:00Z')
           from unnest(array[1440, 720, 336, 168, 48]) as hours
       ) as days
from store.standing_refresh;

create materialized view store.creator_history as
with edge as materialized (
    select * from store.standing_edge
),
-- Whole days, and the quarters of an hour of the days that an edge cuts.
acted as (
    select organization, creator_id, video_id, bucket, views, last_active
    from store."rollup_video_engagement_1d"
    where bucket < (select live_from from edge) and bucket <> all ((select days from edge)::timestamptz[])
    union all
    select r.organization, r.creator_id, r.video_id, r.bucket, r.views, r.last_active
    from edge
    cross join unnest(days) as day
    cross join store.organization as o
    join store."rollup_video_engagement_15m" as r
        on r.organization = o.id and r.bucket >= day and r.bucket < day + interval '24 hours' and r.bucket < live_from
)
select organization, creator_id, video_id, 1 << width_bucket(bucket, (select cuts from edge)) as slice,
       sum(views)::bigint as views, max(last_active) as last_active
from acted
group by 1, 2, 3, 4;

create unique index on store.creator_history (organization, creator_id, video_id, slice);

-- name: define
-- A row for each creator on each board (all, 24h, 7d, 30d), which is whoever acted or was acted upon in the window.
--
-- score = 100 * W(likes, dislikes) * log10(10 + views), rounded to 6 decimals before anything is compared; W is the lower bound of the
-- 95 % Wilson score interval (Wilson 1927; z = 1.959963984540054), 0 without likes: there the bound is 0, and rounding must not put it
-- below.
create materialized view store.creator_ranking as
with edge as materialized (
    select * from store.standing_edge
),
of_video as materialized (
    select organization, creator_id, video_id, slice, views, last_active
    from store.creator_history
    union all
    select organization, creator_id, video_id, 1 << width_bucket(bucket, (select cuts from edge)), sum(views)::bigint, max(last_active)
    from store.organization as o
    join store."rollup_video_engagement_15m" as r on r.organization = o.id and r.bucket >= (select live_from from edge)
    group by 1, 2, 3, 4
),
reacted as (
    select organization, creator_id, 1 << width_bucket(time, (select cuts from edge)) as slice,
           count(*) filter (where reaction = 'like') as likes, count(*) filter (where reaction = 'dislike') as dislikes
    from store.video_reaction
    group by 1, 2, 3
),
-- What adds up (of `slice`), and how many videos there are of each combination of slices.
part as (
    select organization, creator_id, slice as slices, sum(views)::bigint as views, max(last_active) as last_active,
           0::bigint as videos, 0::bigint as likes, 0::bigint as dislikes
    from of_video
    group by 1, 2, 3
    union all
    -- A video counts once in a window, in however many slices something was done with it.
    select organization, creator_id, slices, 0, null, count(*), 0, 0
    from (
        select organization, creator_id, bit_or(slice) as slices from of_video group by organization, creator_id, video_id
    ) as video
    group by 1, 2, 3
    union all
    select organization, creator_id, slice, 0, null, 0, likes, dislikes from reacted
),
-- Filters, where a join of parts and windows would be shorter and take twice the time.
creator as (
    select organization, creator_id,
           sum(views) as all_views, sum(likes) as all_likes, sum(dislikes) as all_dislikes,
           sum(videos) as all_videos, max(last_active) as all_active,
           sum(views) filter (where day) as day_views, sum(likes) filter (where day) as day_likes,
           sum(dislikes) filter (where day) as day_dislikes, max(last_active) filter (where day) as day_active,
           sum(videos) filter (where day) as day_videos,
           sum(views) filter (where day_before) as day_before_views, sum(likes) filter (where day_before) as day_before_likes,
           sum(dislikes) filter (where day_before) as day_before_dislikes, max(last_active) filter (where day_before) as day_before_active,
           sum(views) filter (where week) as week_views, sum(likes) filter (where week) as week_likes,
           sum(dislikes) filter (where week) as week_dislikes, max(last_active) filter (where week) as week_active,
           sum(videos) filter (where week) as week_videos,
           sum(views) filter (where week_before) as week_before_views, sum(likes) filter (where week_before) as week_before_likes,
           sum(dislikes) filter (where week_before) as week_before_dislikes,
           max(last_active) filter (where week_before) as week_before_active,
           sum(views) filter (where month) as month_views, sum(likes) filter (where month) as month_likes,
           sum(dislikes) filter (where month) as month_dislikes, max(last_active) filter (where month) as month_active,
           sum(videos) filter (where month) as month_videos,
           sum(views) filter (where month_before) as month_before_views, sum(likes) filter (where month_before) as month_before_likes,
           sum(dislikes) filter (where month_before) as month_before_dislikes,
           max(last_active) filter (where month_before) as month_before_active
    from part
    cross join lateral (
        select slices & 64 <> 0 as day, slices & 32 <> 0 as day_before,
               slices & (64 | 32 | 16) <> 0 as week, slices & 8 <> 0 as week_before,
               slices & (64 | 32 | 16 | 8 | 4) <> 0 as month, slices & 2 <> 0 as month_before
    ) as within
    group by 1, 2
),
figures as (
    select organization, creator_id, board, past, views::bigint as views, likes::bigint as likes, dislikes::bigint as dislikes,
           videos::bigint as videos, last_active
    from creator
    cross join lateral (values
        ('all', false, all_views, all_likes, all_dislikes, all_videos, all_active),
        ('24h', false, day_views, day_likes, day_dislikes, day_videos, day_active),
        ('24h', true, day_before_views, day_before_likes, day_before_dislikes, null, day_before_active),
        ('7d', false, week_views, week_likes, week_dislikes, week_videos, week_active),
        ('7d', true, week_before_views, week_before_likes, week_before_dislikes, null, week_before_active),
        ('30d', false, month_views, month_likes, month_dislikes, month_videos, month_active),
        ('30d', true, month_before_views, month_before_likes, month_before_dislikes, null, month_before_active)
    ) as shown (board, past, views, likes, dislikes, videos, last_active)
    where last_active is not null
),
scored as (
    select organization, board, past, creator_id, views, videos, likes, dislikes, last_active,
           round(case when likes = 0 then 0.0 else
               (likes / n + 1.920729410347062 / n
                   - 1.959963984540054 * sqrt((likes * dislikes / n + 0.960364705173531) / n) / sqrt(n))
               / (1 + 3.841458820694124 / n)
           end * 1e8::float8 * log((10 + views)::float8)) / 1e6::float8 as score
    from figures
    cross join lateral (select (likes + dislikes)::float8 as n) as total
    offset 0 -- computed once a row, and not in every comparison of the sort
),
ranked as (
    select *, row_number() over (partition by organization, board, past order by score desc, likes desc, creator_id) as rank
    from scored
),
-- Not a join of the ranking with itself, for which nothing is known of its size, so that it may be planned as a loop in a loop.
with_previous as (
    select *, max(case when past then rank end) over (partition by organization, board, creator_id) as previous_rank
    from ranked
)
select organization, board, creator_id, rank, previous_rank, score, views, videos, likes, dislikes,
       to_timestamp(last_active / 1000000.0) as last_active_at
from with_previous
where not past;

create unique index on store.creator_ranking (organization, board, creator_id);
create index on store.creator_ranking (organization, board, rank);
create view app.creator_ranking with (security_barrier) as
select * from store.creator_ranking where organization = app.organization();
grant select on app.creator_ranking to streamgauge_api;

-- name: drop
drop materialized view if exists store.creator_ranking cascade;
drop materialized view if exists store.creator_history cascade;
drop view if exists store.standing_edge cascade;

-- name: defined_as
select obj_description(to_regclass('store.creator_ranking'), 'pg_class');

-- name: ranked
-- A page of a board.
select rank, previous_rank, creator_id, score, views, likes, dislikes, videos, last_active_at
from app.creator_ranking
where board = %(board)s and rank > %(offset)s and rank <= %(offset)s + %(limit)s
order by rank;

-- name: around
-- As many creators before one as behind, and with an even number one more behind; moved where the board begins or ends.
with last as (
    select rank from app.creator_ranking where board = %(board)s order by rank desc limit 1
),
page as (
    select greatest(0, least(one.rank - 1 - (%(limit)s - 1) / 2, last.rank - %(limit)s)) as first
    from app.creator_ranking as one, last
    where one.board = %(board)s and one.creator_id = %(around)s
)
select r.rank, previous_rank, creator_id, score, views, likes, dislikes, videos, last_active_at
from page
join app.creator_ranking r on r.board = %(board)s and r.rank > page.first and r.rank <= page.first + %(limit)s
order by r.rank;

-- name: creator_figures
-- What the videos of one person came to, who may have several names; no row where nothing is known of any.
select sum(videos)::bigint as videos, sum(likes)::bigint as likes, sum(dislikes)::bigint as dislikes, max(last_active_at) as last_active_at
from app.creator_ranking
where board = 'all' and creator_id = any(%(creators)s)
having count(*) > 0;

-- name: freshness
-- How far the organization's boards are: what they hold, what there is, when they were read from the tables, and where windows end.
select coalesce(s.position, 0), coalesce(s.as_of, o.created_at), coalesce(w.position, 0), r.read_at, r.window_end
from app.organization_profile o
cross join app.standings_refresh() as r
left join app.standing_stamp s on true
left join app.watermark w on w.kind = 'view';

-- name: due
-- Whether view events came since the last refresh, or there are some and another quarter of an hour began; and it is time: two seconds
-- after it began, and it took no more than half of the time since. Two refreshes of unequal length that follow each other take no more
-- than half of the time either.
select w.position > 0
       and (w.position > r.position or r.window_end <> date_bin('15 minutes', now.at, '2000-01-01T00:00:00Z') + interval '15 minutes')
       and (r.began_at is null
            or clock_timestamp() >= r.began_at + greatest(make_interval(secs => %(interval)s), 2 * r.took))
from store.standing_refresh r
cross join lateral (select coalesce(max(position), 0) as position from store.watermark where kind = 'view') w
cross join lateral (select coalesce(%(now)s::timestamptz, clock_timestamp()) as at) as now;

-- name: filled
-- Whether the rollup that the boards are made of holds all events.
select filled or not coalesce(
    unfilled -> '1d' ?| array['views', 'last_active'] or unfilled -> '15m' ?| array['views', 'last_active'], false
)
from store.rollup where name = 'video_engagement';

-- name: began
-- Before the refresh: what will be on the boards at least.
with marks as (
    select organization, position, committed_at from store.watermark where kind = 'view'
), stamped as (
    insert into store.standing_stamp as s (organization, position, as_of) select * from marks
    on conflict (organization) do update set position = excluded.position, as_of = excluded.as_of
    where s.position <> excluded.position
)
update store.standing_refresh
set position = (select coalesce(max(position), 0) from marks), began_at = now(),
    window_end = date_bin('15 minutes', coalesce(%(now)s::timestamptz, now()), '2000-01-01T00:00:00Z') + interval '15 minutes';

-- name: history_due
-- After `began`, so that no event is taken to be in it that came between the two: why the history must be gathered anew, or null.
select case
    when r.history_end is distinct from r.window_end then 'moved'
    when exists (
        select from store.feed f
        where f.kind = 'view' and f.position > r.history_position and f.first_time < e.live_from
    ) then 'late'
end
from store.standing_refresh r cross join store.standing_edge e;

-- name: refresh_history
-- The owner's to do: see migration 0016.
select store.refresh_creator_history();

-- name: history_done
-- When windows move on, four times an hour, the time for that does not count in the pace: who waits for the next refresh has waited
-- long enough.
update store.standing_refresh
set history_position = position, history_end = window_end,
    gathered_at = case when history_end is distinct from window_end then clock_timestamp() else gathered_at end;

-- name: history_unknown
-- Rows of the rollup were replaced: nobody can say what the history has of them.
update store.standing_refresh set history_end = null where history_end is not null;

-- name: refresh
select store.refresh_creator_ranking();

-- name: done
update store.standing_refresh set took = clock_timestamp() - greatest(began_at, gathered_at);
