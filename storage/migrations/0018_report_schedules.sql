-- Reports by schedule: when one is due, that each due time made one run at most, and what became of handing it over.

create table store.report_schedule (
    organization uuid not null references store.organization on delete cascade,
    id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    type text not null check (length(type) between 1 and 40),
    format text not null check (format in ('json', 'pdf', 'excel')),
    -- Five fields of cron, read in the zone: a local time, whatever clocks do.
    cron text not null check (length(cron) between 1 and 200),
    tz text not null check (length(tz) between 1 and 64),
    -- Which days a report is of, seen from the day on which it is due.
    days text not null check (length(days) between 1 and 40),
    -- What narrows it, as the job that makes it reads it; `own` as in report_run.
    parameters json not null,
    own text[],
    -- Whom it is handed to: [{"kind": "mail"|"webhook"|"store", …}].
    recipients json not null,
    -- Signs what is posted to webhooks.
    secret bytea not null check (length(secret) = 32),
    paused boolean not null default false,
    created_by text not null check (length(created_by) between 1 and 100),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Due times up to here are decided, or never were any: its making, a change of its times, the end of a pause, the last due time.
    since timestamptz not null,
    -- The first due time after that, by which the schedules that are due are found; none while it is paused.
    next_at timestamptz,
    -- Why it was paused, where nobody did so on purpose.
    paused_reason text check (length(paused_reason) <= 500),
    check (not paused or next_at is null),
    check (paused or paused_reason is null)
);
create index on store.report_schedule (organization, created_at desc, id desc);
create index on store.report_schedule (created_by, organization);
create index report_schedule_due on store.report_schedule (next_at) where next_at is not null;

-- A due time of a schedule, by its local time: there is one row, and one run at most, however often it is fired.
create table store.report_due (
    organization uuid not null references store.organization on delete cascade,
    schedule uuid not null references store.report_schedule on delete cascade,
    period timestamp not null,
    due_at timestamptz not null,
    status text not null check (status in ('made', 'missed')),
    -- Why it was missed.
    reason text check (length(reason) <= 500),
    run uuid references store.report_run on delete set null,
    noted_at timestamptz not null,
    primary key (schedule, period)
);
create index on store.report_due (organization, schedule, period desc);
create index on store.report_due (noted_at);

alter table store.report_run
    add column schedule uuid references store.report_schedule on delete set null,
    add column period timestamp,
    -- As the schedule's were when it was due: whoever is added later does not get it.
    add column recipients json;
create unique index report_run_of_period on store.report_run (schedule, period) where schedule is not null;

-- Handing a finished run to one recipient: once, or again with the same key where nobody can know whether it arrived.
create table store.report_delivery (
    organization uuid not null references store.organization on delete cascade,
    id uuid primary key,
    run uuid not null references store.report_run on delete cascade,
    -- Its place among the run's recipients: with the run it is the key that a receiver knows a repeat by.
    place smallint not null check (place >= 0),
    recipient json not null,
    status text not null default 'waiting' check (status in ('waiting', 'delivered', 'dead', 'cancelled')),
    attempts smallint not null default 0,
    -- Not before this moment.
    next_at timestamptz not null,
    error text check (length(error) <= 500),
    delivered_at timestamptz,
    -- Who hands it over and until when that is believed without another word.
    claimed_by uuid,
    lease timestamptz,
    created_at timestamptz not null,
    unique (run, place),
    check ((delivered_at is not null) = (status = 'delivered'))
);
create index report_delivery_waiting on store.report_delivery (next_at) where status = 'waiting';
create index on store.report_delivery (organization, run);

do $$
declare
    name text;
begin
    foreach name in array array['report_schedule', 'report_due', 'report_delivery'] loop
        execute format('alter table store.%I enable row level security, force row level security', name);
        execute format(
            'create policy of_the_organization on store.%I using (organization = app.organization())'
            ' with check (organization = app.organization())', name);
        execute format('create policy of_the_jobs on store.%I to streamgauge_jobs using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on store.%I to streamgauge_jobs', name);
    end loop;
end
$$;
grant insert on store.report_run to streamgauge_jobs;

-- Who is not in the organization any more, may see less than before, or lost the key: what they had sent is not sent on, unless
-- somebody who may decides so. Whoever changes memberships, accounts and keys sees of schedules whose they are.
grant select (organization, created_by, paused_reason), update (paused, paused_reason, next_at, updated_at)
    on store.report_schedule to streamgauge_identity;
create policy of_identity on store.report_schedule to streamgauge_identity using (true) with check (true);

create function store.pause_report_schedules(wanted uuid, maker text, reason text) returns void
language sql set search_path = store, pg_temp as $$
    -- Whoever makes or changes one under this name at the same time has done so before, or looks at the rights after.
    select pg_advisory_xact_lock(hashtextextended('report_schedule ' || maker, 0));
    update store.report_schedule
    set paused = true, paused_reason = reason, next_at = null, updated_at = clock_timestamp()
    where created_by = maker and (wanted is null or organization = wanted) and paused_reason is null
$$;

create function store.membership_changed() returns trigger language plpgsql set search_path = store, pg_temp as $$
begin
    if tg_op = 'DELETE' then
        perform store.pause_report_schedules(
            old.organization, 'account:' || old.account, 'who made it is not in the organization any more');
    elsif old.role = 'owner' and new.role <> 'owner' then
        perform store.pause_report_schedules(
            old.organization, 'account:' || old.account, 'who made it does not own the organization any more');
    end if;
    return null;
end
$$;
create trigger pause_report_schedules after delete or update of role on store.membership
    for each row execute function store.membership_changed();

create function store.account_disabled() returns trigger language plpgsql set search_path = store, pg_temp as $$
begin
    perform store.pause_report_schedules(null, 'account:' || new.id, 'the account of who made it is disabled');
    return null;
end
$$;
create trigger pause_report_schedules after update of disabled_at on store.account
    for each row when (old.disabled_at is null and new.disabled_at is not null) execute function store.account_disabled();

create function store.api_key_revoked() returns trigger language plpgsql set search_path = store, pg_temp as $$
begin
    perform store.pause_report_schedules(new.organization, 'key:' || new.prefix, 'the API key that made it is revoked');
    return null;
end
$$;
create trigger pause_report_schedules after update of revoked_at on store.api_key
    for each row when (old.revoked_at is null and new.revoked_at is not null) execute function store.api_key_revoked();

revoke execute on function
    store.pause_report_schedules(uuid, text, text), store.membership_changed(), store.account_disabled(), store.api_key_revoked()
from public;
grant execute on function store.pause_report_schedules(uuid, text, text) to streamgauge_identity;

create view app.report_schedule with (security_barrier) as
select
    organization, id, name, type, format, cron, tz, days, parameters, own, recipients, secret, paused, created_by, created_at,
    updated_at, since, next_at, paused_reason
from store.report_schedule where organization = app.organization()
with local check option;
grant select, insert, delete on app.report_schedule to streamgauge_api;
grant update (
    name, type, format, cron, tz, days, parameters, own, recipients, secret, paused, created_by, updated_at, since, next_at, paused_reason
) on app.report_schedule to streamgauge_api;

create view app.report_due with (security_barrier) as
select organization, schedule, period, due_at, status, reason, run, noted_at
from store.report_due where organization = app.organization();
grant select on app.report_due to streamgauge_api;

create view app.report_delivery with (security_barrier) as
select organization, id, run, place, recipient, status, attempts, next_at, error, delivered_at, created_at
from store.report_delivery where organization = app.organization();
grant select on app.report_delivery to streamgauge_api;

-- What is asked for on demand has its own bound: reports that schedules make do not count for it.
create or replace view app.report_run with (security_barrier) as
select
    organization, id, type, parameters, own, format, requested_by, digest, status, created_at, started_at, finished_at,
    error, error_status, summary, artefact, content_type, file_name, size, sha256, schedule, period
from store.report_run where organization = app.organization()
with local check option;

-- What is done to schedules is told in the audit trail by the transaction that does it: the API's role may add that, and nothing else.
create view app.report_schedule_audit with (security_barrier) as
select id, organization, happened_at, action, account, actor, subject, address, details
from store.audit where organization = app.organization() and action in ('schedule.create', 'schedule.change', 'schedule.delete')
with local check option;
grant select on app.report_schedule_audit to streamgauge_api;
grant insert (organization, happened_at, action, account, actor, subject, address, details)
    on app.report_schedule_audit to streamgauge_api;
