"""The service file: what a team writes so that Turnout can run and release its service.

`load` turns the `service:` variable of an inventory into a `Service`, or raises one error that lists every fault.
"""

from turnout.service.load import as_json, load, read_json
from turnout.service.model import (
    COLORS,
    Api,
    Bucket,
    Environment,
    Guard,
    Health,
    HttpAccess,
    Migrate,
    Releases,
    S3Access,
    Scheduler,
    Service,
    SmokeTest,
    Step,
    Worker,
)

__all__ = [
    "COLORS",
    "Api",
    "Bucket",
    "Environment",
    "Guard",
    "Health",
    "HttpAccess",
    "Migrate",
    "Releases",
    "S3Access",
    "Scheduler",
    "Service",
    "SmokeTest",
    "Step",
    "Worker",
    "as_json",
    "load",
    "read_json",
]
