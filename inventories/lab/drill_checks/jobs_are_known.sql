-- Whatever was done was asked for before.
SELECT job_id FROM jobs_done WHERE NOT EXISTS (SELECT FROM jobs_enqueued e WHERE e.job_id = jobs_done.job_id)
