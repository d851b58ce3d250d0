"""Owns what happens to an HTTP request: documents of the users by XCAP (RFC 4825). Knows no IM network.

The module xcap_server stores and hands out the documents, in the table ``xcap``, where the modules presence_xml and rls
read them. This one decides who may have which, and does what xcap_server cannot: elements and attributes with
namespaces, conditions with ``*``, and an answer in words for what is refused.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote
from xml.sax.saxutils import escape, quoteattr

import KSR  # type: ignore[import-not-found]  # exists inside Kamailio only

from purple_bridge import xcap_nodes
from purple_bridge.bodies import xml
from purple_bridge.digest import Credentials, Nonces
from purple_bridge.errors import BadRequest
from purple_bridge.guesses import Guesses
from purple_bridge.xcap_nodes import NotPossible, Selector

ROOT = "/xcap-root/"
SUBSCRIBERS = "subscriber"
DATABASE = "xcap"  # the name of the connection in kamailio.cfg
MAX_DOCUMENT = 200_000  # octets; with its headers a request must fit into tcp_rd_buf_size
MAX_DOCUMENTS = 50  # of one user
MAX_PATH = 255  # characters of a document's path that xcap_server and the table take
METHODS = ("GET", "PUT", "DELETE")
XML_TYPES = ("application/xml", "text/xml")
ELEMENT_TYPE, ATTRIBUTE_TYPE = "application/xcap-el+xml", "application/xcap-att+xml"
ERROR_TYPE, CAPS_TYPE = "application/xcap-error+xml", "application/xcap-caps+xml"

CAPS_NAMESPACE = "urn:ietf:params:xml:ns:xcap-caps"
POLICY_NAMESPACE = "urn:ietf:params:xml:ns:common-policy"
RULES_NAMESPACE = "urn:ietf:params:xml:ns:pres-rules"
RULES, OMA_RULES = "pres-rules", "org.openmobilealliance.pres-rules"
LISTS, SERVICES = "resource-lists", "rls-services"

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|~~|(?:^|/)\.{0,2}(?:/|$)")
_ENCODING = re.compile(r"<\?xml[^>]*\sencoding\s*=\s*[\"']([^\"']*)")
_ETAGS = re.compile(r"\"[^\"]*\"|\*")


@dataclass(frozen=True, slots=True)
class Usage:
    """An application usage: ``root`` is the document's root element as ``{namespace}name``.

    ``namespace``: that of names without prefix in node selectors. ``only``: its one document for each user; empty: any.
    """

    media_type: str
    root: str
    namespace: str
    only: str = ""


_RULES_USAGE = ("application/auth-policy+xml", f"{{{POLICY_NAMESPACE}}}ruleset", RULES_NAMESPACE)
USAGES = {
    # presence_xml and rls read one row for each user, whatever its name
    RULES: Usage(*_RULES_USAGE, "index"),
    OMA_RULES: Usage(*_RULES_USAGE, "pres-rules"),
    SERVICES: Usage(
        "application/rls-services+xml",
        "{urn:ietf:params:xml:ns:rls-services}rls-services",
        "urn:ietf:params:xml:ns:rls-services",
        "index",
    ),
    LISTS: Usage(
        "application/resource-lists+xml",
        "{urn:ietf:params:xml:ns:resource-lists}resource-lists",
        "urn:ietf:params:xml:ns:resource-lists",
    ),
    "pidf-manipulation": Usage(
        "application/pidf+xml", "{urn:ietf:params:xml:ns:pidf}presence", "urn:ietf:params:xml:ns:pidf"
    ),
}
WATCHED = (RULES, LISTS)  # the gateway is told of


class Refused(Exception):
    """An answer other than success; ``condition`` is what RFC 4825 §11 calls it, for a 409."""

    def __init__(self, status: int, reason: str, condition: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.condition = status, reason, condition


@dataclass(frozen=True, slots=True)
class Target:
    """What a request URI names: a document of a user, or with ``selector`` a part of it.

    ``auid`` as documents are stored: both kinds of presence rules are one document, since presence_xml reads one.
    """

    auid: str
    user: str
    domain: str
    file: str
    selector: Selector | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Raises Refused with 404 for what is no such document, and 400 for a bad node selector."""
        path, _, query = uri.partition("?")
        document, _, node = path.partition("/~~/")
        parts = [_decoded(part) for part in document.removeprefix(ROOT).split("/")]
        auid, tree, xui, file = parts[0], *[*parts[1:3], "", ""][:2], "/".join(parts[3:])
        usage = USAGES.get(auid)
        user, _, domain = xui.removeprefix("sip:").rpartition("@")
        if usage is None or tree != "users" or not user or not file or _UNSAFE.search(f"{xui}/{file}"):
            raise Refused(404, "Not Found")
        if usage.only:
            if file != usage.only:
                raise Refused(404, "Not Found")
            auid, file = RULES if auid == OMA_RULES else auid, "index"
        selector = _selector(_decoded(node), _decoded(query), usage) if node else None
        return cls(auid, user, domain.lower(), file, selector)

    @property
    def user_uri(self) -> str:
        return f"sip:{self.user}@{self.domain}"

    @property
    def path(self) -> str:
        """As it stands in the table."""
        return f"{ROOT}{self.auid}/users/{self.user_uri}/{self.file}"

    @property
    def stored_path(self) -> str:
        """As xcap_server takes it, which decodes it once."""
        return self.path.replace("%", "%25")

    @property
    def usage(self) -> Usage:
        return USAGES[self.auid]


class XcapServer:
    """Answers HTTP requests; made before Kamailio forks, so that all its processes know each other's nonces."""

    def __init__(self, authenticate: bool, guesses: Guesses) -> None:
        """``authenticate``: the user named in the path has to prove it."""
        self._authenticate, self._guesses = authenticate, guesses
        self._nonces = Nonces(secrets.token_bytes(32))

    def handle(self) -> None:
        """Answer the request. Raises nothing but what is an error of the gateway."""
        try:
            self._handle()
        except Refused as refused:
            if refused.condition:
                _reply(refused.status, refused.reason, ERROR_TYPE, _error_document(refused))
            else:
                _reply(refused.status, refused.reason)

    def _handle(self) -> None:
        method, uri = _text("$rm"), _without_host(_text("$hu"))
        if "close" in _text("$hdr(Connection)").lower():
            KSR.set_reply_close()
        if not uri.startswith(ROOT):
            raise Refused(404, "Not Found")
        if method not in METHODS:
            KSR.hdr.append_to_reply(f"Allow: {', '.join(METHODS)}\r\n")
            raise Refused(405, "Method Not Allowed")
        if uri == f"{ROOT}xcap-caps/global/index":
            return _capabilities(method)
        if KSR.purple.database_answers(0 if method == "GET" else 1) < 0:  # phones over TCP would wait behind this
            KSR.hdr.append_to_reply("Retry-After: 5\r\n")
            raise Refused(503, "The database does not answer")
        target = Target.parse(uri)
        if KSR.is_myself(f"sip:{target.domain}") <= 0 or len(target.stored_path) > MAX_PATH:
            raise Refused(404, "Not Found")
        if self._authenticate:
            self._check_user(method, uri, target)
        return _serve(method, target)

    def _check_user(self, method: str, uri: str, target: Target) -> None:
        """RFC 4825 §5.2: one's own documents, by digest."""
        count, now = int(_text("$hdrc(Authorization)") or 0), time.time()
        if count > 1:
            raise Refused(400, "One set of credentials only")
        credentials = Credentials.parse(_text("$hdr(Authorization)"))
        if count and (credentials is None or _without_host(credentials["uri"]) != uri):
            raise Refused(400, "Bad credentials")
        proved = credentials is not None and self._is_proved(credentials, method, target.domain)
        if credentials is None or not proved or not self._nonces.is_fresh(credentials["nonce"], now):
            challenge = self._nonces.challenge(target.domain, now, stale=proved)
            KSR.hdr.append_to_reply(f"WWW-Authenticate: {challenge}\r\n")
            raise Refused(401, "Unauthorized")
        if _name_of(credentials, target.domain) != target.user:
            raise Refused(403, "Documents of another user")

    def _is_proved(self, credentials: Credentials, method: str, realm: str) -> bool:
        """Raises Refused after too many wrong passwords, whether this one is right or not."""
        if credentials["realm"].lower() != realm:
            return False
        name, address = _name_of(credentials, realm), _text("$si")
        if seconds := self._guesses.wait(name, realm, address):
            KSR.purple.limited("password")
            KSR.hdr.append_to_reply(f"Retry-After: {seconds}\r\n")
            raise Refused(429, "Too many wrong passwords")  # RFC 6585 §4
        ha1 = _row("ha1", SUBSCRIBERS, username=name, domain=realm)
        proved = ha1 is not None and credentials.proves(method, ha1[0])
        if not proved:
            self._guesses.count(name, realm, address)
        return proved


def _serve(method: str, target: Target) -> None:
    """One request for a user's documents after the other, so that what was checked is still true when it is stored."""
    keys = _lock_keys(target.user_uri)
    KSR.cfgutils.lock(*keys)
    try:
        stored = _stored(target)
        _check_conditions(method, stored[0] if stored else "")
        changed = {"GET": _get, "PUT": _put, "DELETE": _delete}[method](target, stored[1] if stored else None, stored)
    finally:
        KSR.cfgutils.unlock(*keys)
    if changed:
        _tell_watchers(target)
        _tell_gateway(method, target)


def _get(target: Target, document: str | None, stored: tuple[str, str] | None) -> bool:
    """The gateway hears of it first: a phone that has its answer may write at once, through another process."""
    if document is None or stored is None:
        raise Refused(404, "Not Found")
    part = _part(target, document)
    _tell_gateway("GET", target)
    if part is None:
        KSR.xcap_server.xcaps_get(target.user_uri, target.stored_path)
    else:
        KSR.hdr.append_to_reply(f'ETag: "{stored[0]}"\r\n')
        _reply(200, "OK", _accepted_types(target)[0], part)
    return False


def _part(target: Target, document: str) -> str | None:
    """What the node selector names, None without one. Raises Refused if it names nothing."""
    if target.selector is None:
        return None
    found = xcap_nodes.read(document.encode(), target.selector)
    if found is None:
        raise Refused(404, "Not Found")
    return found.decode()


def _put(target: Target, document: str | None, _stored: object) -> bool:
    body = _body(target)
    if target.selector is not None:
        if document is None:
            raise Refused(409, "Conflict", "no-parent")
        try:
            changed, _ = xcap_nodes.put(document.encode(), target.selector, body.encode())
        except NotPossible as error:
            raise Refused(409, "Conflict", error.condition) from None
        body = changed.decode()
    elif document is None and _count_documents(target) >= MAX_DOCUMENTS:
        raise Refused(409, "Conflict", "constraint-failure")
    _check_document(target, body)
    return _store(target, body)


def _delete(target: Target, document: str | None, _stored: object) -> bool:
    if document is None:
        raise Refused(404, "Not Found")
    if target.selector is None:
        return bool(KSR.xcap_server.xcaps_del(target.user_uri, target.stored_path) > 0)
    try:
        changed = xcap_nodes.delete(document.encode(), target.selector)
    except NotPossible as error:
        raise Refused(409, "Conflict", error.condition) from None
    if changed is None:
        raise Refused(404, "Not Found")
    _check_document(target, changed.decode())
    return _store(target, changed.decode())


def _store(target: Target, document: str) -> bool:
    return bool(KSR.xcap_server.xcaps_put(target.user_uri, target.stored_path, document) > 0)


def _tell_watchers(target: Target) -> None:
    """Of a change: watchers are decided anew, lists are watched anew."""
    if target.auid == RULES:
        KSR.presence.pres_refresh_watchers(target.user_uri, "presence", 0)
    if target.auid in (LISTS, SERVICES):
        KSR.rls.update_subs(target.user_uri, "presence")


def _tell_gateway(method: str, target: Target) -> None:
    if target.auid in WATCHED:
        conditional = target.selector is not None or KSR.hdr.is_present("If-Match") > 0
        KSR.purple.handle_xcap(target.auid, target.user_uri, method, int(conditional))


def _capabilities(method: str) -> None:
    """RFC 4825 §12: what this server can do, for everybody."""
    if method != "GET":
        KSR.hdr.append_to_reply("Allow: GET\r\n")
        raise Refused(405, "Method Not Allowed")
    namespaces = dict.fromkeys([CAPS_NAMESPACE, POLICY_NAMESPACE, *(usage.namespace for usage in USAGES.values())])
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<xcap-caps xmlns="{CAPS_NAMESPACE}">',
        f"<auids>{''.join(f'<auid>{auid}</auid>' for auid in ('xcap-caps', *USAGES))}</auids>",
        "<extensions/>",
        f"<namespaces>{''.join(f'<namespace>{each}</namespace>' for each in namespaces)}</namespaces>",
        "</xcap-caps>",
    ]
    _reply(200, "OK", CAPS_TYPE, "\n".join(lines))


# ---- what is checked before xcap_server sees it


def _check_conditions(method: str, etag: str) -> None:
    """RFC 7232 §3.1, §3.2. ``etag``: of the stored document, empty without one."""
    wanted, unwanted = (_ETAGS.findall(_text(f"$hdr({name})")) for name in ("If-Match", "If-None-Match"))
    names = {"*", f'"{etag}"'} if etag else set()
    if KSR.hdr.is_present("If-Match") > 0 and not names & set(wanted):
        raise Refused(412, "Precondition Failed")
    if names & set(unwanted):
        raise Refused(304, "Not Modified") if method == "GET" else Refused(412, "Precondition Failed")


def _body(target: Target) -> str:
    if int(_text("$cl") or 0) > MAX_DOCUMENT:
        raise Refused(413, "Payload Too Large")
    if _text("$hdr(Content-Type)").partition(";")[0].strip().lower() not in _accepted_types(target):
        raise Refused(415, "Unsupported Media Type")
    try:
        return _text("$rb")
    except UnicodeDecodeError:
        raise Refused(409, "Conflict", "not-utf-8") from None


def _accepted_types(target: Target) -> tuple[str, ...]:
    """For a document also what clients call any XML."""
    if target.selector is None:
        return target.usage.media_type, *XML_TYPES
    return (ATTRIBUTE_TYPE if target.selector.attribute else ELEMENT_TYPE,)


def _check_document(target: Target, document: str) -> None:
    """RFC 4825 §8.2.2, §8.2.5; entities would be read by libxml2, in every process that reads the document."""
    octets = document.encode()
    if len(octets) > MAX_DOCUMENT:
        raise Refused(413, "Payload Too Large")
    encoding = _ENCODING.match(document)
    if encoding and encoding[1].upper() not in ("UTF-8", "US-ASCII"):
        raise Refused(409, "Conflict", "not-utf-8")
    try:
        root = xml.parse(octets)
    except BadRequest:
        raise Refused(409, "Conflict", "not-well-formed") from None
    if root.tag != target.usage.root:
        raise Refused(409, "Conflict", "schema-validation-error")
    if target.auid == RULES and root.find(f".//{{{POLICY_NAMESPACE}}}except[@id]") is not None:
        # presence_xml does not see this exception, and would show the user to whom he excludes
        raise Refused(409, "Conflict", "constraint-failure")


def _stored(target: Target) -> tuple[str, str] | None:
    """ETag and text of the document in the table, None without one."""
    found = _row("etag, doc", "xcap", doc_uri=target.path)
    return (found[0], found[1]) if found else None


def _count_documents(target: Target) -> int:
    row = _row("COUNT(*)", "xcap", username=target.user, domain=target.domain)
    return int(row[0]) if row else 0


def _row(columns: str, table: str, **where: str) -> list[str] | None:
    """The first row; values are quoted as all three databases read it, as long as they have no backslash."""
    if any("\\" in value for value in where.values()):
        return None
    quoted = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in where.items())
    statement = f"SELECT {columns} FROM {table} WHERE {' AND '.join(quoted)}"  # noqa: S608 - sqlops knows no parameters
    if KSR.sqlops.sql_query(DATABASE, statement, "row") < 0:
        raise RuntimeError(f"the table {table} cannot be read")
    try:
        if KSR.sqlops.sql_num_rows("row") <= 0:
            return None
        return [str(KSR.sqlops.sql_result_gete("row", 0, column)) for column in range(columns.count(",") + 1)]
    finally:
        KSR.sqlops.sql_result_free("row")


# ---- parts


def _selector(node: str, query: str, usage: Usage) -> Selector:
    try:
        return Selector.parse(node, query, usage.namespace)
    except ValueError:
        raise Refused(400, "Bad node selector") from None


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Refused(404, "Not Found") from None


def _name_of(credentials: Credentials, realm: str) -> str:
    """The user name, which may be written with the domain."""
    return credentials["username"].removesuffix(f"@{realm}")


def _without_host(uri: str) -> str:
    """RFC 7230 §5.3.2: a request URI may be absolute."""
    return re.sub(r"^https?://[^/]*", "", uri, flags=re.IGNORECASE)


def _error_document(refused: Refused) -> str:
    """RFC 4825 §11.2."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error">'
        f"<{refused.condition} phrase={quoteattr(escape(refused.reason))}/></xcap-error>"
    )


def _lock_keys(name: str) -> tuple[str, ...]:
    """What cfgutils.lock and unlock take: from Kamailio 6 on a second key as well, which may be empty."""
    major, _, _ = _text("$version(num)").partition(".")
    return (name, "") if int(major) >= 6 else (name,)


def _reply(status: int, reason: str, media_type: str = "", body: str = "") -> None:
    KSR.xhttp.xhttp_reply(status, reason, media_type, body)


def _text(pseudo_variable: str) -> str:
    """Its value, empty if it has none."""
    return str(KSR.pv.gete(pseudo_variable))
