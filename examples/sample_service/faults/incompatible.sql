-- turnout: kind=contract
-- Versions without the feature `no-notes` read and write this column: they cannot run on the result.

ALTER TABLE tasks DROP COLUMN IF EXISTS notes;
