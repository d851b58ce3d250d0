"""Owns what belongs where: the paths of one installed gateway and the text of each file. Writes nothing."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.environment import INSTALLED, PROJECT_ROOT, is_checkout

DEFAULT_PREFIX = Path("/etc/kamailio-purple")
DEFAULT_USER = "kamailio-purple"
LOCAL = Path("/usr/local")
LINK = "-> "  # a text that begins so stands for a symbolic link

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# of an address, domain or option; neither systemd nor a shell sees anything special in it
_WORD = re.compile(r"[A-Za-z0-9:.,/=\[\]_*+-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a symbolic link, that is to be at ``path`` with this ``text``.

    ``private``: only root may read it.
    """

    path: Path
    text: str
    private: bool = False

    @property
    def digest(self) -> str:
        return digest(self.text)

    @property
    def mode(self) -> int:
        return 0o600 if self.private else 0o644


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Layout:
    """One gateway on this machine; the last component of ``prefix`` names its unit and its state directory."""

    prefix: Path
    user: str

    def __post_init__(self) -> None:
        if not self.prefix.is_absolute() or not _NAME.fullmatch(self.name):
            raise ConfigurationError(f"--prefix {self.prefix}: write /etc/NAME, of lower-case letters, digits and -")
        if self.name == "kamailio":
            raise ConfigurationError(f"--prefix {self.prefix}: that is Kamailio's own; use {DEFAULT_PREFIX}")
        if not _NAME.fullmatch(self.user) or self.user == "root":
            raise ConfigurationError(f"--user {self.user}: name a user of its own, such as {DEFAULT_USER}")

    @property
    def name(self) -> str:
        return self.prefix.name

    @property
    def state(self) -> Path:
        return Path("/var/lib") / self.name

    @property
    def unit(self) -> Path:
        return Path("/etc/systemd/system") / f"{self.name}.service"

    @property
    def sysusers(self) -> Path:
        return Path("/etc/sysusers.d") / f"{self.user}.conf"

    @property
    def manifest(self) -> Path:
        """What was put where, for the next time; in a place that the gateway's user cannot write."""
        return LOCAL / "lib/kamailio-purple" / f"{self.name}.json"


def purplectl() -> Path:
    """The command of the Python environment that runs this."""
    return Path(sys.prefix) / "bin/purplectl"


def option_line(options: Mapping[str, Sequence[str]]) -> str:
    """Options of `purplectl run`, name -> values, as one line. Raises ConfigurationError for a blank in a value."""
    words = [word for name, values in options.items() for value in values for word in (f"--{name}", value)]
    for word in words:
        if not _WORD.fullmatch(word):
            raise ConfigurationError(f"{word!r}: a service has no use for such a character here")
    return " ".join(words)


def user_entry(layout: Layout) -> Entry:
    """What sysusers.d(5) makes the gateway's user from."""
    return Entry(layout.sysusers, _filled("sysusers.conf", _values(layout)))


def entries(layout: Layout, group: str, options: str, pages: Mapping[str, str]) -> list[Entry]:
    """All that is put into the system. ``options``: for `purplectl run`; ``pages``: path below /usr/local -> text."""
    values = {**_values(layout), "GROUP": group, "OPTIONS": options}
    return [
        Entry(layout.prefix / "kamailio.cfg", shipped_config()),
        Entry(layout.prefix / "gateway.py", (PROJECT_ROOT / "kemi/gateway.py").read_text(encoding="utf-8")),
        Entry(layout.prefix / "gateway.env", _filled("gateway.env", values), private=True),
        user_entry(layout),
        Entry(layout.unit, _filled("kamailio-purple.service", values)),
        *(Entry(LOCAL / path, text) for path, text in pages.items()),
        *_link(),
    ]


def _values(layout: Layout) -> dict[str, str]:
    return {
        "NAME": layout.name,
        "USER": layout.user,
        "ETC": str(layout.prefix),
        "STATE": str(layout.state),
        "PURPLECTL": str(purplectl()),
        "DOCS": str(PROJECT_ROOT / "docs" if is_checkout() else INSTALLED.parent / "doc/kamailio-purple"),
    }


def _link() -> list[Entry]:
    """For the operator's PATH; the unit does not use it."""
    link = LOCAL / "bin/purplectl"
    return [] if purplectl() == link else [Entry(link, f"{LINK}{purplectl()}")]


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = files(__package__).joinpath("data", name).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)


def shipped_config() -> str:
    """kamailio.cfg as it came with the package."""
    return _shipped("kamailio.cfg")


def _shipped(name: str) -> str:
    """A file that came with the package, never the one that the operator edits."""
    for directory in (PROJECT_ROOT, INSTALLED):
        if (directory / name).exists():
            return (directory / name).read_text(encoding="utf-8")
    raise ConfigurationError(f"{INSTALLED / name} is missing: install the package again")
