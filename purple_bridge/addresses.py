"""Owns SIP and IM addresses, parsed once at the edge; must not know Kamailio, libpurple or the database.

``SipAddress``     who a SIP URI means: user, host, instance (RFC 3261 §19.1, RFC 5627)
``ImContact``      who an IM network means: protocol plugin id and the name there
``GatewayDomain``  the two-way mapping between them, for contacts without a row in the mapping table
``jid_of``         the JID that a name in such an address means (RFC 7247 §6.4)
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

from purple_bridge.errors import BadRequest, ConfigurationError

GATEWAY_SENDER = "sip:gateway@purple.invalid"
"""What the routes give the presence server as the sender of the gateway's own publications."""
OWN_CALL_ID = "@purple"
"""What the Call-ID of a dialog ends with in which the gateway watches a SIP user."""

# RFC 3261 §25.1, rule "user": unreserved / user-unreserved stay as they are, all else is percent-encoded.
_USER_SAFE = "-_.!~*'()&=+$,;?/"
# RFC 3261 §25.1, rule "paramchar": what a parameter value (here: gr) may contain unescaped.
_PARAM_SAFE = "-_.!~*'()[]/:&+$"

_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_MAX_HOST = 253  # RFC 1035 §2.3.4, without the length octets

# The form nearly every request has, without escapes, port and parameters: the canonical form itself.
_SIMPLE = re.compile(r"[sS][iI][pP]([sS]?):([A-Za-z0-9_.!~*'()&=+$,/-]+)@([A-Za-z0-9._-]+)")
# Wider than RFC 3261 §25.1 in the user part: phones send "[]{}|\^`#" and raw UTF-8 there without escapes.
_URI = re.compile(
    r"""sip(?P<secure>s?):
        (?:(?P<user>[^\s<>"@:]+)(?::[^\s<>"@]*)?@)?
        (?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)
        (?::[0-9]{1,5})?
        (?P<params>;[^\s<>"?]*)?
        (?:\?[^\s<>"]*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# RFC 3261 §25.1, name-addr with header parameters; a display name without quotes may hold any text.
_NAME_ADDR = re.compile(r'(?: *"(?:[^"\\]|\\.)*" *|[^"<>]*)<([^<>]*)>(?: *;.*)? *')


@dataclass(frozen=True, slots=True)
class SipAddress:
    """A SIP or SIPS URI without port, password, parameters and headers: they do not name another user.

    ``user``: percent-decoded text, ``""`` where the URI has none. ``host``: lower case, IPv6 in brackets.
    ``secure``: the scheme is ``sips``. ``resource``: the ``gr`` parameter (RFC 7247 §6.3), percent-decoded.
    ``encoded_user``: the user part as a URI writes it; made from ``user`` unless given. It tells ``%2A``
    from ``*``, which RFC 3261 §19.1.4 holds equal, but which are two IM contacts at a gateway domain.

    Raises BadRequest for a control character or a host that is none.
    """

    user: str
    host: str
    secure: bool = False
    resource: str | None = None
    encoded_user: str = ""

    def __post_init__(self) -> None:
        if _REFUSED.search(self.user) or (self.resource and _REFUSED.search(self.resource)):
            raise BadRequest("control character in a SIP address")
        object.__setattr__(self, "host", normal_host(self.host))
        if not self.encoded_user:
            object.__setattr__(self, "encoded_user", quote(self.user, safe=_USER_SAFE))

    @classmethod
    def parse(cls, text: str) -> SipAddress:
        """The address in a URI, a name-addr, or a From, To or Contact value (RFC 3261 §19.1, §20.10).

        Raises BadRequest, with the reason in words, for everything else.
        """
        simple = _SIMPLE.fullmatch(text)
        if simple:
            secure, user, host = simple.groups()
            return cls(user, host, secure != "", None, user)
        if _REFUSED.search(text):
            raise BadRequest(f"control character in the SIP address {_shown(text)}")
        name_addr = _NAME_ADDR.fullmatch(text)
        uri = _URI.fullmatch(name_addr[1] if name_addr else text.strip(" "))
        if not uri:
            raise BadRequest(f"not a SIP address: {_shown(text)}")
        user = uri["user"] or ""
        resource = _gr_parameter(uri["params"] or "")
        return cls(_decoded(user), uri["host"], uri["secure"] != "", resource, _canonical_user(user))

    @property
    def uri(self) -> str:
        """The canonical URI of the user, the same for every phone: ``sip:alice@example.org``."""
        scheme = "sips" if self.secure else "sip"
        return f"{scheme}:{self.encoded_user}@{self.host}" if self.user else f"{scheme}:{self.host}"

    @property
    def gruu(self) -> str:
        """The canonical URI of this one phone (RFC 5627 §3): ``uri`` with the ``gr`` parameter, if any."""
        return f"{self.uri};gr={quote(self.resource, safe=_PARAM_SAFE)}" if self.resource else self.uri

    @property
    def key(self) -> str:
        """What makes two addresses the same user: ``alice@example.org``, in lower case.

        RFC 3261 §19.1.4 compares the user part with its case; people and IM networks do not.
        """
        return f"{self.user.lower()}@{self.host}" if self.user else self.host


@lru_cache(maxsize=4096)
def normal_host(host: str) -> str:
    """A host name or address, lower case, without the root's dot; IPv6 in brackets, shortest form.

    Raises BadRequest for what is none (RFC 3261 §25.1, rule "host"; names in ASCII only).
    """
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        try:
            return f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            raise BadRequest(f"not an IPv6 address: {_shown(host)}") from None
    lower = host.lower().removesuffix(".")
    if len(lower) > _MAX_HOST or not _HOST.fullmatch(lower):
        raise BadRequest(f"not a host name: {_shown(host)}")
    return lower


def _shown(text: str) -> str:
    """Text from a stranger, made safe for a reason phrase: escaped and short."""
    return ascii(text[:60])


def _decoded(text: str) -> str:
    """RFC 7247 §6.4 steps 3 and 4: percent-decode, treat the result as UTF-8."""
    if "%" not in text:
        return text
    if _BROKEN_ESCAPE.search(text):
        raise BadRequest(f"broken percent-encoding in the SIP address {_shown(text)}")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(f"not UTF-8 in the SIP address {_shown(text)}") from None


def _canonical_user(encoded: str) -> str:
    """The shortest legal spelling of an encoded user part; an escaped ``*`` stays escaped."""
    pieces = re.split("%2a", encoded, flags=re.IGNORECASE)
    return "%2A".join(quote(_decoded(piece), safe=_USER_SAFE) for piece in pieces)


def _gr_parameter(params: str) -> str | None:
    """The value of ``gr`` among ``;name=value`` parameters. RFC 5627 §4.3: without a value it names none."""
    for param in params.split(";"):
        name, _, value = param.partition("=")
        if name.lower() == "gr" and value:
            return _decoded(value)
    return None


# --- IM contacts as SIP addresses ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImContact:
    """``protocol``: libpurple's plugin id, or ``gtalk``. ``name``: the contact's name on that network."""

    protocol: str
    name: str


LONGEST_NAME = 2047
"""Octets of a name on an IM network; no network in use has longer ones (RFC 7622 §3.1: a bare JID)."""

# Characters; a row of combining marks takes the square of the time, and names of that length are ASCII, if any.
_LONGEST_COMPOSED = 1023
_LONGEST_KEPT = 256  # characters of a name that is remembered here: contacts choose their own

# Labels that are not simply the plugin id without "prpl-".
_LABELS = {"prpl-jabber": "xmpp", "gtalk": "gtalk", "prpl-meanwhile": "sametime"}
_PROTOCOLS = {label: protocol for protocol, label in _LABELS.items()}
_PLAIN_LABEL = re.compile(r"(?!id-)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035 §2.3.1, digits first too
_ESCAPED_LABEL = re.compile(r"id-(?:[a-z0-9]|-[0-9a-f]{2})+")


def protocol_label(protocol: str) -> str:
    """The DNS label of a protocol plugin id: ``xmpp`` for ``prpl-jabber``, ``irc`` for ``prpl-irc``, …

    ``prpl-NAME`` is NAME; an id of another shape is ``id-`` and the id, with ``-XX`` (hexadecimal) for each
    octet that is no lower-case letter or digit. Raises BadRequest for an id too long for a label.
    """
    if protocol in _LABELS:
        return _LABELS[protocol]
    name = protocol.removeprefix("prpl-")
    if name != protocol and name not in _PROTOCOLS and _PLAIN_LABEL.fullmatch(name):
        return name
    label = "id-" + re.sub(rb"[^a-z0-9]", lambda c: b"-%02x" % ord(c[0]), protocol.encode()).decode()
    if not protocol or len(label) > 63:
        raise BadRequest(f"the protocol {_shown(protocol)} cannot be part of an address")
    return label


def protocol_of_label(label: str) -> str | None:
    """The plugin id whose ``protocol_label`` is this label; None where there is none."""
    if label in _PROTOCOLS:
        return _PROTOCOLS[label]
    if _PLAIN_LABEL.fullmatch(label):
        protocol = f"prpl-{label}"
    elif _ESCAPED_LABEL.fullmatch(label):
        protocol = _decoded_octets(label.removeprefix("id-"))
    else:
        return None
    # One id has one label: "jabber" or an escape that was not needed name nothing.
    return protocol if protocol and protocol_label(protocol) == label else None


def _decoded_octets(escaped: str) -> str:
    try:
        return unquote(escaped.replace("-", "%"), errors="strict")
    except UnicodeDecodeError:
        return ""


@lru_cache(maxsize=16384)
def _contact_uri(domain: str, protocol: str, ext_user: str) -> SipAddress:
    if not ext_user:
        raise BadRequest("an IM contact needs a name")
    if _REFUSED.search(ext_user):
        raise BadRequest(f"control character in the IM name {_shown(ext_user)}")
    _check_length(ext_user)
    encoded = quote(ext_user, safe=_USER_SAFE + "@").replace("*", "%2A").replace("@", "*")
    return SipAddress(
        user=ext_user.replace("@", "*"), host=f"{protocol_label(protocol)}.{domain}", encoded_user=encoded
    )


def _check_length(name: str) -> None:
    if len(name.encode()) > LONGEST_NAME:
        raise BadRequest(f"the IM name {_shown(name)} is too long")


@dataclass(frozen=True, slots=True)
class GatewayDomain:
    """The domain below which IM contacts have SIP addresses: ``sip:carol*jabber.org@xmpp.im.example.org``.

    ``domain``: the parameter ``purple.gateway_domain``. Raises ConfigurationError where it is no domain name.
    """

    domain: str

    def __post_init__(self) -> None:
        try:
            domain = normal_host(self.domain)
        except BadRequest as error:
            raise ConfigurationError(f"purple.gateway_domain: {error}; set a domain name") from None
        if domain.startswith("["):
            raise ConfigurationError("purple.gateway_domain: set a domain name, not an IP address")
        object.__setattr__(self, "domain", domain)

    def contact_uri(self, protocol: str, ext_user: str) -> SipAddress:
        """The SIP address of an IM contact: ``@`` is written as ``*``, and ``*`` itself as ``%2A``.

        Raises BadRequest for an empty name, one with control characters or one of more than ``LONGEST_NAME`` octets.
        """
        make = _contact_uri if len(ext_user) <= _LONGEST_KEPT else _contact_uri.__wrapped__
        return make(self.domain, protocol, ext_user)

    def presentity(self, contact: SipAddress, watcher: str) -> SipAddress:
        """Under which the presence server keeps what one watcher (SipAddress.key) sees of an IM contact.

        One for each of them: what a contact shows to one user is not for another, and neither is its refusal. The
        user part is a digest, since the server's tables have room for 64 characters.
        """
        digest = blake2b(f"{contact.uri.lower()}\0{watcher}".encode(), digest_size=16).hexdigest()
        return SipAddress(digest, self.domain)

    def is_presentity(self, address: SipAddress) -> bool:
        """Whether the address can only be one of ``presentity``: no contact has one without a label."""
        return address.host == self.domain

    def contact_of(self, address: SipAddress | str) -> ImContact | None:
        """The IM contact an address stands for; None where the host is not ``<label>.<domain>``.

        Raises BadRequest for text that is no SIP address, and for a name of more than ``LONGEST_NAME`` octets.
        """
        sip = SipAddress.parse(address) if isinstance(address, str) else address
        label, _, domain = sip.host.partition(".")
        if domain != self.domain or not sip.user:
            return None
        protocol = protocol_of_label(label)
        name = _decoded(sip.encoded_user.replace("*", "@"))
        _check_length(name)
        return ImContact(protocol, name) if protocol else None


_NOT_IN_LOCAL_PART = re.compile("[&'/]")


def jid_of(name: str, resource: str | None = None) -> str:
    """RFC 7247 §6.4: a SIP user may have ``& ' /``, the local part of a JID not: there they are XEP-0106's escapes.

    ``o'malley@x.example`` is o\\27malley@x.example, and ``a/b@x.example`` not the host a. What is escaped already, as
    in the addresses that the gateway itself writes, stays. ``resource``: the parameter ``gr``.
    """
    local, at, domain = name.partition("@")
    if at:
        name = _NOT_IN_LOCAL_PART.sub(lambda found: f"\\{ord(found[0]):02x}", local) + at + domain
    return f"{name}/{resource}" if resource and "/" not in name else name


# Protocols whose names differ by neither case nor resource.
_XMPP_PROTOCOLS = frozenset({"prpl-jabber", "gtalk"})


def normalize_im_name(protocol: str, name: str) -> str:
    """The form in which two names of one account or contact are equal.

    XMPP: the bare JID in lower case (RFC 7622 §3.3.1). IRC: nick, or ``nick@server``, in lower case (RFC 2812
    §2.2). Other networks have rules of their own: only surrounding white space goes.
    """
    return (_normal_name if len(name) <= _LONGEST_KEPT else _normal_name.__wrapped__)(protocol, name)


@lru_cache(maxsize=16384)
def _normal_name(protocol: str, name: str) -> str:
    stripped = name.strip()
    if protocol in _XMPP_PROTOCOLS:
        stripped = stripped.partition("/")[0].rstrip()
    elif protocol != "prpl-irc":
        return stripped
    lower = stripped.lower()
    return unicodedata.normalize("NFC", lower) if len(lower) <= _LONGEST_COMPOSED else lower


def name_as_contact(protocol: str, account: str, name: str) -> str | None:
    """How ``account`` addresses ``name``, which may be an account's name; None: it is on another server.

    IRC: an account is ``nick@server``, a contact of it is a nick or a channel on that server.
    """
    nick, at, server = name.rpartition("@")
    if protocol != "prpl-irc" or not at:
        return name
    return nick if server.lower() == account.rpartition("@")[2].lower() else None


def name_as_account(protocol: str, account: str, contact: str) -> str:
    """The reverse: what ``account``'s contact would be called, had it an account here."""
    if protocol != "prpl-irc" or "@" in contact:
        return contact
    return f"{contact}@{account.rpartition('@')[2]}"
