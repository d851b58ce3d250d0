"""What a hostile XMPP server sends: owns the attacks by name; how they reach a client is hostile_xmpp's."""

# ruff: noqa: E501 - a stanza or a line as it is sent

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.servers.hostile_xmpp import BIND, MANAGEMENT, MECHANISMS, PIECE, STREAM, Attack, Plan, Session

LAST = b"<message from='good@x.test/r' type='chat'><body>that was all</body></message>"
EVIL = b"evil@elsewhere.test/r"
MESSAGE = b"<message from='%s' type='chat'>" % EVIL
FORGED = b"never to be seen"

_DTD = b"<?xml version='1.0'?><!DOCTYPE x [" + b"".join(
    b'<!ENTITY %c "%s">' % (97 + level, b"&%c;" % (96 + level) * 10 if level else b"lol") for level in range(10)
)


def sends(*pieces: bytes, times: int = 1) -> Attack:
    """As a whole; what the client says to it is not waited for."""

    async def attack(session: Session) -> None:
        for _ in range(times):
            for piece in pieces:
                for start in range(0, len(piece), PIECE):
                    await session.say(piece[start : start + PIECE])

    return attack


def floods(make: Iterator[bytes]) -> Attack:
    async def attack(session: Session) -> None:
        for stanza in make:
            await session.say(stanza)

    return attack


def instead(*pieces: bytes) -> Plan:
    """In place of the log-in; then silence."""

    async def attack(session: Session) -> None:
        for piece in pieces:
            await session.say(piece.replace(b"DOMAIN", session.domain.encode()))
        await asyncio.sleep(3)

    return Plan(instead=attack)


def _header(features: bytes) -> bytes:
    return STREAM % b"DOMAIN" + b"<stream:features>" + features + b"</stream:features>"


def _forged_carbon(direction: bytes) -> bytes:
    """XEP-0280 §11: a copy counts only from the account's own address (CVE-2017-5603 and others)."""
    inner = (
        b"<message xmlns='jabber:client' from='boss@x.test/r' to='user@x.test' type='chat'><body>%s</body></message>"
    )
    forwarded = b"<forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded>" % (inner % FORGED)
    return b"<message from='%s'><%s xmlns='urn:xmpp:carbons:2'>%s</%s></message>" % (
        EVIL,
        direction,
        forwarded,
        direction,
    )


def _archive() -> bytes:
    """XEP-0313 without a question."""
    forwarded = (
        b"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='boss@x.test'><body>%s</body>"
    )
    return (
        b"<message from='%s'><result xmlns='urn:xmpp:mam:2' id='1'>" % EVIL
        + forwarded % FORGED
        + b"</message></forwarded></result></message>"
    )


def _set(inner: bytes, ident: bytes = b"x1") -> bytes:
    return b"<iq type='set' from='%s' id='%s'>%s</iq>" % (EVIL, ident, inner)


FILES = (
    _set(
        b"<si xmlns='http://jabber.org/protocol/si' id='a' mime-type='text/plain' "
        b"profile='http://jabber.org/protocol/si/profile/file-transfer'><file xmlns='http://jabber.org/protocol/si/profile/"
        b"file-transfer' name='../../etc/passwd' size='99999999999999'/><feature xmlns='http://jabber.org/protocol/feature-neg'>"
        b"<x xmlns='jabber:x:data' type='form'><field var='stream-method' type='list-single'><option><value>http://jabber.org/"
        b"protocol/bytestreams</value></option><option><value>http://jabber.org/protocol/ibb</value></option></field></x>"
        b"</feature></si>"
    ),
    _set(
        b"<query xmlns='http://jabber.org/protocol/bytestreams' sid='a'><streamhost jid='a@b' host='127.0.0.1' port='9'/></query>"
    ),
    _set(b"<open xmlns='http://jabber.org/protocol/ibb' block-size='65535' sid='a'/>"),
    _set(b"<data xmlns='http://jabber.org/protocol/ibb' seq='0' sid='a'>" + b"A" * 90_000 + b"</data>"),
    _set(b"<query xmlns='jabber:iq:oob'><url>http://127.0.0.1:9/x</url></query>"),
    _set(
        b"<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' initiator='%s' sid='b'><content creator='initiator' "
        b"name='voice'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><payload-type id='0' name='PCMU'/>"
        b"</description><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' pwd='x' ufrag='y'/></content></jingle>"
        % EVIL
    ),
    _set(b"<session xmlns='http://www.google.com/session' type='initiate' id='9' initiator='a@b'/>"),
)
QUERIES = (
    _set(b"<command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/rc#set-status'/>"),
    _set(b"<query xmlns='jabber:iq:roster'><item jid='forged@x.test' subscription='both' name='%s'/></query>" % FORGED),
    _set(b"<query xmlns='jabber:iq:register'><remove/></query>"),
    _set(b"<block xmlns='urn:xmpp:blocking'><item jid='dave@x.test'/></block>"),
    _set(b""),
    b"<iq type='get' id='1'/><iq/><iq type='x' id=''/><iq type='result'/><iq type='error' id='purple1'/>",
    *(
        b"<iq type='get' from='%s' id='q'><query xmlns='%s' node='%s'/></iq>" % (EVIL, namespace, b"n" * 5000)
        for namespace in (
            *(
                b"http://jabber.org/protocol/disco#info",
                b"http://jabber.org/protocol/disco#items",
                b"jabber:iq:version",
            ),
            *(b"jabber:iq:last", b"jabber:iq:time", b"vcard-temp", b"urn:xmpp:ping", b"jabber:iq:private"),
        )
    ),
)
NAMES = (
    b"",
    b"@",
    b"/",
    b"@x",
    b"x@",
    b"x@y@z/",
    b"a" * 5000 + b"@b",
    "\u202e@\u2028".encode(),
    b"&lt;@&gt;/&#10;",
    b"x@y/" + b"z" * 5000,
)
ODD = (
    *(b"<message from='%s' type='chat' id='%s'><body>hi</body></message>" % (name, name) for name in NAMES),
    *(b"<presence from='%s'><show>%s</show><priority>%s</priority></presence>" % (name, name, name) for name in NAMES),
    *(
        b"<presence from='%s' type='%s'/>" % (name, kind)
        for name in NAMES
        for kind in (b"subscribe", b"unsubscribed", b"probe")
    ),
    *(b"<iq type='result' from='%s' id='purple%d'/>" % (name, number) for number, name in enumerate(NAMES)),
    b"<message/><message type='groupchat' from='%s'><body>x</body></message><x/><stream:x/><message xmlns='jabber:server'/>"
    % EVIL,
    MESSAGE + b"<body xmlns='urn:x'>x</body><body/><html xmlns='http://jabber.org/protocol/xhtml-im'/></message>",
    MESSAGE
    + b"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><img src='data:,x'/>"
    b"<script>x</script><a href='javascript:x'>y</a></body></html></message>",
    MESSAGE + b"<delay xmlns='urn:xmpp:delay' stamp='0001-01-01T00:00:00+23:59'/><body>old</body></message>",
    MESSAGE + b"<x xmlns='jabber:x:delay' stamp='99999999T99:99:99'/><body>new</body></message>",
    MESSAGE
    + b"<attention xmlns='urn:xmpp:attention:0'/></message>"
    + MESSAGE
    + b"<buzz xmlns='http://www.jabber.com/protocol/x'/></message>",
    b"<message from='r@conference.x.test'><x xmlns='http://jabber.org/protocol/muc#user'><invite from='%s'/></x></message>"
    % EVIL,
    b"<message from='r@conference.x.test'><x xmlns='jabber:x:conference' jid='%s'/></message>" % (b"r" * 3000),
    b"<presence from='r@conference.x.test/n'><x xmlns='http://jabber.org/protocol/muc#user'><status code='x'/></x></presence>",
    b"<presence from='%s'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v' ext='a b c'/></presence>"
    % EVIL,
    b"<presence from='%s'><x xmlns='vcard-temp:x:update'><photo>../../x</photo></x></presence>" % EVIL,
    b"<message from='%s'><received xmlns='urn:xmpp:receipts' id='p1'/></message>" % EVIL,
    b"<message from='%s' type='error' id='p1'><error type='x'><text/></error></message>" % EVIL,
    b"<a xmlns='urn:xmpp:sm:3' h='5'/><r xmlns='urn:xmpp:sm:3'/><resumed xmlns='urn:xmpp:sm:3'/><failed xmlns='urn:xmpp:sm:3'/>",
)
_EVENT = b"<message from='%s'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='%s'><item id='1'>%s</item></items></event></message>"


async def _stream_management(session: Session) -> None:
    """XEP-0198 §4: a count of what was never sent, backwards, and no number."""
    for h in (b"1000000", b"0", b"-1", b"99999999999999999999", b"x", b""):
        await session.say(b"<a xmlns='urn:xmpp:sm:3' h='%s'/><r xmlns='urn:xmpp:sm:3'/>" % h)
    await sends(b"<r xmlns='urn:xmpp:sm:3'/>", times=5000)(session)


async def _avatar(session: Session) -> None:
    """A picture of 100 MB: whoever takes a contact's word for its size has it in memory."""
    await session.say(
        b"<message from='%s'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='x'><item><data>" % EVIL
    )
    for _ in range(1600):
        await session.say(b"A" * PIECE)


def _roster(count: int, more: bytes = b"") -> bytes:
    return b"".join(b"<item jid='c%d@x.test' subscription='both' name='n'>%s</item>" % (n, more) for n in range(count))


def _row(octets: int) -> bytes:
    """Combining marks in the order that takes longest to put right, which is the square of their number."""
    return ("\u0301" * (octets // 4) + "\u0316" * (octets // 4)).encode()


def _push(items: bytes) -> bytes:
    return b"<iq type='set' id='p1'><query xmlns='jabber:iq:roster'>%s</query></iq>" % items


def _nick(octets: int) -> bytes:
    return b"<nick xmlns='http://jabber.org/protocol/nick'>%s</nick>" % _row(octets)


# what the gateway looks at before libpurple does, which is done in another place over TLS
LIMITED = (
    *("deep", "deep-again", "endless-body", "endless-tag", "endless-attributes", "endless-comment"),
    *("endless-streams", "children", "large-message", "large-roster", "too-large-roster"),
)

PLANS: dict[str, Plan] = {
    # ---- without end, or too much
    "deep": Plan(then=sends(MESSAGE, b"<a>" * 400_000, b"</a>" * 400_000, b"</message>")),
    "deep-again": Plan(then=sends(MESSAGE + b"<a>" * 480 + b"</a>" * 480 + b"</message>", times=200)),
    "endless-body": Plan(then=sends(MESSAGE, b"<body>", b"x" * 30_000_000)),
    "endless-tag": Plan(then=sends(b"<message x='", b"x" * 30_000_000)),
    "endless-attributes": Plan(then=sends(b"<message ", b"".join(b"a%d='' " % n for n in range(300_000)))),
    "endless-comment": Plan(then=sends(b"<!-- ", b"x" * 30_000_000)),
    "endless-streams": Plan(then=sends(b"<stream:stream>" * 200_000)),
    "children": Plan(then=sends(MESSAGE, b"<x/>" * 400_000, b"</message>")),
    "large-message": Plan(then=sends(MESSAGE + b"<body>" + b"x" * 900_000 + b"</body></message>")),
    "large-roster": Plan(roster=_roster(3000, b"<group>g</group>")),
    "too-large-roster": Plan(roster=_roster(40_000)),
    "avatar": Plan(then=_avatar),
    # ---- what is no XML, or more than XMPP has of it (RFC 6120 §11.1)
    "not-utf-8": Plan(then=sends(MESSAGE + b"<body>\xff\xfe\xed\xa0\x80\xc0\x80</body></message>")),
    "nul": Plan(then=sends(MESSAGE + b"<body>a\0b&#0;&#xffff;</body></message>")),
    "no-xml": Plan(then=sends(b"</message></stream:stream><<<>>>&&&" * 100)),
    "instruction": Plan(then=sends(b"<?php x?><!-- c --><![CDATA[x]]>" + MESSAGE + b"<?x y?><body>x</body></message>")),
    "entity": Plan(then=sends(MESSAGE + b"<body>&j;&lol;&#x41;</body></message>")),
    "laughs": instead(_DTD + b"]><stream:stream xmlns='jabber:client' id='1' from='DOMAIN' version='1.0'><a>&j;</a>"),
    "external": instead(
        b"<!DOCTYPE x SYSTEM 'file:///etc/passwd' [<!ENTITY % a SYSTEM 'http://127.0.0.1:9/'> %a;]>", _header(b"")
    ),
    "utf-16": instead(("<?xml version='1.0' encoding='UTF-16'?><stream:stream id='1'/>" * 50).encode("utf-16")),
    # ---- before the log-in
    "silent": instead(),
    "http": instead(b"HTTP/1.1 400 Bad Request\r\n\r\n<html><body>" + b"<p>" * 3000),
    "no-features": instead(_header(b"")),
    "no-mechanism": instead(_header(b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")),
    "mechanisms": instead(
        _header(
            b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
            + b"<mechanism>X</mechanism>" * 9000
            + b"</mechanisms>"
        )
    ),
    "success": instead(_header(MECHANISMS), b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>!!!</success>" * 20),
    "challenges": instead(
        _header(MECHANISMS), b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>ZZ==Z</challenge>" * 500
    ),
    "scram": instead(
        _header(MECHANISMS.replace(b"PLAIN", b"SCRAM-SHA-1")),
        b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14LHM9LGk9MjE0NzQ4MzY0Nw==</challenge>",
    ),
    "digest-md5": instead(
        _header(MECHANISMS.replace(b"PLAIN", b"DIGEST-MD5")),
        b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>bm9uY2U9IixyZWFsbT0s</challenge>" * 3,
    ),
    "failure": instead(
        _header(MECHANISMS),
        b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><x/><text>" + b"y" * 90_000 + b"</text></failure>",
    ),
    "starttls": instead(
        _header(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + b"x" * 9000,
    ),
    "error-first": instead(
        STREAM % b"DOMAIN", b"<stream:error><x xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    ),
    "no-bind": Plan(features=b""),
    # ---- stream errors and redirections
    "see-other-host": Plan(
        then=sends(
            b"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>127.0.0.1:9</see-other-host></stream:error>"
        )
    ),
    "conflict": Plan(
        then=sends(b"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
    ),
    "stream-end": Plan(then=sends(b"</stream:stream>")),
    # ---- forged, and what is to be refused
    "carbons": Plan(then=sends(_forged_carbon(b"received"), _forged_carbon(b"sent"), _archive())),
    "files": Plan(then=sends(*FILES)),
    "queries": Plan(then=sends(*QUERIES)),
    "odd": Plan(then=sends(*ODD)),
    "management": Plan(features=BIND + MANAGEMENT, then=_stream_management),
    # ---- floods
    "queries-flood": Plan(then=sends(*QUERIES, times=200)),
    "chat-states": Plan(
        then=sends(MESSAGE + b"<composing xmlns='http://jabber.org/protocol/chatstates'/></message>", times=10_000)
    ),
    "presence-flood": Plan(
        roster=_roster(3),
        then=floods(
            b"<presence from='c%d@x.test/%d'><status>%d</status></presence>" % (n % 3, n, n) for n in range(10_000)
        ),
    ),
    "subscribe-flood": Plan(then=floods(b"<presence from='s%d@x.test' type='subscribe'/>" % n for n in range(2000))),
    "push-flood": Plan(
        then=floods(
            b"<iq type='set' id='r%d'><query xmlns='jabber:iq:roster'><item jid='c%d@x.test' name='%d'/></query></iq>"
            % (n, n % 9, n)
            for n in range(4000)
        )
    ),
    "events": Plan(
        then=sends(
            *(
                _EVENT % (EVIL, node, b"<x xmlns='%s'><y/>text</x>" % node)
                for node in (
                    b"http://jabber.org/protocol/mood",
                    b"http://jabber.org/protocol/tune",
                    b"http://jabber.org/protocol/nick",
                    b"urn:xmpp:avatar:metadata",
                    b"urn:xmpp:avatar:data",
                    b"http://www.xmpp.org/extensions/xep-0084.html#ns-metadata",
                )
            ),
            times=100,
        )
    ),
}

# names of which each would keep everybody waiting; the last thing they say is LAST
MARKED: dict[str, Plan] = {
    "marks-roster": Plan(
        then=sends(
            _push(b"".join(b"<item jid='%d%s@x.test' subscription='both'/>" % (n, _row(15_000)) for n in range(60))),
            LAST,
        )
    ),
    "marks-allowed": Plan(
        then=sends(
            _push(b"".join(b"<item jid='%03d%s@x.test' subscription='both'/>" % (n, _row(1020)) for n in range(400))),
            LAST,
        )
    ),
    "marks-group": Plan(then=sends(_push(b"<item jid='g@x.test'><group>%s</group></item>" % _row(900_000)), LAST)),
    "marks-names": Plan(
        then=sends(_push(b"".join(b"<item jid='n%d@x.test' name='%s'/>" % (n, _row(15_000)) for n in range(60))), LAST)
    ),
    "groups": Plan(
        then=sends(
            _push(b"<item jid='g@x.test'>%s</item>" % b"".join(b"<group>%d</group>" % n for n in range(40_000))), LAST
        )
    ),
    "marks-from": Plan(
        then=sends(
            *(
                b"<message from='%s@x.test/r' type='chat'><body>%d</body></message>" % (_row(15_000), n)
                for n in range(60)
            ),
            *(
                b"<message from='x.test/%s' type='chat'><body>%d</body></message>" % (_row(15_000), n)
                for n in range(60)
            ),
            *(b"<presence from='c%d@x.test/%s'/>" % (n, _row(15_000)) for n in range(60)),
            *(b"<presence from='%s' type='subscribe'/>" % _row(15_000) for n in range(60)),
            LAST,
        )
    ),
    "marks-nick": Plan(
        roster=_roster(1),
        then=sends(_EVENT % (b"c0@x.test", b"http://jabber.org/protocol/nick", _nick(900_000)), LAST),
    ),
    "marks-presence": Plan(
        roster=_roster(1), then=sends(b"<presence from='c0@x.test/r'>%s</presence>" % _nick(900_000), LAST)
    ),
    "marks-blocked": Plan(
        then=sends(
            b"<iq type='set' id='b1'><block xmlns='urn:xmpp:blocking'>%s</block></iq>"
            % b"".join(b"<item jid='%d%s'/>" % (n, _row(15_000)) for n in range(60)),
            LAST,
        )
    ),
}
