"""The form of an account: fields by what a plugin declares, values in its types, what is wrong in words."""

from __future__ import annotations

import pytest

from purple_bridge import account_forms
from purple_bridge.libpurple.plugins import Option, Protocol
from purple_bridge.web import forms
from purple_bridge.web.forms import Field, Form, Invalid, Known
from purple_bridge.web.http import Request

SECURITY = Option("connection_security", "Connection security", "list", "require_tls", ("require_tls", "old_ssl"))
XMPP = Protocol(
    "prpl-jabber",
    "XMPP",
    "",
    (
        Option("port", "Connect port", "int", 5222),
        SECURITY,
        Option("auth_plain_in_clear", "Plain in clear", "bool", False),
        Option("ft_proxies", "File transfer proxies", "string", "proxy.example"),
        Option("bosh_url", "BOSH URL", "string", ""),
    ),
)
GOOD = {"sip_user": "alice@Example.org", "ext_user": " alice@jabber.example ", "password": "x", "option-typing": "true"}


def request(**fields: str) -> Request:
    form = {name.replace("option_", "option-", 1): (value,) for name, value in fields.items()}
    return Request("POST", "/", {}, {}, form)


def by_name(form: Form) -> dict[str, Field]:
    return {one.name: one for one in (*form.main, *form.frequent, *form.more)}


def test_every_option_is_a_field_of_its_kind() -> None:
    fields = by_name(forms.empty(XMPP, "prpl-jabber", Known()))
    kinds = {name: one.kind for name, one in fields.items()}
    assert kinds == {
        "sip_user": "text",
        "ext_user": "text",
        "password": "password",
        "option-port": "number",
        "option-connection_security": "select",
        "option-auth_plain_in_clear": "checkbox",
        "option-ft_proxies": "text",
        "option-bosh_url": "text",
        "option-typing": "checkbox",
        "option-tls_pin": "text",
        "option-tls_name": "text",
    }
    assert fields["option-typing"].checked and not fields["option-auth_plain_in_clear"].checked
    assert fields["option-port"].hint == "Empty: 5222"
    assert [value for value, _words in fields["option-connection_security"].choices] == ["require_tls", "old_ssl"]


def test_what_is_stored_is_shown_but_for_the_password() -> None:
    stored = Known("sip:a@b.c", "a@x", {"port": 1, "connection_security": "strange"}, stored=True, has_password=True)
    fields = by_name(forms.empty(XMPP, "prpl-jabber", stored))
    assert fields["option-port"].value == "1"
    assert ("strange", "strange") in fields["option-connection_security"].choices
    assert fields["password"].value == "" and "keep" in fields["password"].hint
    assert fields["sip_user"].fixed and fields["ext_user"].fixed


def test_values_come_in_their_types_and_defaults_are_not_stored() -> None:
    draft = forms.read(
        XMPP, "prpl-jabber", Known(), request(**GOOD, option_port="5223", option_connection_security="old_ssl")
    )
    assert draft.user.uri == "sip:alice@example.org" and draft.ext_user == "alice@jabber.example"
    assert account_forms.merged((), draft.options) == {"port": 5223, "connection_security": "old_ssl"}
    draft = forms.read(XMPP, "prpl-jabber", Known(), request(**GOOD, option_port="5222", option_ft_proxies=" "))
    assert account_forms.merged((), draft.options) == {}


def test_a_check_box_that_is_empty_is_not_sent() -> None:
    draft = forms.read(XMPP, "prpl-jabber", Known(), request(**{**GOOD, "option-typing": ""}))
    assert account_forms.merged((), draft.options) == {"typing": False}


def test_options_that_the_form_does_not_have_stay() -> None:
    stored = (("enabled", False), ("port", 1), ("old", "x"))
    draft = forms.read(XMPP, "prpl-jabber", Known(), request(**GOOD))
    assert account_forms.merged(stored, draft.options) == {"enabled": False, "old": "x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sip_user", ""),
        ("sip_user", "example.org"),
        ("sip_user", "tel:1"),
        ("sip_user", "a" * 120 + "@example.org"),
        ("ext_user", " "),
        ("ext_user", "a" * 129),
        ("ext_user", "a\u2028b"),
        ("password", "p" * 256),
        ("password", "a\nb"),
        ("option_port", "many"),
        ("option_port", "99999999999"),
        ("option_connection_security", "none at all"),
        ("option_bosh_url", "a\tb"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(name: str, value: str) -> None:
    given = {**GOOD, name: value}
    with pytest.raises(Invalid) as invalid:
        forms.read(XMPP, "prpl-jabber", Known(), request(**given))
    (wrong,) = invalid.value.form.errors
    assert wrong.name == name.replace("option_", "option-") and wrong.error.endswith(".")
    shown = by_name(invalid.value.form)
    assert shown["password"].value == "" and shown["option-typing"].checked
    if name != "password":
        assert wrong.value == value


def test_whoever_has_only_his_own_accounts_cannot_name_another_user() -> None:
    known = Known(user="sip:bob@example.org")
    draft = forms.read(XMPP, "prpl-jabber", known, request(**GOOD))
    assert draft.user.uri == "sip:bob@example.org"
