#!/bin/sh
# Before any package is installed ($1 is the root): PostgreSQL's package would make and start a cluster of its own.
# add_include_dir stays on: conf.d is where roles put settings.
set -eu
mkdir -p "$1/etc/postgresql-common"
printf '%s\n' 'create_main_cluster = false' 'add_include_dir = on' >"$1/etc/postgresql-common/createcluster.conf"
