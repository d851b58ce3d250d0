"""Owns presence rules: who may see a user (RFC 4745, RFC 5025); must not know where they are kept, or who asks."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from purple_bridge.addresses import SipAddress, normal_host
from purple_bridge.bodies import xml
from purple_bridge.errors import BadRequest, BodyTooLarge

MAX_DOCUMENT = 1 << 20
"""Octets. Rules may name a thousand watchers one by one."""

_POLICY = "{urn:ietf:params:xml:ns:common-policy}"
_SUB_HANDLING = "{urn:ietf:params:xml:ns:pres-rules}sub-handling"


class Handling(StrEnum):
    """What becomes of a subscription (RFC 5025 §3.2.1), in the order of the values given there: 0, 10, 20, 30."""

    BLOCK = "block"
    CONFIRM = "confirm"
    POLITE_BLOCK = "polite-block"
    ALLOW = "allow"


_ORDER = list(Handling)


def decide(document: bytes, watcher: str, now: datetime | None = None) -> Handling | None:
    """What the rules say about this watcher; None where no rule matches, and the user has not decided.

    ``watcher``: a SIP URI that was authenticated. ``now``: aware; the present unless given.
    Of all rules that match the highest value counts (RFC 4745 §10.2). Kamailio's presence_xml takes the first one;
    both agree wherever one rule matches.
    Raises BodyTooLarge above ``MAX_DOCUMENT`` octets, BadRequest for what is no such document, or no SIP URI.
    """
    address, clock = SipAddress.parse(watcher), now or datetime.now(UTC)
    rules = _root(document).iterfind(f"{_POLICY}rule")
    found = [_granted(rule) for rule in rules if _matches(rule, address, clock)]
    return max(found, key=_ORDER.index, default=None)


def for_everybody(handling: Handling) -> bytes:
    """Rules that treat all watchers alike, with the same octets each time.

    Kamailio passes over a rule without conditions, over conditions without identity, and reads the value without
    taking white space away: hence ``<many/>`` and one line. Without transformations it shows all that is published.
    """
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">'
        '<rule id="everybody"><conditions><identity><many/></identity></conditions>'
        f"<actions><pr:sub-handling>{handling.value}</pr:sub-handling></actions></rule></ruleset>\n"
    ).encode()


def _root(document: bytes) -> Element:
    if len(document) > MAX_DOCUMENT:
        raise BodyTooLarge(f"the presence rules have {len(document)} octets; at most {MAX_DOCUMENT} are read")
    root = xml.parse(document)
    if root.tag != f"{_POLICY}ruleset":
        raise BadRequest(f"presence rules are a ruleset and not {root.tag[:60]!a}")
    return root


def _granted(rule: Element) -> Handling:
    """RFC 4745 §10.2: a rule without a value, or with none that is known, has the lowest one."""
    text = (rule.findtext(f"{_POLICY}actions/{_SUB_HANDLING}") or "").strip()
    return Handling(text) if text in _ORDER else Handling.BLOCK


def _matches(rule: Element, watcher: SipAddress, now: datetime) -> bool:
    """RFC 4745 §10.1: all conditions are true; a rule without any matches everybody."""
    conditions = (condition for block in rule.iterfind(f"{_POLICY}conditions") for condition in block)
    return all(_is_true(condition, watcher, now) for condition in conditions)


def _is_true(condition: Element, watcher: SipAddress, now: datetime) -> bool:
    """RFC 4745 §7: an unknown condition is false. So is a sphere: nothing here tells one (RFC 5025 §3.1.2)."""
    if condition.tag == f"{_POLICY}identity":
        return any(_is_one(child, watcher) or _is_among_many(child, watcher) for child in condition)
    return condition.tag == f"{_POLICY}validity" and _is_valid(condition, now)


def _is_one(element: Element, watcher: SipAddress) -> bool:
    return element.tag == f"{_POLICY}one" and _is_same(element.get("id", ""), watcher)


def _is_among_many(element: Element, watcher: SipAddress) -> bool:
    """RFC 4745 §7.1.3; an exception in words that are not known may except this very watcher, so it does."""
    if element.tag != f"{_POLICY}many" or any(child.tag != f"{_POLICY}except" for child in element):
        return False
    domain = element.get("domain")
    return (domain is None or _is_domain(domain, watcher)) and not any(
        _is_excepted(child, watcher) for child in element
    )


def _is_excepted(element: Element, watcher: SipAddress) -> bool:
    return _is_same(element.get("id", ""), watcher) or _is_domain(element.get("domain", ""), watcher)


def _is_same(identity: str, watcher: SipAddress) -> bool:
    """RFC 5025 §3.1.1.2: URIs of different schemes are never equivalent. Case makes no other user."""
    try:
        return SipAddress.parse(identity).uri.lower() == watcher.uri.lower()
    except BadRequest:
        return False


def _is_domain(domain: str, watcher: SipAddress) -> bool:
    """RFC 4745 §7.1.3: compared without percent-encoding, in the ASCII form; what has none is not equal."""
    name = unquote(domain.strip())[:254]
    try:
        return normal_host(name if name.isascii() else name.encode("idna").decode()) == watcher.host
    except (BadRequest, UnicodeError):
        return False


def _is_valid(validity: Element, now: datetime) -> bool:
    """RFC 4745 §7.4: from the time of at least one <from>, until before the time of the <until> after it."""
    start: datetime | None = None
    for child in validity:
        if child.tag == f"{_POLICY}from":
            start = _time(child.text)
        elif child.tag == f"{_POLICY}until":
            end = _time(child.text)
            if start and end and start <= now < end:
                return True
            start = None
    return False


def _time(text: str | None) -> datetime | None:
    """An xs:dateTime, taken for UTC without a zone; None for what is none."""
    stripped = (text or "").strip()
    try:
        time = datetime.fromisoformat(stripped) if "T" in stripped else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time
