-- How far a report's run is, for who watches it.

-- Of a run that is being made: what its maker is at, and how much of that is done, where it can tell. A maker of before this
-- migration says nothing of either.
alter table store.report_run add column step text check (step in ('reading', 'rendering', 'storing'));
alter table store.report_run add column fraction real check (fraction between 0 and 1);

create view app.report_step with (security_barrier) as
select organization, id, step, fraction from store.report_run where organization = app.organization();
grant select on app.report_step to streamgauge_api;
