"""The parameters ``purple.NAME`` of kamailio.cfg, read and checked once at the start; docs/parameters.md lists them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.errors import BadRequest, ConfigurationError

CONNECT_ON = ("publish", "register", "start")
AUTHORIZE = ("ask", "accept", "deny")
QUEUE = ("offline", "always")
OWN_MESSAGES = ("mark", "drop")
AVATARS = ("off", "inline")
USER_SERVERS = ("public", "any")
LOG_LEVELS = ("debug", "info", "warning", "error")
PURPLEMAP = "purplemap"
STATE_DIR = "/var/lib/kamailio-purple"
RPC_SOCKET = "/run/kamailio/purple-rpc.sock"
THREE_DAYS = 259_200
LONGEST_TTL = 365 * 86_400
MAX_WORKERS = 64
LONGEST_NUMBER = 10  # digits
MOST_A_SECOND = 1_000_000
LONGEST_SHOWN = 200  # characters
KEY_NAME = "key"  # in the state directory

Read = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What kamailio.cfg says; ``internal`` is the internal listener's HOST:PORT."""

    db_url: str
    db_table: str
    http_proxy_host: str
    http_proxy_port: int
    workers: int
    gateway: GatewayDomain
    connect_on: str
    authorize: str
    state_dir: str
    rpc_socket: str
    internal: str
    auth: bool = False
    queue: str = "offline"
    queue_ttl: int = THREE_DAYS
    own_messages: str = "mark"
    avatars: str = "off"
    log_level: str = "info"
    log_bodies: bool = False
    flood_limit: int = 2000
    user_servers: str = "public"
    user_rate: int = 0
    account_rate: int = 0
    contact_rate: int = 0
    loop_limit: int = 20
    web: str = ""
    web_admins: frozenset[str] = frozenset()
    ca_dir: str = ""
    key_file: str = ""
    protocols: tuple[str, ...] = ()  # ids of plugins; none: all that are installed

    @property
    def key_path(self) -> Path:
        """Where the keys of the passwords are, if there are any."""
        return Path(self.key_file or Path(self.state_dir) / KEY_NAME)


def read_settings(read: Read) -> Settings:
    """``read(name)``: the value of ``purple.NAME``, None where kamailio.cfg does not define it.

    Raises ConfigurationError naming the first parameter that is missing or wrong.
    """
    settings = Settings(
        db_url=_text(read, "db_url"),
        db_table=_identifier(read, "db_table", PURPLEMAP),
        http_proxy_host=_text(read, "httpProxy_host", required=False, default=""),
        http_proxy_port=_number(read, "httpProxy_port", 0, 65535, 0),
        workers=_number(read, "workers", 1, MAX_WORKERS, 2),
        gateway=GatewayDomain(_text(read, "gateway_domain")),
        connect_on=_choice(read, "connect_on", CONNECT_ON, "publish"),
        state_dir=_text(read, "state_dir", default=STATE_DIR),
        rpc_socket=_text(read, "rpc_socket", default=RPC_SOCKET),
        internal=_endpoint(read, "internal", "127.0.0.1:5059"),
        auth=_number(read, "auth", 0, 1, 0) == 1,
        key_file=_text(read, "key_file", required=False, default=""),
        protocols=read_protocols(_text(read, "protocols", required=False, default="")),
        ca_dir=_text(read, "ca_dir", required=False, default=""),
        web=_endpoint(read, "web") if str(read("web") or "").strip() else "",
        user_servers=_choice(read, "user_servers", USER_SERVERS, "public"),
        flood_limit=_number(read, "flood_limit", 0, 65_000, 2000),
        **{name: checked(read) for name, checked in AT_RUN_TIME.items()},
    )
    _check_loopback("internal", settings.internal)
    if settings.http_proxy_host and not settings.http_proxy_port:
        raise ConfigurationError("purple.httpProxy_port is 0: set the port of purple.httpProxy_host")
    return settings


def shown(text: str) -> str:
    """A value in an error text: on one line, and no longer than people read."""
    return repr(shorter(text))


def shorter(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _value(read: Read, name: str, default: str | int | None = None) -> Any:
    """Most have a default, so that a site says only what is its own."""
    value = read(name)
    if value is None:
        value = default
    if value is None:
        raise ConfigurationError(f'purple.{name} is missing in kamailio.cfg; add: purple.{name} = … desc "…"')
    return value


def _text(read: Read, name: str, required: bool = True, default: str | int | None = None) -> str:
    text = str(_value(read, name, default)).strip()
    if required and not text:
        raise ConfigurationError(f"purple.{name} is empty in kamailio.cfg; give it a value")
    return text


def _number(read: Read, name: str, least: int, most: int, default: int | None = None) -> int:
    text = _text(read, name, required=False, default=default)
    digits = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    if not digits or not least <= int(text) <= most:
        raise ConfigurationError(f"purple.{name} is {shown(text)}: it must be a number from {least} to {most}")
    return int(text)


def _choice(read: Read, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
    text = _text(read, name, required=False, default=default)
    if text not in choices:
        raise ConfigurationError(f"purple.{name} is {shown(text)}: it must be one of {', '.join(choices)}")
    return text


def _avatars(read: Read) -> str:
    text = _text(read, "avatars", required=False, default="off")
    if text not in AVATARS and not re.fullmatch(r"https?://[!-~]+", text):
        raise ConfigurationError(f"purple.avatars is {shown(text)}: it must be {', '.join(AVATARS)} or an http(s) URL")
    return text


def _users(read: Read, name: str) -> frozenset[str]:
    """SIP users as ``SipAddress.key`` has them."""
    texts = _text(read, name, required=False, default="").split(",")
    try:
        return frozenset(SipAddress.parse(text.strip()).key for text in texts if text.strip())
    except BadRequest as error:
        value, reason = shown(",".join(texts)), shorter(error.reason)
        raise ConfigurationError(
            f"purple.{name} is {value}: {reason}; write sip:USER@DOMAIN, parted by commas"
        ) from None


def read_protocols(text: str) -> tuple[str, ...]:
    """``purple.protocols``: ids of plugins, parted by commas; none, for empty or ``all``: whatever is installed.

    Raises ConfigurationError.
    """
    words = [word for word in text.replace(",", " ").split() if word]
    if wrong := [word for word in words if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", word)]:
        raise ConfigurationError(f"purple.protocols: {shown(wrong[0])} is no protocol; see `purplectl protocols`")
    if words in ([], ["all"]):
        return ()
    return tuple(dict.fromkeys("prpl-jabber" if word == "gtalk" else word for word in words))


def _identifier(read: Read, name: str, default: str) -> str:
    text = _text(read, name, default=default)
    if not text.isidentifier():
        raise ConfigurationError(f"purple.{name} is {text!r}: it must be a table's name (letters, digits, _)")
    return text


def _endpoint(read: Read, name: str, default: str | None = None) -> str:
    text = _text(read, name, default=default)
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"purple.{name} is {text!r}: it must be HOST:PORT of a listener")
    return text


def _check_loopback(name: str, text: str) -> None:
    """Of what comes to it the source address is believed, which anybody can forge who is not on this machine."""
    try:
        is_loopback = ipaddress.ip_address(text.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationError(
            f"purple.{name} is {text!r}: it must be an address of loopback, such as 127.0.0.1:5059"
        )


# Those that Kamailio's `cfg.set` changes at run time, each with what makes its value, or raises ConfigurationError.
AT_RUN_TIME: dict[str, Callable[[Read], Any]] = {
    "queue": lambda read: _choice(read, "queue", QUEUE, "offline"),
    "queue_ttl": lambda read: _number(read, "queue_ttl", 1, LONGEST_TTL, THREE_DAYS),
    "authorize": lambda read: _choice(read, "authorize", AUTHORIZE, "ask"),
    "own_messages": lambda read: _choice(read, "own_messages", OWN_MESSAGES, "mark"),
    "avatars": _avatars,
    "log_level": lambda read: _choice(read, "log_level", LOG_LEVELS, "info"),
    "log_bodies": lambda read: _number(read, "log_bodies", 0, 1, 0) == 1,
    "web_admins": lambda read: _users(read, "web_admins"),
    "user_rate": lambda read: _number(read, "user_rate", 0, MOST_A_SECOND, 0),
    "account_rate": lambda read: _number(read, "account_rate", 0, MOST_A_SECOND, 0),
    "contact_rate": lambda read: _number(read, "contact_rate", 0, MOST_A_SECOND, 0),
    "loop_limit": lambda read: _number(read, "loop_limit", 0, 1000, 20),
}
