-- turnout: kind=expand
-- sample: since=1.1.0
-- A default makes it an expansion: version 1.0.0, which does not name the column, writes on unhindered.

ALTER TABLE tasks ADD COLUMN IF NOT EXISTS priority smallint NOT NULL DEFAULT 0;
