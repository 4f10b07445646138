#!/bin/bash
# Sets up a bare Debian or Ubuntu machine: system packages, the Python environment in .venv, the lab's image.
# What is there already is left alone, so the second run takes about a second. Needs root or sudo where packages
# are missing, and never asks a question.
#
#   scripts/setup.sh             all of it
#   scripts/setup.sh --no-image  without the lab's image (for work that needs no lab)
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive
exec </dev/null

started=$SECONDS
say() { printf '[setup %3d s] %s\n' "$((SECONDS - started))" "$*"; }
# fail CODE OBSERVED EXPECTED REMEDY: the same four lines as every other error of this project.
fail() {
    printf 'error[%s]: %s\n  expected: %s\n  to mend:  %s\n' "$@" >&2
    exit 2
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail setup-needs-root "this user is not root and there is no sudo" \
            "root or sudo, to install system packages and to run the lab's hosts" \
            "run it as root, or as root first: apt-get install sudo"
    fi
}

# One set-up of a clone at a time; the kernel gives the lock back however this ends.
mkdir -p .cache
exec 9>.cache/setup.lock
if ! flock --nonblock 9; then
    say "another set-up is at work in this folder: waiting for it"
    flock 9
fi

# -- system packages ---------------------------------------------------------------------------------------------

missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
    done
}

apt_updated=no
apt_update() {
    if [ "$apt_updated" = no ]; then
        say "apt-get update"
        as_root apt-get update -qq 9>&-
        apt_updated=yes
    fi
}

apt_install() {
    apt_update
    say "apt-get install $*"
    # A set-up that was killed while packages were being installed has left some of them half done.
    as_root dpkg --configure -a >.cache/apt.log 2>&1 9>&- || true
    # Another program may be installing at this moment, on a fresh machine usually its own updates.
    as_root env DEBIAN_FRONTEND="$DEBIAN_FRONTEND" apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" >>.cache/apt.log 2>&1 9>&- || {
        tail -n 20 .cache/apt.log >&2
        fail setup-packages "apt-get could not install: $*" "these packages from the machine's own sources" \
            "mend what the lines above name, then: make setup"
    }
}

system_packages() {
    command -v apt-get >/dev/null || fail setup-system "this machine has no apt-get" "Debian 12 or newer, or Ubuntu 24.04 or newer" \
        "run it in a virtual machine with Debian"
    local wanted=(
        ca-certificates git make openssh-client openssl umoci zstd # the project
        podman netavark nftables iptables iproute2 mmdebstrap debian-archive-keyring gpg mount # the lab
    )
    # crun, podman's usual runtime, cannot run systemd where cgroups are not v2 alone.
    [ "$(stat --file-system --format=%T /sys/fs/cgroup)" = cgroup2fs ] || wanted+=(runc)
    local missing
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    if [ "${#missing[@]}" -gt 0 ]; then
        apt_install "${missing[@]}"
    fi
    say "system packages are there"
}

# -- Python ------------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; }

# Whether `python -m venv` works: Debian keeps what it needs in a package of its own.
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.14 python3 \
        "$HOME"/.pyenv/versions/3.13.*/bin/python3 "$HOME"/.pyenv/versions/3.12.*/bin/python3 \
        "$HOME"/.pyenv/versions/3.14.*/bin/python3; do
        # sys.executable, not the name: a pyenv shim is a script that answers differently in other folders.
        if new_enough "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    if uv --version >/dev/null 2>&1; then
        uv python find --no-python-downloads '>=3.12' 2>/dev/null && return 0
    fi
    return 1
}

install_python() {
    local version
    apt_update
    for version in 3.13 3.12 3.14; do
        if apt-cache show "python$version-venv" >/dev/null 2>&1; then
            apt_install "python$version" "python$version-venv"
            return 0
        fi
    done
    if ! uv --version >/dev/null 2>&1; then
        # The system's Python is too old for Turnout but good enough to bring uv, which brings a newer one.
        apt_install python3 python3-venv
        bootstrap_uv /usr/bin/python3
    fi
    say "uv python install 3.13"
    uv python install --quiet 3.13 9>&- || true
}

# uv installs the environment in seconds, pip in a minute.
bootstrap_uv() {
    uv --version >/dev/null 2>&1 && return 0
    if [ ! -x .cache/uv/bin/uv ]; then
        rm -rf .cache/uv
        say "installing uv into .cache/uv"
        "$1" -m venv .cache/uv
        .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
            -r scripts/bootstrap.lock 9>&- || { rm -rf .cache/uv; return 1; }
    fi
    PATH="$PWD/.cache/uv/bin:$PATH"
}

python_environment() {
    # The stamp is written last and lies inside: a half-made or a deleted environment has none.
    local stamp=.venv/.turnout-setup wanted
    wanted=$(sha256sum requirements.lock scripts/build.lock pyproject.toml galaxy.yml scripts/setup.sh | sha256sum | cut -d' ' -f1)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $PWD" ] && new_enough .venv/bin/python; then
        say "Python environment is there: $(.venv/bin/python --version)"
        return 0
    fi

    local python
    if ! python=$(find_python); then
        say "no Python 3.12 or newer here: looking for one to install"
        install_python
        python=$(find_python) || fail setup-python \
            "no Python 3.12 or newer on PATH, in ~/.pyenv, in apt's sources or from uv" "Python 3.12, 3.13 or 3.14" \
            "install one (pyenv install 3.13, or Debian 13, or Ubuntu 24.04), then: make setup"
    fi
    say "using $python ($("$python" --version))"

    if ! uv --version >/dev/null 2>&1 && [ ! -x .cache/uv/bin/uv ] && ! has_venv "$python"; then
        apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    fi
    local uv=yes
    bootstrap_uv "$python" || { uv=no; say "uv cannot be had: going on with pip"; }

    if ! new_enough .venv/bin/python; then
        rm -rf .venv
        if [ "$uv" = yes ]; then uv venv --quiet --python "$python" .venv; else "$python" -m venv .venv; fi
    fi
    # What builds Turnout itself runs on this machine as well: without isolation it is what the lock names, where a build
    # in an environment of its own would fetch the newest of everything unchecked.
    say "installing the packages of requirements.lock and scripts/build.lock (hashes checked)"
    if [ "$uv" = yes ]; then
        # Compiled once, as pip does it: else each process compiles what it imports where none may write it down.
        uv pip install --quiet --python .venv/bin/python --compile-bytecode --require-hashes \
            -r requirements.lock -r scripts/build.lock 9>&-
        uv pip install --quiet --python .venv/bin/python --no-build-isolation --no-deps --editable . 9>&-
    else
        .venv/bin/python -m ensurepip >/dev/null 2>&1 || true
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
            -r requirements.lock -r scripts/build.lock 9>&-
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable . 9>&-
    fi
    .venv/bin/turnout --version >/dev/null
    .venv/bin/ansible-doc --type callback turnout.ops.turnout >/dev/null 2>&1 9>&- || fail setup-collection \
        "Ansible does not find the collection turnout.ops" "the links in scripts/ansible_collections, which git keeps" \
        "git checkout scripts/ansible_collections, then: make setup"
    # Building the sample's releases needs one of uv and pip, also where somebody works without make.
    # Where that link was found first on PATH, it must not lead to itself.
    if [ "$uv" = yes ]; then ln -sf "$(readlink -f "$(command -v uv)")" .venv/bin/uv; fi
    echo "$wanted $PWD" >"$stamp"
    say "Python environment is ready"
}

# -- programs of the servers -------------------------------------------------------------------------------------

# For tests that need the real program and no lab: of rules, of alert routing, of the judge's reader, of what moves
# traffic. Unpacked rather than installed: the packages would start servers on this machine.
server_programs() {
    local name missing=() libraries folder=$PWD/.cache/servers
    for name in prometheus promtool amtool haproxy mtail redis-server; do
        [ -x ".venv/bin/$name" ] || missing+=("$name")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        say "HAProxy's, mtail's, Prometheus' and Redis' programs are there"
        return 0
    fi
    apt_update
    say "unpacking ${missing[*]} into .cache/servers"
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && apt-get download -qq prometheus prometheus-alertmanager haproxy mtail redis-server redis-tools >../apt.log 2>&1 9>&-) || {
        tail -n 20 .cache/apt.log >&2
        fail setup-servers "apt-get could not download prometheus, prometheus-alertmanager, haproxy, mtail and redis-server" \
            "these packages from the machine's own sources" "mend what the lines above name, then: make setup"
    }
    for name in "$folder"/*.deb; do
        dpkg-deb --extract "$name" "$folder"
    done
    # The libraries that HAProxy and Redis (its server is in redis-tools) were built with; they start nothing.
    mapfile -t libraries < <(for name in "$folder"/haproxy_*.deb "$folder"/redis-tools_*.deb; do
        dpkg-deb --field "$name" Depends
    done | tr ',' '\n' | grep -oE '^ *lib[^ |(]+' | tr -d ' ' | sort -u)
    mapfile -t libraries < <(missing_packages "${libraries[@]}")
    if [ "${#libraries[@]}" -gt 0 ]; then
        apt_install "${libraries[@]}"
    fi
    ln -sf "$folder/usr/bin/prometheus" "$folder/usr/bin/promtool" "$folder/usr/bin/amtool" "$folder/usr/sbin/haproxy" \
        "$folder/usr/bin/mtail" "$folder/usr/bin/redis-server" .venv/bin/
    .venv/bin/haproxy -v >/dev/null
    .venv/bin/redis-server --version >/dev/null
}

# -- a browser ---------------------------------------------------------------------------------------------------

# The tests of the reports read them in a real one. Where it cannot be had all else still works, so it is no failure here.
browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then
            say "a browser is there: $name"
            return 0
        fi
    done
    apt_update
    if apt-cache show chromium >/dev/null 2>&1; then
        apt_install chromium fonts-dejavu-core
    else
        say "no browser: apt has no chromium here. Tests of the HTML reports need one: install chromium or google-chrome"
    fi
}

# -- all of it ---------------------------------------------------------------------------------------------------

system_packages
python_environment
server_programs
browser
if [ "${1:-}" != --no-image ]; then
    # It says itself how far it is, and does nothing where the image of this recipe is there.
    .venv/bin/turnout lab image 9>&-
fi
say "done"
