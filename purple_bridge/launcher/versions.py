"""Owns what must be installed, and finding it: Kamailio and its modules, their Python, libpurple, schema files."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from purple_bridge import app_python3
from purple_bridge.errors import ConfigurationError

LIBPURPLE = "libpurple.so.0"

# Debian package -> the modules of kamailio.cfg that it has
CORE_MODULES = (
    "jsonrpcs ctl cfg_rpc kex corex tm tmx sl rr pv maxfwd usrloc registrar textops textopsx siputils sanity cfgutils "
    "xlog kemix auth auth_db sqlops xhttp"
)
PACKAGES = {
    "kamailio": CORE_MODULES.split(),
    "kamailio-presence-modules": ["presence", "presence_xml", "pua", "pua_rpc", "rls", "xcap_server"],
    "kamailio-python3-modules": ["app_python3"],
}
TLS_PACKAGES = {"kamailio-tls-modules": ["tls"]}
DATABASE_PACKAGES = {
    "sqlite": {"kamailio-sqlite-modules": ["db_sqlite"]},
    "mysql": {"kamailio-mysql-modules": ["db_mysql"]},
    "postgres": {"kamailio-postgres-modules": ["db_postgres"]},
}


@dataclass(frozen=True, slots=True)
class Kamailio:
    """The installed server. ``module_directories``: where it looks for its modules."""

    program: str
    version: app_python3.Version
    module_directories: tuple[Path, ...]

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def threads_mode(self) -> bool:
        """app_python3 has the parameter ``threads_mode``, and needs it for a second Python thread."""
        return self.version >= (6, 0, 1)

    def module(self, name: str) -> Path | None:
        """The file of a module, None if it is not installed."""
        files = (directory / f"{name}.so" for directory in self.module_directories)
        return next((file for file in files if file.exists()), None)


def find_kamailio() -> Kamailio:
    """The kamailio on the PATH. Raises ConfigurationError if there is none."""
    program = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise ConfigurationError("kamailio is not installed: apt-get install kamailio")
    text = _output([program, "-I"])
    version = re.search(r"Version: kamailio (\d+\.\d+\.\d+)", text)
    paths = re.search(r"Default paths to modules: (\S+)", text)
    if version is None or paths is None:
        raise ConfigurationError(f"{program} -I does not tell its version")
    return Kamailio(program, app_python3.version_of(version[1]), tuple(Path(path) for path in paths[1].split(":")))


def check_version(kamailio: Kamailio) -> None:
    """Raises ConfigurationError for a Kamailio whose app_python3 cannot run a second Python thread."""
    app_python3.check_version(kamailio.version, 1 if kamailio.threads_mode else None)


def missing_packages(kamailio: Kamailio, database: str, tls: bool = False) -> dict[str, list[str]]:
    """Debian package -> its modules that are missing.

    ``database``: the scheme of purple.db_url; ``tls``: there is a TLS listener.
    """
    needed = {**PACKAGES, **DATABASE_PACKAGES.get(database, {}), **(TLS_PACKAGES if tls else {})}
    absent = {name: [each for each in modules if kamailio.module(each) is None] for name, modules in needed.items()}
    return {name: modules for name, modules in absent.items() if modules}


def check_python(kamailio: Kamailio) -> None:
    """Raises ConfigurationError unless app_python3 embeds the Python that runs this, so both load our packages."""
    module = kamailio.module("app_python3")
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    linked = re.search(r"libpython(\d+\.\d+)", _output(["ldd", str(module)])) if module else None
    if linked is not None and linked[1] != ours:
        raise ConfigurationError(
            f"Kamailio embeds Python {linked[1]} and this environment is Python {ours}: "
            f"make it anew with python{linked[1]} -m venv"
        )


def check_libpurple() -> None:
    """Raises ConfigurationError if the library cannot be loaded."""
    try:
        ctypes.CDLL(LIBPURPLE)
    except OSError as error:
        raise ConfigurationError(f"{error}; apt-get install libpurple0") from error


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False).stdout
