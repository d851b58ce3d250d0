"""Owns the form of an account: fields made from what its protocol plugin declares, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from purple_bridge import account_forms
from purple_bridge.addresses import SipAddress
from purple_bridge.db.account import OptionValue
from purple_bridge.errors import BadRequest
from purple_bridge.libpurple.plugins import Option, Protocol
from purple_bridge.web.http import Request

OPTION = "option-"  # in front of the names of options, which a plugin chooses
# what most people need to see; the rest is folded away
FREQUENT = ("connect_server", "port", "connection_security", "ssl", "server", "typing")
# what libpurple calls the values of its lists, in words
CHOICES = {
    "require_tls": "Require encryption",
    "opportunistic_tls": "Encrypt if the server can",
    "old_ssl": "TLS from the start (old style)",
    "none": "No encryption",
}
NAME_HINTS = {
    "prpl-jabber": "The address there, such as alice@jabber.org.",
    "gtalk": "The address there, such as alice@gmail.com.",
    "prpl-irc": "Nickname and server, such as alice@irc.libera.chat.",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One input. ``kind``: text, password, number, checkbox, select. ``error``: what is wrong, in words."""

    name: str
    label: str
    kind: str = "text"
    value: str = ""
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()
    required: bool = False
    fixed: bool = False
    autocomplete: str = "off"
    error: str = ""

    @property
    def checked(self) -> bool:
        return self.value == "true"


@dataclass(frozen=True, slots=True)
class Form:
    """``main``, ``frequent``: what is shown; ``more``: what is folded away."""

    protocol: Protocol
    main: Sequence[Field]
    frequent: Sequence[Field] = ()
    more: Sequence[Field] = ()

    @property
    def errors(self) -> list[Field]:
        return [one for one in (*self.main, *self.frequent, *self.more) if one.error]

    @property
    def more_open(self) -> bool:
        return any(one.error for one in self.more)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a form says. ``password``: empty for none given."""

    user: SipAddress
    protocol: str
    ext_user: str
    password: str = field(repr=False)
    options: Mapping[str, OptionValue | None] = field(default_factory=dict)
    no_password: bool = False


class Invalid(Exception):
    """A form with errors: ``form`` is the one to show again."""

    def __init__(self, form: Form) -> None:
        super().__init__("the form has errors")
        self.form = form


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beforehand: the SIP user, if the reader cannot choose, and a stored account's values."""

    user: str = ""
    ext_user: str = ""
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    stored: bool = False
    has_password: bool = False


def empty(protocol: Protocol, name: str, known: Known) -> Form:
    """The form as it is shown first; ``name``: ``ext_prot``."""
    fields = [_option_field(option, known.options.get(option.name)) for option in account_forms.options_of(protocol)]
    return _form(protocol, _main(protocol, name, known), fields)


def read(protocol: Protocol, name: str, known: Known, request: Request) -> Draft:
    """What the form says. Raises Invalid with the form to show again; passwords are not in it."""
    main, values = [], {}
    for one in _main(protocol, name, known):
        if not one.fixed and one.kind != "password":
            one = replace(one, value=request.given(one.name))  # noqa: PLW2901 - the field with what was given
        checked, error = _checked(one, request)
        values[one.name] = checked
        main.append(replace(one, error=error))
    options, fields = _options(protocol, request)
    form = _form(protocol, main, fields)
    if form.errors:
        raise Invalid(form)
    return Draft(
        SipAddress.parse(values["sip_user"]),
        name,
        values["ext_user"],
        values["password"],
        options,
        request.given("no_password") == "true",
    )


def with_error(form: Form, name: str, error: str) -> Form:
    """The same form, with what only the table could tell."""
    return replace(form, main=[replace(one, error=error) if one.name == name else one for one in form.main])


def again(protocol: Protocol, name: str, known: Known, request: Request) -> Form:
    """The form with what was given, without errors."""
    main = [
        one if one.fixed or one.kind == "password" else replace(one, value=request.given(one.name))
        for one in _main(protocol, name, known)
    ]
    return _form(protocol, main, _options(protocol, request)[1])


def _form(protocol: Protocol, main: Sequence[Field], options: Sequence[Field]) -> Form:
    frequent = [one for one in options if one.name.removeprefix(OPTION) in FREQUENT]
    rest = [one for one in options if one not in frequent]
    return Form(protocol, main, frequent, rest) if len(rest) > 2 else Form(protocol, main, options)


def _main(protocol: Protocol, name: str, known: Known) -> list[Field]:
    stored = known.stored
    sip_user = Field(
        "sip_user",
        "SIP user",
        value=known.user,
        required=True,
        fixed=stored or bool(known.user),
        hint="" if stored or known.user else "Whose phone it is for: sip:alice@example.org.",
    )
    ext_user = Field(
        "ext_user",
        f"Name on {protocol.name}",
        value=known.ext_user,
        required=True,
        fixed=stored,
        hint="" if stored else NAME_HINTS.get(name, "As the network knows you."),
    )
    hint = "Leave it empty to keep the one that is stored." if known.has_password else ""
    password = Field("password", "Password there", "password", hint=hint, autocomplete="new-password")
    return [sip_user, ext_user, password]


def _checked(one: Field, request: Request) -> tuple[str, str]:
    """The value and what is wrong with it."""
    try:
        return _value(one, request), ""
    except (ValueError, BadRequest) as error:
        words = error.reason if isinstance(error, BadRequest) else str(error)
        return "", words[:1].upper() + words[1:] + "."


def _value(one: Field, request: Request) -> str:
    if one.kind == "password":
        return account_forms.checked_password(request.given(one.name))
    if one.name == "sip_user":
        return _sip_uri(one.value)
    return account_forms.checked_name(one.value)


def _sip_uri(text: str) -> str:
    text = text.strip()
    address = SipAddress.parse(text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}")
    if not address.user:
        raise ValueError("write a user and a domain, such as sip:alice@example.org")
    if len(address.uri) > account_forms.LONGEST_URI:
        raise ValueError(f"write at most {account_forms.LONGEST_URI} characters")
    return address.uri


def _options(protocol: Protocol, request: Request) -> tuple[dict[str, OptionValue | None], list[Field]]:
    values: dict[str, OptionValue | None] = {}
    fields = []
    for option in account_forms.options_of(protocol):
        text = request.given(OPTION + option.name)
        if option.kind == "bool":
            text = "true" if text == "true" else "false"
        error = ""
        try:
            values[option.name] = account_forms.option_value(option, text)
        except ValueError as problem:
            error = f"{problem}."
        fields.append(replace(_option_field(option, None), value=text, error=error))
    return values, fields


def _option_field(option: Option, stored: OptionValue | None) -> Field:
    name, label = OPTION + option.name, option.text or option.name
    if option.kind == "bool":
        value = option.default if stored is None else stored
        return Field(name, label, "checkbox", "true" if value in (True, "true", 1) else "false")
    text = "" if stored is None else str(stored)
    if option.kind == "list":
        return Field(name, label, "select", text or str(option.default), choices=_choices(option, text))
    hint = f"Empty: {option.default}" if str(option.default) else ""
    return Field(name, label, "number" if option.kind == "int" else "text", text, hint=hint)


def _choices(option: Option, stored: str) -> list[tuple[str, str]]:
    """With the stored value, even if this version of the plugin does not know it."""
    values = dict.fromkeys([*option.choices, str(option.default), *([stored] if stored else [])])
    return [(value, CHOICES.get(value, value)) for value in values]
