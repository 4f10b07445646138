DROP TABLE IF EXISTS users, tasks, static_data, jobs_enqueued, job_runs, jobs_done, scheduler_enqueues;
