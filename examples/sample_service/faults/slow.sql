-- turnout: kind=expand
-- Takes @SECONDS@ seconds and changes nothing.

SELECT pg_sleep(@SECONDS@);
