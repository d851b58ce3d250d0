# shellcheck shell=bash disable=SC2030,SC2031
# Sourced by ./demo, ./test and ./purplectl: installs the Debian packages and the Python environment that are missing.
# All it prints goes to stderr. The details go to a log, which is shown and kept if something fails.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$PATH:/usr/sbin:/sbin" # where Debian keeps servers, and not every user looks

# Kamailio embeds Debian's Python, so the environment is made with that one, whatever else is on the PATH
system_python=/usr/bin/python3
environment=$project/.venv

# what the scripts that source this file need
# shellcheck disable=SC2034
gateway_packages=(
    kamailio kamailio-python3-modules kamailio-presence-modules
    kamailio-mysql-modules kamailio-postgres-modules kamailio-sqlite-modules
    kamailio-json-modules kamailio-extra-modules kamailio-utils-modules kamailio-tls-modules
    libpurple0 libsasl2-modules ca-certificates
    python3 python3-venv python3-dev gcc libc6-dev pkg-config default-libmysqlclient-dev
)
# shellcheck disable=SC2034
demo_packages=(prosody)
# shellcheck disable=SC2034
test_packages=(
    prosody mariadb-server postgresql ngircd sip-tester sipsak curl linphone-cli openssl systemd man-db chromium chromium-driver
)

# Debian starts and enables these when they are installed; the demo and the tests start their own
services=(kamailio prosody ngircd mariadb postgresql)
service_policy=/usr/sbin/policy-rc.d

say() {
    printf '%s\n' "$*" >&2
}

# WHAT TO DO: print the end of the log and that, and give up
fail() {
    if [ -s "${setup_log:-}" ]; then
        tail -n 20 "$setup_log" >&2
        say "(all of it: $setup_log)"
    fi
    say "$(basename "$0"): $*"
    exit 1
}

# PACKAGE...: whatever of them is missing, then the Python environment; in one checkout one set-up at a time
set_up() {
    (
        flock -n 9 || {
            say "Waiting for another set-up in $project to end ..."
            flock 9
        }
        setup_log=$(mktemp -t kamailio-purple-setup.XXXXXX)
        install_missing "$@"
        environment_is_current || make_environment
        rm -f "$setup_log"
    ) 9<"$project"
}

# ---- Debian packages

install_missing() {
    local missing
    command -v dpkg-query >/dev/null || fail "this is not Debian: install these and .venv yourself: $*"
    mapfile -t missing < <(missing_packages "$@")
    if [ ${#missing[@]} -gt 0 ]; then
        need_root "${missing[@]}"
        say "Installing ${#missing[@]} Debian packages (a few minutes): ${missing[*]} ..."
        install_packages "${missing[@]}"
    fi
}

# PACKAGE...: those that are not installed. Debian 13 renamed some libraries: libpurple0 is libpurple0t64 there
missing_packages() {
    local installed package
    # shellcheck disable=SC2016
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n')
    for package; do
        grep -Eqx "installed $package(t64)?" <<<"$installed" || printf '%s\n' "$package"
    done
}

need_root() {
    [ "$(id -u)" != 0 ] || return 0
    command -v sudo >/dev/null || fail "run it as root once (there is no sudo), to install: $*"
    sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; } || fail "run it as root or with sudo rights once, to install: $*"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

logged() {
    "$@" >>"$setup_log" 2>&1 </dev/null
}

apt_get() {
    logged as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@"
}

install_packages() {
    local service new_services=()
    for service in "${services[@]}"; do
        service_exists "$service" || new_services+=("$service")
    done
    hold_services
    apt_get update || fail "apt-get update failed: check the network and /etc/apt/sources.list, then run it again"
    apt_get install -y --no-install-recommends "$@" || fail "apt-get install failed: mend what it says, then run it again"
    disable_services "${new_services[@]}"
    release_services
}

service_exists() {
    [ -e "/etc/init.d/$1" ] || [ -e "/usr/lib/systemd/system/$1.service" ] || [ -e "/lib/systemd/system/$1.service" ]
}

# Debian asks this file whether a service may start (invoke-rc.d(8)); if there is one, it is somebody's own decision
hold_services() {
    # shellcheck disable=SC2016
    if as_root sh -c 'set -C; printf "#!/bin/sh\nexit 101\n" >"$0" && chmod 755 "$0"' "$service_policy" 2>/dev/null; then
        trap release_services EXIT
        holding_services=yes
    fi
}

release_services() {
    [ "${holding_services:-}" != yes ] || as_root rm -f "$service_policy"
    holding_services=
}

# SERVICE...: those that are there now do not start with the machine either
disable_services() {
    local service
    for service; do
        if ! service_exists "$service"; then
            continue
        elif command -v systemctl >/dev/null; then
            logged as_root systemctl disable "$service" || say "systemctl disable $service failed: do it yourself"
        elif [ -e "/etc/init.d/$service" ]; then
            logged as_root update-rc.d "$service" disable || say "update-rc.d $service disable failed: do it yourself"
        fi
    done
}

# ---- the Python environment

# true if it was made in this place, with this Python and from this pyproject.toml
environment_is_current() {
    [ -x "$environment/bin/purplectl" ] && [ "$(cat "$environment/stamp" 2>/dev/null)" = "$(environment_stamp)" ]
}

environment_stamp() {
    { printf '%s\n' "$project" && readlink -f "$system_python" && cat "$project/pyproject.toml"; } | sha256sum
}

make_environment() {
    say "Installing Python packages into ${environment#"$PWD"/} (a minute or two) ..."
    if ! environment_has_system_python; then
        logged "$system_python" -m venv --clear "$environment" || fail "$environment cannot be made: see above"
    fi
    logged "$environment/bin/python" -m pip install --disable-pip-version-check --no-input --root-user-action=ignore \
        --editable "${project}[dev]" || fail "pip install failed: check the network, then run it again"
    environment_stamp >"$environment/stamp"
}

environment_has_system_python() {
    [ "$(readlink -f "$environment/bin/python")" = "$(readlink -f "$system_python")" ] &&
        "$environment/bin/python" -m pip --version >/dev/null 2>&1
}
