"""Recovery in numbers: the record of a restore drill, its arithmetic, its report, its metrics and the release gate."""
