"""``purplectl contacts``: a SIP user's contacts on all his IM networks, as the networks told them last."""

from __future__ import annotations

from typing import Any

import click

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.cli.options import (
    Settings,
    SipUser,
    database_options,
    json_option,
    open_engine,
    print_json,
    print_table,
)
from purple_bridge.contact_lists import ContactLists, ContactOfUser
from purple_bridge.db.mapping import Mapping

COLUMNS = ("SIP ADDRESS", "NAME", "GROUPS", "PROTOCOL", "ACCOUNT", "CONTACT", "SUBSCRIPTION")


@click.command("contacts")
@click.argument("user", type=SipUser())
@json_option
@database_options
def contacts_command(settings: Settings, user: SipAddress, as_json: bool) -> None:
    """List the IM contacts of a SIP user: address for phones, name, groups, and who sees whom.

    SUBSCRIPTION is XMPP's: "to", the user sees the contact; "from", the contact sees the user; "both"; "none";
    "(asked)", the contact has not answered yet.
    """
    gateway = GatewayDomain(settings.gateway_domain or f"im.{user.host}")
    with open_engine(settings) as engine:
        lists = ContactLists(engine, Mapping(engine, settings.table, passwords=settings.passwords), gateway)
        entries = [_entry(contact) for contact in lists.contacts_of(user)]
    if as_json:
        print_json(entries)
    else:
        print_table(COLUMNS, [_line(entry) for entry in entries])


def _entry(contact: ContactOfUser) -> dict[str, Any]:
    return {
        "address": contact.address.uri,
        "name": contact.listed.alias,
        "groups": list(contact.listed.groups),
        "protocol": contact.account.protocol,
        "ext_user": contact.account.ext_user,
        "contact": contact.listed.contact,
        "subscription": contact.listed.subscription,
        "asked": contact.listed.asked,
    }


def _line(entry: dict[str, Any]) -> list[str]:
    subscription = entry["subscription"] + (" (asked)" if entry["asked"] else "")
    cells = (entry["address"], entry["name"], ", ".join(entry["groups"]), entry["protocol"], entry["ext_user"])
    return [*cells, entry["contact"], subscription]
