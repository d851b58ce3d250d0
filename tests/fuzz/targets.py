"""Every parser of outside data, with what must hold of it; knows how it is called, not how input is made.

A target takes octets and returns; it raises for what must not happen. The errors that a parser documents are part of
its answer, everything else is a finding.
"""

from __future__ import annotations

import contextlib
import ctypes
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy.exc import DBAPIError

from purple_bridge import account_forms, digest, im_errors, logs, presence, row_files, settings, sip_headers, xcap_nodes
from purple_bridge.addresses import (
    GatewayDomain,
    SipAddress,
    jid_of,
    name_as_account,
    name_as_contact,
    normalize_im_name,
    protocol_of_label,
)
from purple_bridge.bodies import (
    composing,
    content,
    cpim,
    imdn,
    incoming,
    markup,
    outgoing,
    pidf,
    presence_rules,
    splitting,
)
from purple_bridge.bodies import resource_lists as lists
from purple_bridge.cli import logs as log_lines
from purple_bridge.db import account, words
from purple_bridge.db import urls as db_urls
from purple_bridge.errors import ConfigurationError, GatewayError
from purple_bridge.libpurple import c, irc, irc_lines, irc_presence, messages, xmlnode, xmpp_presence, xmpp_roster
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.protocol import OutgoingMessage
from purple_bridge.web import http, sessions, site
from purple_bridge.worker import uac
from tests.bodies import WORDS
from tests.documents import CORPUS, NOON
from tests.fuzz.sip_requests import BODIES, COMPOSING, CPIM, IMDN, NESTED_CPIM, PIDF

_xmlnode_from_str = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ssize_t)(("xmlnode_from_str", c.purple))

DOMAIN = GatewayDomain("im.example.org")
LISTS = "urn:ietf:params:xml:ns:resource-lists"

RULES = presence_rules.for_everybody(presence_rules.Handling.CONFIRM)
LIST = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<rl:resource-lists xmlns:rl="{LISTS}" xmlns:x="urn:x">'
    '<rl:list name="a &amp; b">'
    "<rl:entry uri='sip:one@example.org'><rl:display-name>One</rl:display-name></rl:entry><x:y a='>'/></rl:list>"
    '<rl:list/><!-- <list> --><rl:list name="Contacts"><rl:entry uri="sip:two@example.org"/></rl:list>'
    "</rl:resource-lists>"
).encode()
STANZAS = (
    b"<message xmlns='jabber:client' from='a@b/c' to='d@e' id='1' type='chat' xml:lang='de'><body>x</body>"
    b"<subject>s</subject>"
    b"<request xmlns='urn:xmpp:receipts'/><delay xmlns='urn:xmpp:delay' stamp='2024-01-01T00:00:00Z'/></message>",
    b"<message xmlns='jabber:client' type='error'><error><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>x</gone>"
    b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>why</text></error></message>",
    b"<message xmlns='jabber:client'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
    b"<message xmlns='jabber:client' from='a@b/c'><body>y</body></message></forwarded></sent></message>",
    b"<presence xmlns='jabber:client' from='a@b/c'><show>away</show><status>s</status><status xml:lang='de'>t</status>"
    b"<priority>5</priority><idle xmlns='urn:xmpp:idle:1' since='2024-01-01T00:00:00Z'/>"
    b"<query xmlns='jabber:iq:last' seconds='5'/>"
    b"<delay xmlns='urn:xmpp:delay' stamp='0001-01-01T00:00:00+23:59'/></presence>",
    b"<iq xmlns='jabber:client'><query xmlns='jabber:iq:roster'>"
    b"<item jid='a@b' name='n' subscription='both' ask='subscribe'>"
    b"<group>g</group></item><item jid='c@d' subscription='remove'/></query></iq>",
)
IRC_LINES = (
    b":nick!user@host PRIVMSG me :\x01ACTION dances\x01",
    b":nick!user@host PRIVMSG me :\x0304,05text\x0f and \x04ff0000more",
    b":irc.example.org 401 me nick :No such nick",
    b":irc.example.org 303 me :one two",
    b":irc.example.org 302 me :one=+u@h two*=-u@h",
    b":irc.example.org PONG irc.example.org :purple-1",
    b":irc.example.org PONG irc.example.org :purple-watch-1",
    b"PING :x",
    b":one!u@h NICK :two",
    b":one!u@h QUIT :bye",
)


@dataclass(frozen=True, slots=True)
class Target:
    """``seeds``: what good input looks like."""

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def _text(data: bytes) -> str:
    """As Kamailio and libpurple hand it over: UTF-8, or replaced."""
    return data.decode("utf-8", "replace")


def _surrogates(data: bytes) -> str:
    """Text that may have what no encoding has."""
    return data.decode("utf-8", "surrogatepass") if b"\xed" in data and _is_wtf8(data) else _text(data)


def _is_wtf8(data: bytes) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        data.decode("utf-8", "surrogatepass")
        return True
    return False


def _check(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _first_line(data: bytes) -> tuple[str, bytes]:
    """A parameter in front of the octets that it is about."""
    head, _, rest = data.partition(b"\n")
    return _text(head), rest


# ---------------------------------------------------------------- bodies
def incoming_body(data: bytes) -> None:
    kind, body = _first_line(data)
    with contextlib.suppress(GatewayError):
        said = incoming.read(kind or None, body)
        if isinstance(said, incoming.Text):
            _check(said.text and not content._UNCARRIABLE.search(said.text), "a text that no network can carry")
            _check(len(said.message_id) <= imdn.MAX_MESSAGE_ID, "a long Message-ID")


def content_type(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        content.parse_content_type(_text(data))
    charset, body = _first_line(data)
    with contextlib.suppress(GatewayError):
        content.decode(body, charset)


def compressed(data: bytes) -> None:
    coding, body = _first_line(data)
    with contextlib.suppress(GatewayError):
        _check(len(content.decompressed(body, coding)) <= max(content.MAX_BODY, len(body)), "a large body")


def cpim_message(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        message = cpim.parse(data)
        message.required()
        imdn.request_of(message)
        with contextlib.suppress(GatewayError):
            built = cpim.build(message)
            again = cpim.parse(built)
            _check(again.body == message.body and again.content_type == message.content_type, "CPIM read otherwise")


def receipt(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        imdn.parse(data)
    with contextlib.suppress(GatewayError):
        composing.parse(data)


def presence_document(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        read = pidf.parse(data, now=NOON)
        _check(len(presence.clean_note(read.note)) <= len(read.note) + 1, "a note that grows")
    with contextlib.suppress(GatewayError):
        pidf.tuple_ids(data)


def presence_rule(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        presence_rules.decide(data, "sip:alice@example.org", datetime(2024, 1, 1, tzinfo=UTC))


def resource_lists(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        found = lists.read(data)
        _check(lists.merge(data, found, lambda _uri: False) == data, "a merge of nothing changes something")
        with contextlib.suppress(GatewayError):
            lists.read(
                lists.merge(data, [lists.Entry("sip:new@example.org", "N\0ew", ("g",)), *found], lambda _uri: True)
            )
        lists.services(found, "sip:alice-contacts@example.org")


def html(data: bytes) -> None:
    safe, text = markup.from_html(_text(data))
    _check(
        "<script" not in safe.lower() and "javascript:" not in safe.lower().replace("&", ""), "markup that is not safe"
    )
    _check(text == markup.to_plain(_text(data)) or "<" in _text(data) or "&" in _text(data), "two texts of one markup")
    # each character becomes a reference of six at most, in tags that stand there or are closed and opened again
    _check(len(safe) <= 100 * len(data) + 100, "markup that grows")


def split_text(data: bytes) -> None:
    text = _text(data)
    parts = splitting.split(text, 64)
    _check("".join(parts) == text and all(len(part.encode()) <= 64 for part in parts), "parts that are not the text")


def message_ids(data: bytes) -> None:
    text = _surrogates(data)
    made = outgoing.message_id_of_ident(text)
    if made and not any("\ud800" <= char <= "\udfff" for char in text):
        _check(outgoing.ident_of_message_id(made) == text, "another id")
        _check(outgoing.ident_of_message_id(outgoing.call_id("a", made)) in (text, ""), "another id in a Call-ID")
    outgoing.ident_of_message_id(text)


# ---------------------------------------------------------------- SIP and HTTP
def sip_address(data: bytes) -> None:
    text = _surrogates(data)
    with contextlib.suppress(GatewayError):
        address = SipAddress.parse(text)
        _check(SipAddress.parse(address.gruu) == address, "a URI that is read otherwise")
        _check(not set(address.gruu) & set('\r\n\0 <>"'), "a URI that ends a header")
        contact = DOMAIN.contact_of(address)
        if contact is not None:
            jid = jid_of(contact.name, address.resource)
            _check(jid_of(jid) == jid, "a JID that is read otherwise")
        sip_headers.name_addr(address, text)


def im_name(data: bytes) -> None:
    text = _surrogates(data)
    local = jid_of(text).partition("@")[0] if "@" in text else ""
    _check(not set(local) & set("&'/"), "a JID with what no local part has")
    for protocol in ("prpl-jabber", "prpl-irc", "gtalk", "prpl-simple", text[:40]):
        name = normalize_im_name(protocol, text)
        _check(normalize_im_name(protocol, name) == name, "a name that is never normal")
        name_as_account(protocol, text, name_as_contact(protocol, text, text) or "")
        with contextlib.suppress(GatewayError, UnicodeEncodeError):
            contact = DOMAIN.contact_of(DOMAIN.contact_uri(protocol, text))
            _check(contact and (contact.protocol, contact.name) == (protocol, text), "another contact")
    protocol_of_label(text)


def header(data: bytes) -> None:
    text = _surrogates(data)
    with contextlib.suppress(GatewayError):
        block = sip_headers.header_block([("Subject", text)])
        _check(block.count("\r\n") == 1 and block.count("\n") == 1 and "\0" not in block, "two headers of one")
    line = sip_headers.name_addr("sip:a@b", text)
    _check("\r" not in line and "\n" not in line and "\0" not in line and len(line) < 300, "a name that ends a line")


def sip_datagram(data: bytes) -> None:
    uac.parse_response(data)
    request = uac.parse_request(data)
    if request:
        request.tag("from")
        with contextlib.suppress(GatewayError):
            uac._checked(request.target)
        _check(request.answer(200, "OK").count(b"\r\n\r\n") == 1, "an answer that ends early")


def credentials(data: bytes) -> None:
    found = digest.Credentials.parse(_text(data))
    if found:
        found.proves("GET", "0" * 32)
        digest.Nonces(b"key").is_fresh(found["nonce"], 0)


def xcap_node(data: bytes) -> None:
    """A selector, xmlns() bindings and what is put, each on a line, then the document."""
    text, rest = _first_line(data)
    query, rest = _first_line(rest)
    fragment, _, document = rest.partition(b"\n")
    try:
        selector = xcap_nodes.Selector.parse(text, query, LISTS)
        root = xcap_nodes.tree(document)
    except ValueError:
        return
    _check(root.end <= len(document), "an element longer than its document")
    xcap_nodes.read(document, selector)
    with contextlib.suppress(xcap_nodes.NotPossible):
        xcap_nodes.delete(document, selector)
    with contextlib.suppress(xcap_nodes.NotPossible):
        changed, _ = xcap_nodes.put(document, selector, fragment)
        _check(xcap_nodes.read(changed, selector) is not None, "what was put is not there")


def http_request(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    target, *lines = _text(head).split("\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    with contextlib.suppress(http.Refused):
        request = http.Request.parse(http.Raw("POST", target, headers, _text(body)))
        request.is_from_elsewhere()
        site._local(request.given("next"))
        _check(request.host == request.host.lower(), "a host in capitals")
    raw = http.Request("GET", "/", {}, headers)
    sessions._session(raw.cookie("session"))
    site._basic(headers.get("authorization", ""))


# ---------------------------------------------------------------- files, tables, the log
def rows(data: bytes) -> None:
    with contextlib.suppress(row_files.BadFile):
        text = row_files.decoded(data)
        if row_files.format_of("", text) == "csv":
            row_files.read_csv(text)
        else:
            row_files.read_sql(text, "purplemap", "mysql")
    with contextlib.suppress(row_files.BadFile):
        row_files.read_sql(_text(data), "purplemap", "sqlite")


def database_url(data: bytes) -> None:
    text = _text(data)
    with contextlib.suppress(ConfigurationError):
        db_urls.sqlalchemy_url(text)
        db_urls.location_url(text)
    db_urls.redacted(text)


def parameter(data: bytes) -> None:
    text = _text(data)
    for check in settings.AT_RUN_TIME.values():
        with contextlib.suppress(ConfigurationError):
            check(lambda _name: text)
    with contextlib.suppress(ConfigurationError):
        settings.read_settings(lambda _name: text)
    for check_name in (account_forms.checked_name, account_forms.checked_password):
        with contextlib.suppress(ValueError):
            check_name(text)


def log_line(data: bytes) -> None:
    text = _surrogates(data)
    shown = logs.escaped(text)
    _check("\n" not in shown and "\x1b" not in shown, "a line that ends early")
    log_lines.parse(shown).as_json()
    log_lines.parse(text)
    _check("\n" not in im_errors.in_words("gone", text), "an error of several lines")


# ---------------------------------------------------------------- IM networks
def irc_line(data: bytes) -> None:
    """Lines of a server, to a connection that waits for answers."""
    sent, watch = irc.Confirmations(), irc_presence.Watch()
    sent.add(OutgoingMessage("nick", "", "1"), b"nick", [b"text"])
    sent.next_lines()
    watch.watch([b"one", b"two", b"nick"])
    watch.question()
    for raw in data.split(b"\n"):
        line = irc_lines.parse(raw)
        sent.failed(line)
        sent.answered(line.last)
        watch.happened(line) if watch.answered(line) is None else None
        watch.question_about_new()
        shown = irc.text_of(_text(line.last), _text(line.nick))
        _check(shown is None or "\x01" not in shown, "a CTCP request in a text")
        irc.is_of_a_person(line)
    _check(len(watch.question()) < 1500, "a long question")


def irc_text(data: bytes) -> None:
    text = _text(data)[: content.MAX_BODY // 4]
    with contextlib.suppress(ValueError):
        for payload in irc.payloads(text, 300, str.encode):
            _check(len(payload) <= 300 and not set(payload) & set(b"\r\n\0"), "a text that ends a line")
            _check(payload.count(b"\1") in (0, 2), "half a CTCP request")


def xmpp_stanza(data: bytes) -> None:
    """As libpurple reads it; what is no XML is never seen by the gateway."""
    _start_libpurple()
    node = _xmlnode_from_str(data, len(data))
    if not node:
        return
    try:
        message = messages.read(node)
        outgoing.cpim_message("sip:a@b", "sip:c@d", message.text or "", message.sent_at)
        copy = messages.carbon(node)
        if copy:
            messages.read(copy[1])
        messages.error(node)
        seen = xmpp_presence.Seen()
        seen.available(xmpp_presence.read(node, "r"))
        seen.status("", "")
        query = xmpp_roster.query_of(node)
        for _entry in xmpp_roster.items(query) if query else ():
            pass
    finally:
        xmlnode.free(node)


@lru_cache(maxsize=1)
def _start_libpurple() -> None:
    """Its elements need it; what GLib writes of documents that are none goes to the gateway's log."""
    if not c.purple.purple_plugins_get_protocols():
        Core().start()


def options(data: bytes) -> None:
    """What a row's column says, and what a database says of a value that it refuses."""
    text = _text(data)
    account._options(text)
    words.in_words(DBAPIError("", {}, Exception(text)))


TARGETS: dict[str, Target] = {
    "incoming": Target(incoming_body, [kind + b"\n" + body for kind, body in BODIES]),
    "content-type": Target(
        content_type, [b'text/plain; charset="utf-8"; a=b', b"utf-7\nx+AGE-", b"utf-16\n\xff\xfea\0"]
    ),
    "compressed": Target(compressed, [b"gzip\n" + zlib.compress(b"x" * 99_999), b"deflate\nx", b"x-gzip\n"]),
    "cpim": Target(cpim_message, [CPIM, NESTED_CPIM, CPIM.replace(b"\r\n", b"\n")]),
    "receipt": Target(receipt, [IMDN, COMPOSING]),
    "pidf": Target(presence_document, [PIDF, *(document.body for document in CORPUS)]),
    "presence-rules": Target(
        presence_rule, [RULES, RULES.replace(b"<many/>", b'<one id="sip:a@b"/><many domain="c"/>')]
    ),
    "resource-lists": Target(resource_lists, [LIST]),
    "html": Target(html, [b"<p>a<br>b</p><a href='http://x'>c</a>&amp;<b><i>d</b></i><!-- e -->", WORDS.encode()]),
    "split": Target(split_text, [WORDS.encode(), "🇩🇪👩‍👩‍👧é\r\n한글".encode() * 20]),
    "message-id": Target(message_ids, [b"abc-1", b"im-a%20b", b"0.im-abc@purple"]),
    "sip-address": Target(
        sip_address, [b'"A" <sip:a%40b@Example.ORG:5060;gr=x?y=z>;tag=1', b"sip:x*y@xmpp.im.example.org"]
    ),
    "im-name": Target(im_name, [b"a\\26b@example.org/r", b"nick@irc.example.org", "jürgen@bücher.example".encode()]),
    "header": Target(header, [b"Hello", "Grüße \u202e".encode()]),
    "sip-datagram": Target(
        sip_datagram,
        [
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nCSeq: 1 MESSAGE\r\n\r\n",
            b'NOTIFY sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP a\r\nf: "x" <sip:a@b>;tag=1\r\n'
            b"m: <sip:c@d>\r\nCSeq: 1 NOTIFY\r\n\r\nx",
        ],
    ),
    "credentials": Target(credentials, [b'Digest username="a \\"b\\"", realm=x, nonce="5f.00", qop=auth, nc=00000001']),
    "xcap-node": Target(
        xcap_node,
        [
            b'resource-lists/list[2][@name="a"]/@name\nxmlns(x=urn:x)\n<a/>\n' + LIST,
            b"*/*[1]/x:y\nxmlns(x=urn:x)\n<entry uri='a'/>\n" + LIST,
            b"resource-lists/list[@name='a &amp; b']/entry\n\n<rl:entry/>\n" + LIST,
        ],
    ),
    "http": Target(
        http_request,
        [
            b"/accounts?page=1&q=%C3%A9\nHost: a.example:80\nCookie: session=YQ.5f.YWxpY2U; x\n"
            b"Content-Length: 7\n\na=b&c=d",
            b"http://x/y\nAuthorization: Basic YTpi\nOrigin: http://x",
        ],
    ),
    "rows": Target(
        rows,
        [
            b'sip_user,ext_prot,ext_user,ext_pass\r\nsip:a@b,prpl-jabber,"c@d",e\r\n',
            b"-- MySQL dump\nINSERT INTO `purplemap` VALUES "
            b"(1,'sip:a@b','c\\'d','prpl-irc',NULL),(2,'a','b','c','');\n",
        ],
    ),
    "db-url": Target(database_url, [b"mysql://u:p@w@h:3306/db?x", b"sqlite:////a/b.db", b"postgres://u@[::1]/db"]),
    "parameter": Target(parameter, [b"always", b"sip:a@b, sip:c@d", b"http://x/y", b"127.0.0.1:5060", b"3600"]),
    "log": Target(
        log_line,
        [
            b"2024-01-01T00:00:00.000+00:00 purple worker 1 INFO [a-1.im-x@purple] account prpl-jabber a@b c: text",
            b" 1(23) ERROR: {1 1 MESSAGE abc} core [x]: text",
        ],
    ),
    "irc-line": Target(irc_line, IRC_LINES),
    "irc-text": Target(irc_text, ["/me tanzt 👩‍👩‍👧\r\nund\n\n singt".encode(), WORDS.encode()]),
    "xmpp-stanza": Target(xmpp_stanza, STANZAS),
    "options": Target(
        options, [b'{"port": 5222, "connect_server": "a", "old_ssl": true}', b"IntegrityError: near 'a': \"b\""]
    ),
}
