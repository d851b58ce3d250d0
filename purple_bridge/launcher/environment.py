"""Owns what the process gets besides its configuration: the command line and the environment."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import purple_bridge
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.launcher.versions import LIBPURPLE, Kamailio

PROJECT_ROOT = Path(purple_bridge.__file__).resolve().parent.parent
INSTALLED = Path(sysconfig.get_path("data")) / "share/kamailio-purple"
SYSTEM_CONFIG = Path("/etc/kamailio-purple")  # what `purplectl install` has put there, for the operator to edit
SYSTEM_STATE = Path("/var/lib/kamailio-purple")
SHARED_MEGABYTES = 512  # 13 KB for each message, for 5 s: some 7,500 a second
FOR_CONNECTIONS = 768  # more of them: a connection over TCP takes 270 KB, over TLS 340 KB, and kamailio.cfg allows 2048
PRIVATE_MEGABYTES = 16
MEMORY_MANAGER = "tlsf"  # in constant time; Kamailio's default is made for debugging, and searches its lists

# what makes libpurple, GLib or a plugin look for a desktop, and the secret that the command line of this tool may use
UNWANTED = (
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "GNOME_DESKTOP_SESSION_ID",
    "KDE_FULL_SESSION",
    "XAUTHORITY",
    "XDG_CURRENT_DESKTOP",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PURPLE_DB_URL",
    "PURPLE_OPTIONS",
    "NOTIFY_SOCKET",  # it is this process that tells systemd
)


def is_checkout() -> bool:
    """Whether this runs from a checkout, not from installed packages."""
    return (PROJECT_ROOT / "kamailio.cfg").exists()


def default_config() -> Path | None:
    """The kamailio.cfg of the checkout, else that of the system, else the one that came with the package, else None."""
    places = (directory / "kamailio.cfg" for directory in (PROJECT_ROOT, SYSTEM_CONFIG, INSTALLED))
    return next((place for place in places if os.access(place, os.R_OK)), None)


def default_state_dir() -> Path:
    """``state`` in a checkout, the system's directory for an installed package."""
    return PROJECT_ROOT / "state" if is_checkout() else SYSTEM_STATE


def default_script() -> Path:
    """The route script of the system, which the operator may have edited, else the one that comes with the package."""
    edited = SYSTEM_CONFIG / "gateway.py"
    return edited if os.access(edited, os.R_OK) and not is_checkout() else PROJECT_ROOT / "kemi" / "gateway.py"


def command_line(kamailio: Kamailio, state: StateDirectory, tcp: bool) -> list[str]:
    """Kamailio in the foreground, log on stderr; the kernel ends it when its parent ends (prctl(2)).

    ``tcp``: there are listeners over TCP or TLS. Shared memory is taken from the machine as it is used.
    """
    return [
        *("setpriv", "--pdeathsig", "SIGTERM"),
        *program(kamailio, state),
        *("-DD", "-E"),
        *("-m", str(shared_megabytes(tcp, _machine_megabytes())), "-M", str(PRIVATE_MEGABYTES)),
        *("-x", MEMORY_MANAGER, "-X", MEMORY_MANAGER),
    ]


def shared_megabytes(tcp: bool, machine: int) -> int:
    """Kamailio's shared memory, at most half of the ``machine``'s: Linux refuses at once what it could never give."""
    return min(SHARED_MEGABYTES + (FOR_CONNECTIONS if tcp else 0), machine // 2)


def _machine_megabytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def program(kamailio: Kamailio, state: StateDirectory) -> list[str]:
    """Kamailio with its file, and with a runtime directory that any user can make: it insists on having one."""
    return [kamailio.program, "-Y", str(state.run), "-f", str(state.wrapper)]


def environment(state: StateDirectory, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of Kamailio: our packages for its Python, libpurple's symbols for the protocol plugins."""
    kept = {name: value for name, value in inherited.items() if name not in UNWANTED}
    return {
        **kept,
        "HOME": str(state.path),
        "LD_PRELOAD": _joined(kept.get("LD_PRELOAD"), LIBPURPLE, " "),
        "PYTHONPATH": _joined(python_path(), kept.get("PYTHONPATH"), os.pathsep),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PURPLE_PYTHON": sys.executable,  # what the web page tries accounts with
    }


def python_path() -> str:
    """The checkout, then the packages of the environment that runs this: the embedded Python knows neither."""
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return os.pathsep.join([str(PROJECT_ROOT), *sorted(packages)])


def _joined(first: str | None, second: str | None, separator: str) -> str:
    return separator.join(part for part in (first, second) if part)
