"""Owns what an error of one world is in the other: RFC 7247 §7 as a table, and words; must not know who failed.

Conditions have the names of RFC 6120 §8.3.3 on every IM network.
"""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType

MAX_WORDS = 200
"""Characters of a network's or phone's own text that are passed on, with the new address in it."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>]+")


def sip_status(condition: str, *, full_jid: bool = False) -> int:
    """The SIP status for an IM error condition (RFC 7247 §7); 400 for an unknown condition.

    ``full_jid``: the error is about one client of the contact, not about the contact.
    """
    one_client, contact = _SIP_STATUS.get(condition, _SIP_STATUS["undefined-condition"])
    return one_client if full_jid else contact


def condition_of(status: int) -> str:
    """The IM error condition for a SIP status (RFC 7247 §7); undefined-condition below 300."""
    return _CONDITION.get(status) or _CONDITION_OF_CLASS.get(status // 100, "undefined-condition")


def in_words(condition: str, text: str = "") -> str:
    """Why an IM network did not take a message, as a clause for a person, after "not delivered: ".

    ``text``: the network's own; added in parentheses, on one line, if it says more than the condition. Where it ends in
    the ``new_address`` of a contact that has moved, the words name that.
    """
    words = _CONDITION_WORDS.get(condition, _CONDITION_WORDS["undefined-condition"])
    own, address = _parted(text) if condition in _MOVED_WORDS else (text, "")
    if address:
        words = f"{_MOVED_WORDS[condition]}: {address}"
    return _with(words, own, condition, MAX_WORDS - len(address))


def sip_in_words(status: int, reason: str) -> str:
    """Why a SIP phone did not take a message, as a clause for a person, after "not delivered: ".

    ``reason``: the reason phrase; added in parentheses, on one line, if it is not the usual one (RFC 3261 §21). Where
    that of a 3xx ends in the ``new_address``, the words name it.
    """
    words = _STATUS_WORDS.get(status) or _CLASS_WORDS.get(status // 100, "it failed")
    own, address = _parted(reason) if status // 100 == 3 else (reason, "")
    if address:
        words = f"{words}: {address}"
    return _with(words, own, _USUAL_REASON.get(status, ""), MAX_WORDS - len(address))


def new_address(text: str) -> str:
    """The URI in angle brackets at the end of what a network or phone says of somebody who has moved, "" if none.

    XMPP has it in the condition (RFC 6120 §8.3.3.5, §8.3.3.14), SIP in Contact (RFC 3261 §8.1.3.4); here it is behind
    the text. Visible, and short enough for words.
    """
    return _parted(text)[1]


def _parted(text: str) -> tuple[str, str]:
    """The text without the new address, and that."""
    before, bracket, rest = text.rstrip().rpartition("<")
    address = rest.removesuffix(">")
    is_one = bracket and rest.endswith(">") and len(address) <= MAX_WORDS and _URI.fullmatch(address)
    return (before, address) if is_one and _one_line(address) == address else (text, "")


def _with(words: str, text: str, known: str, room: int) -> str:
    """The text is left out if nothing but the words or what is known anyway (``known``) is in it.

    ``room``: its characters, at most.
    """
    line = _one_line(text)[:room].strip()
    plain = _letters(line)
    if not plain or plain == _letters(known) or plain in _letters(words):
        return words
    return f"{words} ({line})"


def _one_line(text: str) -> str:
    """At most ``MAX_WORDS`` visible characters."""
    folded = " ".join(text.split())
    visible = "".join(char for char in folded if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Cn"})
    return visible[:MAX_WORDS].strip()


def _letters(text: str) -> str:
    """What two texts are compared by: letters and digits, without case."""
    return "".join(char for char in text.casefold() if char.isalnum())


# Condition: (for a full JID, for a bare JID). Two notes of RFC 7247 §7 on what is not in the condition:
# "gone" is 301 only with the new address, and service-unavailable is never 503, which a phone would take for
# a failure of this gateway.
_SIP_STATUS = MappingProxyType(
    {
        "bad-request": (400, 400),
        "conflict": (400, 400),
        "feature-not-implemented": (405, 501),
        "forbidden": (403, 603),
        "gone": (410, 410),
        "internal-server-error": (500, 500),
        "item-not-found": (404, 604),
        "jid-malformed": (400, 400),
        "not-acceptable": (406, 606),
        "not-allowed": (403, 403),
        "not-authorized": (401, 401),
        "policy-violation": (403, 403),
        "recipient-unavailable": (480, 600),
        "redirect": (302, 302),
        "registration-required": (407, 407),
        "remote-server-not-found": (404, 404),
        "remote-server-timeout": (408, 408),
        "resource-constraint": (500, 500),
        "service-unavailable": (403, 403),
        "subscription-required": (400, 400),
        "undefined-condition": (400, 400),
        "unexpected-request": (491, 491),
    }
)
CONDITIONS = frozenset(_SIP_STATUS)
"""All conditions of RFC 6120 §8.3.3."""

_STATUSES = {
    "bad-request": (400, 402, 493),
    "feature-not-implemented": (405, 420, 439, 501),
    "forbidden": (403,),
    "gone": (301, 410),
    "internal-server-error": (500, 503),
    "item-not-found": (404, 481, 484, 485, 604),
    "not-acceptable": (380, 406, 415, 416, 421, 482, 483, 488, 505, 606),
    "not-authorized": (401,),
    "policy-violation": (413, 414, 440, 489, 513),
    "recipient-unavailable": (430, 480, 486, 487, 600, 603),
    "redirect": (300, 302, 305),
    "registration-required": (407,),
    "remote-server-not-found": (502,),
    "remote-server-timeout": (408, 504),
    "resource-constraint": (423,),
    "unexpected-request": (491,),
}
_CONDITION = {status: condition for condition, statuses in _STATUSES.items() for status in statuses}
_CONDITION_OF_CLASS = {3: "redirect", 4: "bad-request", 5: "internal-server-error", 6: "recipient-unavailable"}

_REFUSED = "blocked you or does not accept messages from you"
_CONDITION_WORDS = MappingProxyType(
    {
        "bad-request": "the network did not understand the message",
        "conflict": "the account is in use elsewhere",
        "feature-not-implemented": "cannot receive messages of this kind",
        "forbidden": _REFUSED,
        "gone": "can no longer be reached at this address",
        "internal-server-error": "the network had an internal error",
        "item-not-found": "no such user",
        "jid-malformed": "not a valid address on this network",
        "not-acceptable": "the network does not accept this message",
        "not-allowed": _REFUSED,
        "not-authorized": "you are not allowed to write there",
        "policy-violation": "the network's rules do not allow this message",
        "recipient-unavailable": "is not available at the moment",
        "redirect": "can be reached at another address now",
        "registration-required": "you must register or join there first",
        "remote-server-not-found": "there is no such server",
        "remote-server-timeout": "the contact's server does not answer",
        "resource-constraint": "the network is too busy at the moment",
        "service-unavailable": "is offline, blocked you or does not accept messages from you",
        "subscription-required": "accepts messages of approved contacts only",
        "undefined-condition": "the network refused it",
        "unexpected-request": "the network did not expect this message now",
    }
)

_MOVED_WORDS = {"gone": "has moved to another address", "redirect": _CONDITION_WORDS["redirect"]}

_NOT_REACHABLE = "is not reachable"
_NO_USER = "no such user"
_PHONE_REFUSED = "the phone refused it"
_STATUS_WORDS = MappingProxyType(
    {
        301: "has moved to another address",
        302: "can be reached at another address now",
        401: "the phone wants you to log in first",
        403: _PHONE_REFUSED,
        404: _NO_USER,
        405: "the phone does not take messages",
        407: "the phone wants you to log in first",
        408: "the phone does not answer",
        410: "can no longer be reached at this address",
        413: "it is too long for the phone",
        415: "the phone cannot show messages of this kind",
        423: _NOT_REACHABLE,
        430: _NOT_REACHABLE,
        480: _NOT_REACHABLE,
        482: "it went round in a circle",
        483: "it went round in a circle",
        484: _NO_USER,
        485: "the address means more than one user",
        486: "is busy",
        488: "the phone cannot show messages of this kind",
        501: "the phone does not take messages",
        502: "the phone's server cannot be reached",
        503: "the phone's server is too busy or down",
        504: "the phone's server does not answer",
        513: "it is too long for the phone",
        600: "is busy",
        603: _PHONE_REFUSED,
        604: _NO_USER,
        606: "the phone cannot show messages of this kind",
    }
)
_CLASS_WORDS = {
    3: "can be reached at another address now",
    4: _PHONE_REFUSED,
    5: "the phone or its server had an error",
    6: _PHONE_REFUSED,
}

# RFC 3261 §21 and the registry it started: what says nothing beside its status.
_USUAL_REASON = MappingProxyType(
    {
        300: "Multiple Choices",
        301: "Moved Permanently",
        302: "Moved Temporarily",
        305: "Use Proxy",
        380: "Alternative Service",
        400: "Bad Request",
        401: "Unauthorized",
        402: "Payment Required",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        406: "Not Acceptable",
        407: "Proxy Authentication Required",
        408: "Request Timeout",
        410: "Gone",
        413: "Request Entity Too Large",
        414: "Request-URI Too Long",
        415: "Unsupported Media Type",
        416: "Unsupported URI Scheme",
        420: "Bad Extension",
        421: "Extension Required",
        423: "Interval Too Brief",
        430: "Flow Failed",
        480: "Temporarily Unavailable",
        481: "Call/Transaction Does Not Exist",
        482: "Loop Detected",
        483: "Too Many Hops",
        484: "Address Incomplete",
        485: "Ambiguous",
        486: "Busy Here",
        487: "Request Terminated",
        488: "Not Acceptable Here",
        491: "Request Pending",
        493: "Undecipherable",
        500: "Server Internal Error",
        501: "Not Implemented",
        502: "Bad Gateway",
        503: "Service Unavailable",
        504: "Server Time-out",
        505: "Version Not Supported",
        513: "Message Too Large",
        600: "Busy Everywhere",
        603: "Decline",
        604: "Does Not Exist Anywhere",
        606: "Not Acceptable",
    }
)
