-- name: last_of_hosts
-- The last value of every metric of every host heard since %(since)s; at most a few minutes of the finest grain are read.
select distinct on (host, metric) host, metric, last as value, last_time as time
from app."rollup_system_metrics_1m"
where bucket >= date_trunc('minute', %(since)s::timestamptz)
  and last_time >= %(since)s
  and (%(hosts)s::text[] is null or host = any(%(hosts)s::text[]))
  and metric = any(%(metrics)s::text[])
order by host, metric, bucket desc;

-- name: last_of_enterprise
-- The last value ever reported of each metric of the whole organization: one index look-up a metric.
select wanted.metric, found.last as value, found.last_time as time
from unnest(%(metrics)s::text[]) as wanted (metric)
cross join lateral (
    select last, last_time
    from app."rollup_enterprise_metrics_1d" as r
    where r.metric = wanted.metric and r.team_type = ''
    order by r.bucket desc
    limit 1
) as found;

-- name: last_of_enterprise_before
-- The last value that the organization reported of a metric before %(before)s, a quarter of an hour: one index look-up.
select last
from app."rollup_enterprise_metrics_15m"
where metric = %(metric)s and team_type = '' and bucket < %(before)s
order by bucket desc
limit 1;
