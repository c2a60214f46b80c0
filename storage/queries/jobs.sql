-- When the scheduler's jobs last ran.

-- name: expect
insert into store.job_run as r (job, every) values (%(job)s, make_interval(secs => %(every)s))
on conflict (job) do update set every = excluded.every;

-- name: forget
delete from store.job_run where not job = any(%(jobs)s);

-- name: ran
insert into store.job_run (job, every, ran_at) values (%(job)s, make_interval(secs => %(every)s), now())
on conflict (job) do update set every = excluded.every, ran_at = excluded.ran_at, problem = null;

-- name: failed
insert into store.job_run (job, every, failed_at, problem)
values (%(job)s, make_interval(secs => %(every)s), now(), %(problem)s)
on conflict (job) do update set every = excluded.every, failed_at = excluded.failed_at, problem = excluded.problem;

-- name: list
-- Ages are the database's to tell: its clock stamped the runs.
select job, extract(epoch from every)::double precision as every_s, ran_at,
    extract(epoch from now() - ran_at)::double precision as age_s, failed_at, problem
from store.job_run
order by job;
