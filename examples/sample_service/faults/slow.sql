-- turnout: kind=expand
-- Takes @SECONDS@ seconds and changes nothing.

DO 'BEGIN PERFORM pg_sleep(@SECONDS@); END';
