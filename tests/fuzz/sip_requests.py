"""Owns the making of broken SIP and HTTP requests out of good ones; does no I/O. The same seed makes the same ones."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.fuzz.mutation import Mutator

Header = tuple[bytes, bytes]
Body = tuple[bytes, bytes]

COMPACT = {
    b"Via": b"v",
    b"From": b"f",
    b"To": b"t",
    b"Call-ID": b"i",
    b"Contact": b"m",
    b"Content-Type": b"c",
    b"Content-Length": b"l",
    b"Event": b"o",
    b"Content-Encoding": b"e",
    b"Supported": b"k",
}
METHODS = (
    b"REGISTER",
    b"MESSAGE",
    b"MESSAGE",
    b"PUBLISH",
    b"SUBSCRIBE",
    b"OPTIONS",
    b"NOTIFY",
    b"CANCEL",
    b"ACK",
    b"INFO",
)

PIDF = (
    b'<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf" '
    b'xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" '
    b'entity="sip:alice@example.org"><tuple id="a"><status><basic>open</basic></status><contact priority="0.8">'
    b"sip:alice@example.org</contact><note>here</note></tuple>"
    b"<dm:person id='p'><rpid:activities><rpid:away/></rpid:activities></dm:person></presence>"
)
ENTITIES = b"<!DOCTYPE presence [" + b"".join(
    b'<!ENTITY %c "%s">' % (97 + level, b"&%c;" % (96 + level) * 10 if level else b"lol") for level in range(10)
)
BOMB_PIDF = ENTITIES + b"]>" + PIDF.partition(b"?>")[2].replace(b"here", b"&j;")
DEEP_PIDF = PIDF.replace(b"<note>here</note>", b"<a>" * 9000 + b"</a>" * 9000)
EXTERNAL_PIDF = b'<!DOCTYPE presence [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + BOMB_PIDF.partition(b"]>")[2]
COMPOSING = (
    b"<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state>"
    b"<contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>"
)
IMDN = (
    b"<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>im-34jk324j</message-id>"
    b"<datetime>2024-04-04T12:16:49-05:00</datetime><display-notification><status><displayed/></status>"
    b"</display-notification></imdn>"
)
CPIM_HEAD = (
    b"From: Al <sip:alice@example.org>\r\nTo: <sip:bob@example.org>\r\nDateTime: 2024-12-13T13:40:00-08:00\r\n"
    b"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\n"
    b"imdn.Disposition-Notification: positive-delivery, display\r\n\r\n"
)
CPIM = CPIM_HEAD + b"Content-Type: text/plain;charset=utf-8\r\n\r\nHello"
NESTED_CPIM = (CPIM_HEAD + b"Content-Type: message/cpim\r\n\r\n") * 120 + CPIM
MULTIPART = (
    b"--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\nContent-Type: application/pidf+xml\r\n\r\n"
    + PIDF
    + b"\r\n--b--\r\n"
)

BODIES: tuple[Body, ...] = (
    (b"text/plain", b"Hello"),
    (b"text/plain;charset=utf-8", "Grüße, 漢字 🎉".encode()),
    (b"text/plain;charset=iso-8859-1", b"Gr\xfc\xdfe"),
    (b"text/plain;charset=utf-16", "Grüße".encode("utf-16")),
    (b"text/plain;charset=idna", b"xn--" + b"a" * 200),
    (b"text/plain", b"\xff\xfe\x00broken"),
    (b"text/plain", b"long " * 9000),
    (b"text/html;charset=utf-8", b"<b>Hello</b><br><a href='http://example.org'>x</a>" + b"<i>" * 500),
    (b"message/cpim", CPIM),
    (b"message/cpim", NESTED_CPIM),
    (b"application/im-iscomposing+xml", COMPOSING),
    (b"message/imdn+xml", IMDN),
    (b"application/pidf+xml", PIDF),
    (b"application/pidf+xml", BOMB_PIDF),
    (b"application/pidf+xml", DEEP_PIDF),
    (b"application/pidf+xml", EXTERNAL_PIDF),
    (b'multipart/related;boundary=b;type="application/pidf+xml"', MULTIPART),
    (b'multipart/mixed;boundary=""', MULTIPART),
    (b"", b""),
)
_BOMB = gzip.compress(b"\0" * 30_000_000, 9)
ENCODED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"gzip", lambda _body: _BOMB),
    (b"deflate", lambda body: body),
    (b"identity", lambda body: body),
    (b"compress, gzip", gzip.compress),
)

URIS = (
    *(b"sip:alice@example.org", b"sip:bob@example.org", b"sip:nobody@example.org", b"sip:example.org"),
    *(
        b"sip:dave*localhost@xmpp.im.example.org",
        b"sip:%64ave*localhost@xmpp.im.example.org",
        b"sip:x@irc.im.example.org",
    ),
    *(b"sip:@xmpp.im.example.org", b"sip:*@xmpp.im.example.org", b"sip:a%00b*localhost@xmpp.im.example.org"),
    *(b"sip:alice-contacts@example.org", b"sip:gateway@purple.invalid", b"sip:alice@example.org;proto=purple"),
    *(b"sip:alice@example.org;transport=tcp;lr;gr=x?Subject=%0d%0aX:y", b"sips:alice@example.org", b"tel:+15551234"),
    *(
        b"mailto:a@b",
        b"sip:alice@elsewhere.example",
        b"sip:alice@[::1]:5060",
        b"sip:al\xc3\xaece@example.org",
        b"sip:",
        b"*",
    ),
    b"sip:" + b"a" * 3000 + b"@example.org",
)

DICTIONARY = (
    *(b"Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK", b"Route: <sip:127.0.0.1;lr>", b"Record-Route: <sip:127.0.0.1;lr>"),
    *(
        b"Require: eventlist",
        b"Proxy-Require: x",
        b"Max-Forwards: 0",
        b"Max-Forwards: 300",
        b"Max-Forwards: -1",
        b"Expires: 0",
    ),
    *(
        b"Expires: 4294967295",
        b"Expires: 99999999999999999999",
        b"Expires: x",
        b"Event: presence",
        b"Event: presence.winfo",
    ),
    *(
        b"Event: presence;id=1",
        b"Event: dialog",
        b"Event: ;;;",
        b"SIP-If-Match: x",
        b"SIP-If-Match: a.1.2.3.4",
        b"Accept: x/y",
    ),
    *(
        b"Accept: application/pidf+xml, application/rlmi+xml, multipart/related",
        b"Supported: eventlist",
        b"Supported: path, gruu",
    ),
    *(
        b"Content-Disposition: ;;",
        b"Content-Encoding: gzip",
        b"Content-Length: 0",
        b"Content-Length: 99999",
        b"Content-Length: -5",
    ),
    *(
        b"Content-Length: 5, 6",
        b"Date: x",
        b"Subject: \xff\xfe",
        b"Contact: *",
        b"Contact: <sip:a@127.0.0.1:9;transport=tcp>",
    ),
    *(
        b"Contact: <sip:a@127.0.0.1:9>;expires=0",
        b"Contact: <sip:a@256.1.1.1>;q=9;q=x",
        b'Contact: sip:a@b;+sip.instance="<urn:x>"',
    ),
    *(
        b"Contact: <sips:a@127.0.0.1>",
        b"Path: <sip:127.0.0.1:9;lr>",
        b"Subscription-State: active;expires=1",
        b"Allow: x",
    ),
    *(
        b"Authorization: Digest",
        b"Proxy-Authorization: Basic eDp5",
        b"P-Asserted-Identity: <sip:bob@example.org>",
        b"X: " + b"y" * 9000,
    ),
    *(
        b'From: "\xe2\x80\xae" <sip:alice@example.org>;tag=1',
        b"To: <sip:bob@example.org>;tag=2",
        b"Call-ID: x",
        b"CSeq: 1 MESSAGE",
    ),
    *(
        b"CSeq: 99999999999 MESSAGE",
        b"CSeq: 1 BYE",
        b"Identity: x",
        b"Timestamp: 1.1.1",
        b"Unsupported: x",
        b"Min-Expires: -1",
    ),
)


@dataclass(slots=True)
class Draft:
    """A request that is not yet octets."""

    method: bytes
    uri: bytes
    headers: list[Header]
    body: bytes = b""
    version: bytes = b"SIP/2.0"

    def encode(self, line_end: bytes = b"\r\n") -> bytes:
        head = b"%s %s %s" % (self.method, self.uri, self.version)
        lines = [head, *(b"%s: %s" % header for header in self.headers), b"", b""]
        return line_end.join(lines) + self.body

    def value(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")


@dataclass(frozen=True, slots=True)
class World:
    """What requests are about. ``contact``: where the fuzzer itself listens, HOST:PORT, so that it is it who is called.

    ``credentials``: (header name, value) by (user, method); digests are of the URI that they name, so that they stay
    good whatever else a request says. ``places``: paths of HTTP.
    """

    contact: bytes
    domain: bytes = b"example.org"
    users: tuple[bytes, ...] = (b"alice", b"bob")
    credentials: Mapping[tuple[bytes, bytes], Header] = field(default_factory=dict)


class Requests:
    """A stream of broken requests, by one seed."""

    def __init__(self, seed: int | str, world: World) -> None:
        self._mutator = Mutator(seed)
        self._random = self._mutator.random
        self._world = world
        self._number = 0
        self._unique = str(seed).encode().hex()[-24:].encode()
        self._changes = (
            self._doubled,
            self._without,
            self._compact,
            self._folded,
            self._stranger,
            self._huge,
            self._mutated_value,
            self._mutated_value,
            self._shuffled,
            self._other_uri,
            self._wrong_length,
            self._encoded,
            self._other_method,
            self._mutated_body,
            self._many_headers,
            self._same_call,
        )

    def sip(self) -> bytes:
        """The next SIP request; one in twenty is good, and of one in four only the body is not."""
        draft, kind = self._good(), self._random.random()
        if kind < 0.3:
            if kind > 0.05:
                self._random.choice((self._mutated_body, self._mutated_body, self._encoded))(draft)
            return draft.encode()[:65_000]
        for _ in range(self._random.choice((1, 1, 2, 3))):
            self._random.choice(self._changes)(draft)
        ends = self._random.choice((b"\r\n",) * 12 + (b"\n", b"\r", b"\n\r"))
        data = draft.encode(ends)
        if self._random.random() < 0.35:
            data = self._mutator.mutated(data, [b"\r\n" + line + b"\r\n" for line in DICTIONARY])
        return data[:65_000]

    def http(self) -> bytes:
        """The next HTTP request, for documents and for pages."""
        pick = self._random.choice
        path = pick(
            (
                b"/xcap-root/resource-lists/users/sip:alice@example.org/index",
                b"/",
                b"/login",
                b"/metrics",
                b"/accounts",
                b"/xcap-root/pres-rules/users/sip:alice@example.org/index/~~/ruleset/rule%5b@id=%22a%22%5d?xmlns(a=b)",
                b"/xcap-root/xcap-caps/global/index",
                b"/xcap-root/%ff/users/%00",
                b"//",
                b"http://x/xcap-root/",
                b"/queue?page=1",
            )
        )
        headers = [(b"Host", b"127.0.0.1"), (b"Content-Type", b"application/x-www-form-urlencoded")]
        headers += [
            (
                b"Authorization",
                pick(
                    (
                        b'Digest username="alice", realm="example.org", nonce="x", uri="/", response="0"',
                        b"Digest " + b"a" * 30_000,
                        b"Basic " + base64.b64encode(b"a:\xff"),
                        b"Bearer x",
                    )
                ),
            ),
            (b"Cookie", b"session=a.b.c; x"),
        ]
        headers += [
            (b"If-Match", b'"a", *'),
            (b"Connection", pick((b"close", b"keep-alive"))),
            (b"Content-Length", b"3"),
        ]
        draft = Draft(pick((b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH")), path, headers, b"a=b", b"HTTP/1.1")
        self._random.choice((self._doubled, self._without, self._mutated_value, self._huge, self._mutated_body))(draft)
        data = draft.encode()
        return self._mutator.mutated(data)[:65_000] if self._random.random() < 0.5 else data

    def _good(self) -> Draft:
        self._number += 1
        method, user = self._random.choice(METHODS), self._random.choice(self._world.users)
        domain, unique = self._world.domain, b"%s-%d" % (self._unique, self._number)
        own = b"sip:%s@%s" % (user, domain)
        target = self._random.choice(URIS[:5]) if method in (b"MESSAGE", b"SUBSCRIBE", b"NOTIFY") else own
        headers = [
            (b"Via", b"SIP/2.0/UDP %s;rport;branch=z9hG4bK%s" % (self._world.contact, unique)),
            (b"Max-Forwards", b"70"),
            (b"From", b"<%s>;tag=%s" % (own, unique)),
            (b"To", b"<%s>" % (own if method == b"REGISTER" else target)),
            (b"Call-ID", b"%s@fuzz" % unique),
            (b"CSeq", b"%d %s" % (self._random.randint(1, 99), method)),
            (b"Contact", b"<sip:%s@%s>" % (user, self._world.contact)),
        ]
        draft = Draft(method, b"sip:%s" % domain if method in (b"REGISTER", b"OPTIONS") else target, headers)
        self._dress(draft)
        known = self._world.credentials.get((user, method))
        if known and self._random.random() < 0.8:
            headers.append(known)
        return draft

    def _dress(self, draft: Draft) -> None:
        """What the method needs."""
        headers, random = draft.headers, self._random
        kind, draft.body = b"", b""
        if draft.method in (b"PUBLISH", b"SUBSCRIBE", b"NOTIFY"):
            headers.append((b"Event", random.choice((b"presence", b"presence", b"presence.winfo"))))
        if draft.method in (b"PUBLISH", b"SUBSCRIBE", b"REGISTER"):
            headers.append((b"Expires", random.choice((b"60", b"0", b"5", b"3600"))))
        if draft.method in (b"PUBLISH", b"NOTIFY"):
            kind, draft.body = random.choice((BODIES[12], *BODIES[12:]))
        elif draft.method in (b"MESSAGE", b"INFO"):
            kind, draft.body = random.choice(BODIES)
        if kind:
            headers.append((b"Content-Type", kind))
        headers.append((b"Content-Length", b"%d" % len(draft.body)))

    # ------------------------------------------------------------ changes
    def _any(self, draft: Draft) -> int:
        return self._random.randrange(len(draft.headers)) if draft.headers else -1

    def _doubled(self, draft: Draft) -> None:
        if draft.headers:
            draft.headers.insert(self._any(draft), draft.headers[self._any(draft)])

    def _without(self, draft: Draft) -> None:
        if draft.headers:
            del draft.headers[self._any(draft)]

    def _compact(self, draft: Draft) -> None:
        draft.headers = [(COMPACT.get(name, name.lower()), value) for name, value in draft.headers]

    def _folded(self, draft: Draft) -> None:
        if (at := self._any(draft)) >= 0:
            name, value = draft.headers[at]
            cut = self._random.randint(0, len(value))
            draft.headers[at] = name, value[:cut] + self._random.choice((b"\r\n ", b"\r\n\t  ", b"\n ")) + value[cut:]

    def _stranger(self, draft: Draft) -> None:
        name, _, value = self._random.choice(DICTIONARY).partition(b": ")
        draft.headers.insert(self._random.randint(0, len(draft.headers)), (name, value))

    def _huge(self, draft: Draft) -> None:
        if (at := self._any(draft)) >= 0:
            name, value = draft.headers[at]
            more = self._random.choice(
                (b"a", b"\xff", b";x=y", b",", b"(", b'"', b"\\", b" ", b"=1", b"sip:a@b,", b"<", b"%41")
            )
            draft.headers[at] = name, value + more * self._random.choice((100, 1000, 10_000))

    def _mutated_value(self, draft: Draft) -> None:
        if (at := self._any(draft)) >= 0:
            name, value = draft.headers[at]
            draft.headers[at] = name, self._mutator.mutated(value, DICTIONARY)

    def _shuffled(self, draft: Draft) -> None:
        self._random.shuffle(draft.headers)

    def _other_uri(self, draft: Draft) -> None:
        uri = self._random.choice(URIS)
        if self._random.random() < 0.5:
            draft.uri = uri
        elif (at := self._any(draft)) >= 0:
            draft.headers[at] = draft.headers[at][0], b"<%s>;tag=x" % uri

    def _wrong_length(self, draft: Draft) -> None:
        lie = self._random.choice(
            (b"0", b"1", b"-1", b"99999999999", b"", b"0x5", b"%d" % (len(draft.body) + 1), b"65536")
        )
        draft.headers = [(name, lie if name == b"Content-Length" else value) for name, value in draft.headers]

    def _encoded(self, draft: Draft) -> None:
        name, encode = self._random.choice(ENCODED)
        draft.body = encode(draft.body)
        draft.headers = [
            (key, b"%d" % len(draft.body) if key == b"Content-Length" else value) for key, value in draft.headers
        ]
        draft.headers.append((b"Content-Encoding", name))

    def _other_method(self, draft: Draft) -> None:
        draft.method = self._random.choice(
            (*METHODS, b"INVITE", b"BYE", b"PRACK", b"message", b"X" * 500, b"\xff", b"")
        )

    def _mutated_body(self, draft: Draft) -> None:
        draft.body = self._mutator.mutated(draft.body, [body for _, body in BODIES])
        if self._random.random() < 0.8:
            draft.headers = [
                (name, b"%d" % len(draft.body) if name == b"Content-Length" else value) for name, value in draft.headers
            ]

    def _many_headers(self, draft: Draft) -> None:
        line = self._random.choice(DICTIONARY).partition(b": ")
        draft.headers += [(line[0], line[2][:60])] * self._random.choice((20, 200, 700))

    def _same_call(self, draft: Draft) -> None:
        """As one in a dialog that is not, or as a retransmission of something else."""
        draft.headers = [(name, b"same" if name == b"Call-ID" else value) for name, value in draft.headers]
        draft.headers = [
            (name, value + b";tag=ab" if name == b"To" and b"tag" not in value else value)
            for name, value in draft.headers
        ]
