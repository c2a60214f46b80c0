-- name: top_creators
-- Creators by score = 100 * W(likes, dislikes) * log10(10 + views); W is the lower bound of the 95 %% Wilson score interval
-- (Wilson 1927; z = 1.959963984540054), 0 without likes: there the bound is 0, and rounding must not put it below. Ties: more likes, then the smaller creator id.
with engagement as (
    select creator_id, sum(views) as views, count(distinct video_id) as videos, max(last_active) as last_active
    from app."rollup_video_engagement_1d"
    group by creator_id
),
reactions as (
    select creator_id,
           count(*) filter (where reaction = 'like') as likes,
           count(*) filter (where reaction = 'dislike') as dislikes
    from app.video_reaction
    group by creator_id
),
scored as (
    select e.creator_id, e.views::bigint as views, e.videos,
           coalesce(r.likes, 0) as likes, coalesce(r.dislikes, 0) as dislikes,
           to_timestamp(e.last_active / 1000000.0) as last_active_at,
           case when coalesce(r.likes, 0) = 0 then 0.0 else
               (r.likes / n + 1.920729410347062 / n
                   - 1.959963984540054 * sqrt((r.likes * r.dislikes / n + 0.960364705173531) / n) / sqrt(n))
               / (1 + 3.841458820694124 / n)
           end * 100 * log(10 + e.views)::float8 as score
    from engagement e
    left join reactions r using (creator_id)
    cross join lateral (select (r.likes + r.dislikes)::float8 as n) as total
)
select row_number() over (order by score desc, likes desc, creator_id) as rank, scored.*
from scored
order by rank
limit %(limit)s;
