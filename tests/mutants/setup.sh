#!/bin/bash
# Installs the mutation tester into an environment of its own, .cache/mutants, where it is not there: its packages are
# no business of the project's. Hashes are checked; what has to be built is built with what the lock names.
set -euo pipefail
cd "$(dirname "$0")/../.."
wanted=$(sha256sum tests/mutants/requirements.lock | cut -d' ' -f1)
[ "$(cat .cache/mutants/.lock 2>/dev/null || true)" = "$wanted" ] && exit 0
echo "installing the mutation tester into .cache/mutants"
rm -rf .cache/mutants
.venv/bin/python -m venv .cache/mutants
pip=(.cache/mutants/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation)
awk '/^setuptools==/{on=1} /^[a-z]/&&!/^setuptools==/{on=0} on' tests/mutants/requirements.lock >.cache/mutants/build.lock
"${pip[@]}" -r .cache/mutants/build.lock
"${pip[@]}" -r tests/mutants/requirements.lock
echo "$wanted" >.cache/mutants/.lock
