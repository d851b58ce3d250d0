"""Owns what is asked of the machine: the gateway's user, systemd, and whether a service could use this environment."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from purple_bridge.errors import ConfigurationError
from purple_bridge.installer.layout import Layout, purplectl
from purple_bridge.launcher.environment import PROJECT_ROOT

SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
# what the unit does not see (ProtectHome=, PrivateTmp=)
HIDDEN = tuple(Path(path) for path in ("/root", "/home", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108 - refused
ADVICE = "make the environment in /opt/kamailio-purple: python3 -m venv /opt/kamailio-purple"


@dataclass(frozen=True, slots=True)
class Owner:
    """The gateway's user. ``group``: the name of its group; ``uid`` and ``gid``: None while there is no such user."""

    group: str
    uid: int | None = None
    gid: int | None = None


def check_root() -> None:
    if os.geteuid() != 0:
        raise ConfigurationError("only root may do this: run it with sudo, or see what it would do with --dry-run")


def check_place(paths: tuple[Path, ...] | None = None) -> None:
    """Raises ConfigurationError, with what to do, if the gateway's user could not read this Python environment.

    ``paths``: by default the environment, the code and the Python it was made with.
    """
    for path in paths or (purplectl(), PROJECT_ROOT, Path(sys.base_prefix)):
        for place in {path, path.resolve()}:
            _check_visible(place)
            _check_open(place)


def _check_visible(place: Path) -> None:
    for hidden in HIDDEN:
        if place.is_relative_to(hidden):
            raise ConfigurationError(f"{place}: a service does not see what is in {hidden}; {ADVICE}")


def _check_open(place: Path) -> None:
    for directory in place.parents:
        if directory.exists() and not directory.stat().st_mode & stat.S_IXOTH:
            raise ConfigurationError(f"{place}: only its owner may enter {directory}; {ADVICE}")


def find_owner(user: str) -> Owner:
    """Raises ConfigurationError for a user with root's rights."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return Owner(user)
    if found.pw_uid == 0:
        raise ConfigurationError(f"--user {user}: has root's rights; name another user")
    return Owner(grp.getgrgid(found.pw_gid).gr_name, found.pw_uid, found.pw_gid)


def make_user(layout: Layout, sysusers: str) -> Owner:
    """The user, made as a system user if there is none. ``sysusers``: the text of its sysusers.d(5) file."""
    if find_owner(layout.user).uid is None:
        if shutil.which("systemd-sysusers"):
            _run(["systemd-sysusers", "-"], sysusers)
        else:
            home = ["--home-dir", str(layout.state), "--no-create-home", "--shell", "/usr/sbin/nologin"]
            _run(["useradd", "--system", "--user-group", *home, layout.user])
    owner = find_owner(layout.user)
    if owner.uid is None:
        raise ConfigurationError(f"the user {layout.user} could not be made: make it with useradd --system")
    return owner


def make_state_directory(layout: Layout, owner: Owner) -> None:
    """Before the first start, so that a database made by root belongs to the gateway's user; one that exists stays."""
    if layout.state.exists() or owner.uid is None or owner.gid is None:
        return
    layout.state.mkdir(mode=0o700, parents=True)
    os.chown(layout.state, owner.uid, owner.gid)


def reload_systemd() -> bool:
    """Whether systemd runs here; then it has read the units again."""
    if not SYSTEMD_RUNS.is_dir():
        return False
    _run(["systemctl", "daemon-reload"])
    return True


def stop_service(layout: Layout) -> None:
    """Now, and no start with the machine; without systemd only the latter."""
    if shutil.which("systemctl"):
        now = ["--now"] if SYSTEMD_RUNS.is_dir() else []
        _run(["systemctl", "disable", *now, layout.unit.name])


def is_running(layout: Layout) -> bool:
    if not SYSTEMD_RUNS.is_dir():
        return False
    return subprocess.run(["systemctl", "is-active", "--quiet", layout.unit.name], check=False).returncode == 0


def _run(command: list[str], text: str = "") -> None:
    """Raises ConfigurationError with the last line of what the program says, if it fails."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConfigurationError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ConfigurationError(f"{' '.join(command)}: {words[-1]}")
