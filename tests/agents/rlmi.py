"""Owns contact lists as a phone watches them: SUBSCRIBE with eventlist, and what a NOTIFY of a list says (RFC 4662)."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import ClassVar
from xml.etree import ElementTree as ET

from tests.agents.dialog import Dialog
from tests.agents.phone import Phone
from tests.agents.pidf import Presence, parse_notify
from tests.agents.subscription import Notify, Subscription

RLMI = "urn:ietf:params:xml:ns:rlmi"


@dataclass(frozen=True)
class Resource:
    """One contact of a list; `state` is None where nothing is known, `presence` None without a document."""

    uri: str
    state: str | None
    presence: Presence | None


@dataclass(frozen=True)
class ListState:
    """What one NOTIFY says; `resources` by URI."""

    uri: str
    version: int
    full: bool
    resources: dict[str, Resource]

    def basic(self, uri: str) -> str | None:
        """ "open" or "closed", None where it does not say."""
        found = self.resources.get(uri)
        return found.presence.basic if found and found.presence else None


class ListSubscription(Subscription):
    """A subscription of a phone that knows lists."""

    understands: ClassVar[list[tuple[str, str]]] = [
        ("Supported", "eventlist"),
        ("Accept", "multipart/related, application/rlmi+xml, application/pidf+xml"),
    ]


class ListPhone(Phone):
    """A phone that watches a list with one SUBSCRIBE."""

    def subscribe_list(self, uri: str, expires: int = 600) -> ListSubscription:
        dialog = Dialog(self.aor, uri, uri)
        subscription = ListSubscription(self, dialog, "presence", expires)
        self._subscriptions[dialog.call_id, dialog.local_tag] = subscription
        subscription.subscribe(expires)
        return subscription


def list_state(notify: Notify) -> ListState:
    """Raises ValueError when the NOTIFY is not one of a list."""
    head = f"Content-Type: {notify.headers['Content-Type']}\r\n\r\n".encode()
    parts = [part for part in BytesParser(policy=HTTP).parsebytes(head + notify.body).walk() if not part.is_multipart()]
    if "multipart/related" not in notify.headers["Content-Type"]:
        raise ValueError(f"no list: {notify.headers['Content-Type']}")
    bodies = {str(part["Content-ID"]).strip().strip("<>"): _octets(part) for part in parts}
    root = ET.fromstring(_octets(parts[0]))
    if root.tag != f"{{{RLMI}}}list":
        raise ValueError(f"the first part is {root.tag}")
    found = [_resource(element, bodies) for element in root.findall(f"{{{RLMI}}}resource")]
    return ListState(
        uri=root.get("uri", ""),
        version=int(root.get("version", "-1")),
        full=root.get("fullState") in ("true", "1"),
        resources={resource.uri: resource for resource in found},
    )


def _resource(element: ET.Element, bodies: dict[str, bytes]) -> Resource:
    instance = element.find(f"{{{RLMI}}}instance")
    body = None if instance is None else bodies.get(instance.get("cid", ""))
    return Resource(
        uri=element.get("uri", ""),
        state=None if instance is None else instance.get("state"),
        presence=parse_notify(body) if body else None,
    )


def _octets(part: Message[str, str]) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.strip()
