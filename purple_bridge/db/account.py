"""Owns ``Account``, one row of the mapping, and how a row becomes one; runs no query."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from purple_bridge.addresses import SipAddress
from purple_bridge.db.passwords import Passwords, Unreadable
from purple_bridge.errors import BadRequest

OptionValue = bool | int | str


@dataclass(frozen=True, slots=True)
class Account:
    """A SIP user's account on an IM network, as the mapping has it.

    ``sip_user``: ``SipAddress.key``. ``protocol``: ``ext_prot`` as it is, so ``gtalk`` stays ``gtalk``.
    ``options``: libpurple's account options. ``error``: what is wrong with the row (it names the row, never
    a password); the rest is what could be read. ``unreadable``: it has a password that cannot be decrypted.
    """

    id: int
    sip_user: str
    ext_user: str
    protocol: str
    password: str | None = field(repr=False)
    options: tuple[tuple[str, OptionValue], ...] = ()
    error: str | None = None
    unreadable: bool = False

    @property
    def has_password(self) -> bool:
        return self.unreadable or self.password is not None

    @property
    def enabled(self) -> bool:
        return is_enabled(self.options)


def is_enabled(options: tuple[tuple[str, OptionValue], ...]) -> bool:
    """Whether the row lets its account be online: the gateway's option ``enabled``."""
    return not options or str(dict(options).get("enabled", True)).lower() not in ("false", "no", "off", "0")


def account_of(row: Row[Any], passwords: Passwords) -> Account:
    """The account in a row of the mapping; what cannot be read goes into ``error``."""
    password, password_error = _password(row, passwords)
    sip_user, address_error = _sip_key(row.sip_user)
    options, options_error = _options(row._mapping.get("ext_options"))
    error = address_error or options_error or password_error
    return Account(
        id=row.id,
        sip_user=sip_user,
        ext_user=row.ext_user,
        protocol=row.ext_prot,
        password=password,
        options=options,
        error=f"row {row.id}: {error}" if error else None,
        unreadable=password_error is not None,
    )


def _password(row: Row[Any], passwords: Passwords) -> tuple[str | None, str | None]:
    try:
        return passwords.read(row.ext_pass, row.ext_prot, row.ext_user), None
    except Unreadable as error:
        return None, str(error)


def _sip_key(text: str) -> tuple[str, str | None]:
    uri = text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}"
    try:
        return SipAddress.parse(uri).key, None
    except BadRequest as error:
        return text.lower(), f"sip_user: {error.reason}"


def _options(text: str | None) -> tuple[tuple[tuple[str, OptionValue], ...], str | None]:
    if text is None or not text.strip():
        return (), None
    try:
        options = json.loads(text)
    except (ValueError, RecursionError):  # the latter for too many levels
        return (), "ext_options is not JSON"
    if not isinstance(options, dict):
        return (), "ext_options is not a JSON object"
    wrong = [name for name, value in options.items() if not isinstance(value, bool | int | str)]
    if wrong:
        return (), f"ext_options: {wrong[0]} is neither text, number nor true/false"
    return tuple(options.items()), None
