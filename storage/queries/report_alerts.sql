-- Alerts that wait to be told: claimed by one process at a time, in the order of their numbers.

-- name: alone
-- Until the transaction ends nobody else gives numbers: a higher one is given when all lower ones can be seen.
select pg_advisory_xact_lock(hashtextextended('report_alert', 0));

-- name: claim
update store.report_alert
set number = coalesce(number, nextval('store.report_alert_number')), lease = clock_timestamp() + make_interval(secs => %(lease_s)s)
where key in (select key from store.report_alert order by number nulls last, happened_at, key limit %(limit)s)
  and not exists (select from store.report_alert where lease > clock_timestamp())
returning organization, key, metric, happened_at, number;

-- name: release
update store.report_alert set lease = null where key = any(%(keys)s);

-- name: forget
delete from store.report_alert where key = any(%(keys)s);
