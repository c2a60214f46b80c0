-- Deliveries are tried again when somebody asks for it, and what went wrong for good is told as an event.

alter table store.report_delivery
    -- How often it was given up: another time is another alert.
    add column deaths smallint not null default 0,
    add column dead_at timestamptz;

-- Whoever sees a delivery that was given up may have it tried again, with the same key; how it ends only the jobs write.
grant update (status, attempts, next_at, error) on app.report_delivery to streamgauge_api;

-- What is to be told as an event of the organization: written with what it tells of, gone once the event is accepted.
create table store.report_alert (
    organization uuid not null references store.organization on delete cascade,
    -- The event's id: told twice, it counts once.
    key text primary key check (length(key) between 1 and 200),
    metric text not null check (length(metric) between 1 and 100),
    happened_at timestamptz not null
);
create index on store.report_alert (happened_at, key);

alter table store.report_alert enable row level security, force row level security;
create policy of_the_organization on store.report_alert
    using (organization = app.organization()) with check (organization = app.organization());
create policy of_the_jobs on store.report_alert to streamgauge_jobs using (true) with check (true);
grant select, insert, update, delete on store.report_alert to streamgauge_jobs;
