-- turnout: kind=expand
-- Half of it works, then it fails: nothing of it may remain.

CREATE TABLE half_done (id bigint PRIMARY KEY);

SELECT 1 / 0;
