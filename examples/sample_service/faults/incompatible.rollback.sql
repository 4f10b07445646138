-- The values are gone for good; the column comes back empty.
ALTER TABLE tasks ADD COLUMN IF NOT EXISTS notes text NOT NULL DEFAULT '';
