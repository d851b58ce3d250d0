"""Account options of a row: those for the gateway itself, declared as plugins do, and those for libpurple."""

from __future__ import annotations

import re
from collections.abc import Mapping

from purple_bridge.encryption import ALWAYS_ENCRYPTED, IRC, XMPP, Promise, promise_of
from purple_bridge.libpurple import plugins
from purple_bridge.libpurple.certificate_check import parse_pins
from purple_bridge.libpurple.plugins import Option, installed_protocols
from purple_bridge.libpurple.public_servers import check_text
from purple_bridge.ownership import plugin_of

TYPING = Option("typing", "Typing notices, both ways", "bool", True)
ENABLED = Option("enabled", "The account may be online", "bool", True)
TLS_PIN = Option("tls_pin", "Keys the server may have (sha256:…)", "string", "")
TLS_NAME = Option("tls_name", "Another name in the server's certificate", "string", "")
PUBLIC_SERVERS = Option("public_servers", "Only servers with public addresses", "bool", False)
GATEWAY_OPTIONS = {option.name: option for option in (TYPING, ENABLED, TLS_PIN, TLS_NAME, PUBLIC_SERVERS)}
_CONTROL = re.compile("[\x00-\x1f\x7f]")
GTALK, GTALK_SERVER = "gtalk", "talk.google.com"  # the old module's name for XMPP at Google

NAMING_SERVERS = ("connect_server", "bosh_url", "ft_proxies")  # of prpl-jabber; on IRC the name does

Options = Mapping[str, bool | int | str]


def convert(option: Option, value: object) -> bool | int | str:
    """``value`` (as JSON or text) in the type the option declares; ValueError says what is expected."""
    converted = plugins.convert(option, value)
    if option.name == TLS_PIN.name:
        parse_pins(str(converted))
    return converted


def for_libpurple(protocol: str, given: Options) -> list[tuple[str, bool | int | str]]:
    """The options for libpurple, which runs, in the types the plugin declares; ValueError names a wrong one.

    ``protocol``: as in a row, so also ``gtalk``; ``given``: the options of the row.
    """
    declared = GATEWAY_OPTIONS | {
        option.name: option
        for installed in installed_protocols()
        if installed.id == plugin_of(protocol)
        for option in installed.options
    }
    options = {**_defaults(protocol), **given}
    unknown = sorted(options.keys() - declared.keys())
    if unknown:
        raise ValueError(f"unknown account option {unknown[0]!r} (purplectl protocols lists them)")
    converted = [(name, convert(declared[name], value)) for name, value in options.items()]
    for name, value in converted:
        check_line(f"the option {name}", value)
    return [(name, value) for name, value in converted if name not in GATEWAY_OPTIONS]


def check_line(what: str, value: object) -> None:
    """ValueError for what would be more than one line of a protocol, or end one: a plugin may write it as it is."""
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError(f"{what} has a control character")


def is_public_only(protocol: str, ext_user: str, given: Options) -> bool:
    """The account may connect to public addresses alone. ValueError where the row names another one."""
    if not convert(PUBLIC_SERVERS, given.get(PUBLIC_SERVERS.name, PUBLIC_SERVERS.default)):
        return False
    if plugin_of(protocol) not in (XMPP, IRC):
        raise ValueError(f"{PUBLIC_SERVERS.name} is for prpl-jabber and prpl-irc")
    for text in (ext_user, *(str(given.get(name, "")) for name in NAMING_SERVERS)):
        check_text(text)
    return True


def _defaults(protocol: str) -> dict[str, str]:
    """What counts where the row says nothing."""
    server = {"connect_server": GTALK_SERVER} if protocol == GTALK else {}
    # libpurple requires it only of accounts that say so: its own default is another word (jabber.h), which counts as no
    required = {"connection_security": ALWAYS_ENCRYPTED[0]} if plugin_of(protocol) == XMPP else {}
    return server | required


def server_of(protocol: str, given: Options) -> tuple[frozenset[str], str]:
    """Which keys the account's server may have, none for any, and the name in its certificate, "" for the usual one.

    ValueError where that could not be kept: better no connection than one that its owner thinks is pinned.
    """
    pins = parse_pins(str(given.get(TLS_PIN.name, "")))
    name = str(given.get(TLS_NAME.name, "")).strip()
    option = TLS_PIN.name if pins else TLS_NAME.name if name else ""
    if option and (plugin_of(protocol) not in (XMPP, IRC) or given.get("bosh_url")):
        raise ValueError(f"{option} is for prpl-jabber, without bosh_url, and prpl-irc")
    if option and promise_of(protocol, given) is not Promise.ALWAYS:
        encrypt = "ssl=true" if plugin_of(protocol) == IRC else "connection_security=require_tls"
        raise ValueError(f"{option} is of no use without encryption: set {encrypt}")
    return pins, name
