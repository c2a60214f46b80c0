-- Roles of their own for what a process does, row-level security wherever rows belong to an organization, nothing for everybody.

-- streamgauge_api       figures and business rows of the transaction's organization, through views; no base table
-- streamgauge_identity  accounts, memberships, keys, sessions, the audit trail; no event, no rollup, no figure
-- streamgauge_service   how far the log, the feed and the jobs are; no event, no figure, nobody's account
-- streamgauge_sink      counts events: raw events, rollups, ledgers, the feed; nobody's account
-- streamgauge_jobs      housekeeping, standings, recomputation; of identity it may only delete what is over
do $$
declare
    wanted text;
begin
    foreach wanted in array array[
        'streamgauge_api', 'streamgauge_identity', 'streamgauge_service', 'streamgauge_sink', 'streamgauge_jobs'
    ] loop
        begin
            execute format('create role %I nologin', wanted);
        exception when duplicate_object or unique_violation then
            null;
        end;
        -- Whoever migrates may act as each of them: with one URL the service does all of its work so. A superuser may anyway.
        if not (select rolsuper from pg_roles where rolname = current_user) and not exists (
            select from pg_auth_members as m
            where m.roleid = wanted::regrole and m.member = current_user::regrole
            -- From PostgreSQL 16 on a role's maker is a member who may not yet act as it.
            and coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
        ) then
            -- Without inheriting, so that what is not done as one of the roles has none of their rights; PostgreSQL 15 cannot say so.
            execute format(
                case when current_setting('server_version_num')::integer >= 160000
                then 'grant %I to current_user with inherit false, set true' else 'grant %I to current_user' end, wanted
            );
        end if;
    end loop;
end
$$;

-- PostgreSQL 14 and older let everybody make objects there, which a function or a careless search path could meet.
do $$
begin
    revoke create on schema public from public;
exception when insufficient_privilege then
    raise notice 'the right of everybody to create in the schema public is not ours to take';
end
$$;
revoke execute on all functions in schema app, store from public;

grant usage on schema app to streamgauge_identity, streamgauge_service, streamgauge_sink, streamgauge_jobs;
grant usage on schema store to streamgauge_identity, streamgauge_service, streamgauge_sink, streamgauge_jobs;
grant execute on function app.organization() to streamgauge_api, streamgauge_identity, streamgauge_jobs;
revoke execute on function app.feed_tail() from streamgauge_api;
grant execute on function app.feed_tail() to streamgauge_service;

-- Identity -----------------------------------------------------------------------------------------------------------------------------

grant select, insert, update on store.organization to streamgauge_identity;
grant select on store.subscription_tier to streamgauge_identity;
grant select, insert, update, delete on
    store.account, store.membership, store.api_key, store.browser_session, store.sign_in_link, store.stream_ticket,
    store.refresh_family, store.invitation, store.external_subject, store.profile
to streamgauge_identity;
grant execute on function store.external_names(uuid) to streamgauge_identity;
-- A trail that its writer could change would tell nothing.
grant select, insert on store.audit to streamgauge_identity;
grant select on app.profile, app.profile_subject to streamgauge_identity;

-- Whoever is none of the roles below sees the rows of the transaction's organization, and raises without one: a table's owner too.
-- The views of schema app read with their owner's rights, so this stands behind their conditions as well.
alter table store.organization enable row level security, force row level security;
create policy of_the_organization on store.organization
    using (id = app.organization()) with check (id = app.organization());

do $$
declare
    name text;
begin
    foreach name in array array['membership', 'api_key', 'browser_session', 'sign_in_link', 'invitation', 'audit'] loop
        execute format('alter table store.%I enable row level security, force row level security', name);
        execute format(
            'create policy of_the_organization on store.%I'
            ' using (organization = app.organization()) with check (organization = app.organization())', name
        );
    end loop;
    -- Before somebody is known there is no organization to compare with: these are looked up by an address, a prefix or a digest.
    foreach name in array array['organization', 'membership', 'api_key', 'browser_session', 'sign_in_link', 'invitation', 'audit'] loop
        execute format('create policy of_identity on store.%I to streamgauge_identity using (true) with check (true)', name);
    end loop;
    -- Nobody's rows alone, but a person's: an account may be in several organizations. A member's is read through app.member.
    foreach name in array array['account', 'external_subject', 'refresh_family', 'stream_ticket'] loop
        execute format('alter table store.%I enable row level security, force row level security', name);
        execute format('create policy of_identity on store.%I to streamgauge_identity using (true) with check (true)', name);
    end loop;
end
$$;

create policy of_the_members on store.account for select
    using (exists (select from store.membership as m where m.account = id and m.organization = app.organization()));
create policy of_the_members on store.external_subject for select
    using (exists (
        select from store.profile as p where p.account = external_subject.account and p.organization = app.organization()
    ));

-- Housekeeping: what is over is deleted, and found by its time alone.
do $$
declare
    name text;
begin
    foreach name in array array['browser_session', 'sign_in_link', 'stream_ticket', 'refresh_family', 'invitation'] loop
        execute format('grant delete, select (expires_at) on store.%I to streamgauge_jobs', name);
        execute format('create policy of_housekeeping on store.%I to streamgauge_jobs using (true)', name);
    end loop;
end
$$;
grant delete, select (happened_at) on store.audit to streamgauge_jobs;
create policy of_housekeeping on store.audit to streamgauge_jobs using (true);
-- A materialized view is refreshed with its owner's rights, and the boards are computed for every organization there is.
create policy of_the_boards on store.organization for select to current_user using (true);

-- The service itself --------------------------------------------------------------------------------------------------------------------

grant select on store.feed, store.feed_head, store.metric_name, store.rollup, public.streamgauge_migration to streamgauge_service;
grant select, insert, update on store.log_topic, store.log_partition to streamgauge_service;
grant select, insert, update, delete on store.dead_letter to streamgauge_service;
grant select on store.job_run to streamgauge_service;

-- The sink. Its tables of events and rollups: storage/roles.py, which knows their names -------------------------------------------------

grant usage on sequence store.batch_number to streamgauge_sink;
grant select, insert, update, delete on
    store.ledger, store.ledger_slice, store.ledger_page, store.source_sequence, store.feed, store.feed_head, store.watermark,
    store.metric_name, store.video_reaction
to streamgauge_sink;
grant select, insert, update on store.log_topic, store.log_partition, store.dead_letter to streamgauge_sink;
grant select on store.rollup to streamgauge_sink;

-- Jobs -----------------------------------------------------------------------------------------------------------------------------------

grant select, delete on store.feed, store.source_sequence, store.ledger, store.ledger_slice, store.ledger_page to streamgauge_jobs;
grant select on store.feed_head, store.watermark, store.log_topic, store.log_partition to streamgauge_jobs;
grant select, insert, update, delete on
    store.job_run, store.standing_stamp, store.standing_refresh, store.archived_day, store.video_reaction
to streamgauge_jobs;
grant select, update on store.rollup to streamgauge_jobs;

-- Only a table's owner may refresh a materialized view or drop chunks. Both read or remove no more than their callers could anyway.
create function store.refresh_creator_history() returns void
language plpgsql security definer set search_path = store, pg_temp as $$
begin
    refresh materialized view concurrently store.creator_history;
end
$$;

create function store.refresh_creator_ranking() returns void
language plpgsql security definer set search_path = store, pg_temp as $$
begin
    refresh materialized view concurrently store.creator_ranking;
end
$$;

-- Raw events of a kind in chunks that lie within a span of time. TimescaleDB's functions are in public.
create function store.drop_raw_chunks(kind text, since timestamptz, before timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    if kind not in ('system', 'enterprise', 'trade', 'view') then
        raise exception 'there are no events of this kind' using errcode = 'invalid_parameter_value';
    end if;
    perform public.drop_chunks(format('store.%I', 'event_' || kind)::regclass, older_than => before, newer_than => since);
end
$$;

revoke execute on function
    store.refresh_creator_history(), store.refresh_creator_ranking(), store.drop_raw_chunks(text, timestamptz, timestamptz)
from public;
grant execute on function
    store.refresh_creator_history(), store.refresh_creator_ranking(), store.drop_raw_chunks(text, timestamptz, timestamptz)
to streamgauge_jobs;
