-- What is told as an event of an organization is numbered: ids are known for hours, numbers for ever.
-- A process of before this migration tells alerts by their ids only: one that it tells while a newer process runs may count twice.

create sequence store.report_alert_number;
grant usage on sequence store.report_alert_number to streamgauge_jobs;

alter table store.report_alert
    -- The event's sequence. It is given when an alert is first claimed, not when it is written: transactions commit in another order
    -- than they write in, and what commits late with a low number would pass for known.
    add column number bigint unique,
    -- Until when a process is telling it.
    add column lease timestamptz;
