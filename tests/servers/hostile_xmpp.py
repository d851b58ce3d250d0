"""An XMPP server that means harm: owns its side of each connection, and what it sends; knows nothing of the gateway.

Which attack a client gets is the first label of the domain that its stream is for: one server, many attacks. It takes
every password. `before` an attack may answer the log-in itself, `after` it has the client's session to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.threaded import ThreadedServer

PIECE = 1 << 16

_TO = re.compile(rb"<stream:stream[^>]*\sto=['\"]([^'\"]+)")
_IQ = re.compile(rb"<iq\s[^>]*>")
_ATTRIBUTE = re.compile(rb"\s(\w+)=['\"]([^'\"]*)['\"]")

STREAM = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    b"id='1' from='%s' version='1.0'>"
)
MECHANISMS = b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
BIND = b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
MANAGEMENT = b"<sm xmlns='urn:xmpp:sm:3'/>"


@dataclass(slots=True)
class Session:
    """A client. ``heard``: what it has written and nobody has taken off; ``all_heard``: its last megabyte.

    ``jid``: its own, once it has one.
    """

    domain: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    jid: str = ""
    heard: bytearray = field(default_factory=bytearray)
    all_heard: bytearray = field(default_factory=bytearray)

    async def say(self, data: bytes) -> None:
        """Raises OSError when the client has gone, and waits while it does not read."""
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, pattern: bytes) -> re.Match[bytes]:
        """Read until the client has written something that matches, and take that off. EOFError when it has gone."""
        while not (found := re.search(pattern, self.heard, re.DOTALL)):
            data = await self.reader.read(PIECE)
            if not data:
                raise EOFError
            self.heard += data
            self.all_heard += data
            del self.all_heard[: -(1 << 20)]
        found = re.search(pattern, bytes(self.heard), re.DOTALL)
        assert found is not None
        del self.heard[: found.end()]
        return found

    async def answer_for_ever(self) -> None:
        """Answer questions so that the client is content; ends when it has gone."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                await self.answer(await self.hear(_IQ.pattern))

    async def answer(self, question: re.Match[bytes]) -> None:
        attributes = dict(_ATTRIBUTE.findall(question[0]))
        sender = b" from='%s'" % attributes[b"to"] if b"to" in attributes else b""
        about = b"<query xmlns='http://jabber.org/protocol/disco#info'/>" if b"disco#info" in self.heard[:200] else b""
        await self.say(b"<iq type='result' id='%s'%s>%s</iq>" % (attributes.get(b"id", b""), sender, about))


Attack = Callable[[Session], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """``features``: what the second stream offers; ``instead``: in place of the log-in, ``then``: after it."""

    then: Attack | None = None
    instead: Attack | None = None
    features: bytes = BIND
    roster: bytes = b""


class HostileXmpp(ThreadedServer):
    """``plans``: by the first label of the domain. ``certificate``: PEM with its key; all that follows is over TLS.

    ``finished``: names of attacks that have been carried out, or that the client has ended; ``logged_in``: those whose
    client has a session; ``connections``: how often a client came.
    """

    def __init__(self, plans: Mapping[str, Plan], certificate: Path | None = None) -> None:
        super().__init__("hostile-xmpp", limit=1 << 20)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
        if self._context and certificate:
            self._context.load_cert_chain(certificate)
        self.plans = plans
        self.finished: set[str] = set()
        self.logged_in: set[str] = set()
        self.sessions: dict[str, Session] = {}
        self.connections: dict[str, int] = {}

    def say(self, name: str, data: bytes) -> None:
        """To the client of this attack, from any thread; waits until it is written."""
        asyncio.run_coroutine_threadsafe(self.sessions[name].say(data), self._loop).result(60)

    def heard(self, name: str) -> bytes:
        """What the client of this attack has written."""
        return bytes(self.sessions[name].all_heard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session, name = Session("", reader, writer), ""
        try:
            session.domain = await self._stream_opened(session)
            name = session.domain.partition(".")[0]
            self.connections[name] = self.connections.get(name, 0) + 1
            await self._play(name, session)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            if name:
                self.finished.add(name)
            writer.close()

    async def _stream_opened(self, session: Session) -> str:
        """The domain that it is for."""
        opened = await session.hear(_TO.pattern + rb"['\"][^>]*>")
        if self._context:
            await session.say(STREAM % opened[1] + b"<stream:features>" + STARTTLS + b"</stream:features>")
            await session.hear(rb"<starttls[^>]*>")
            await session.say(PROCEED)
            await session.writer.start_tls(self._context)
            opened = await session.hear(_TO.pattern + rb"['\"][^>]*>")
        return opened[1].decode()

    async def _play(self, name: str, session: Session) -> None:
        plan = self.plans[name]
        if plan.instead:
            await plan.instead(session)
            return
        await self._log_in(session, plan)
        self.sessions[name] = session
        self.logged_in.add(name)
        if plan.then:
            await plan.then(session)
        self.finished.add(name)
        await session.answer_for_ever()

    async def _log_in(self, session: Session, plan: Plan) -> None:
        header = STREAM % session.domain.encode()
        await session.say(header + b"<stream:features>" + MECHANISMS + b"</stream:features>")
        await session.hear(rb"<auth[^>]*>[^<]*</auth>")
        await session.say(SUCCESS)
        await session.hear(_TO.pattern + rb"['\"][^>]*>")
        await session.say(header + b"<stream:features>" + plan.features + b"</stream:features>")
        bind = await session.hear(rb"<iq\s[^>]*>.*?</iq>")
        ident = dict(_ATTRIBUTE.findall(bind[0]))[b"id"]
        session.jid = f"user@{session.domain}/r"
        await session.say(
            b"<iq type='result' id='%s'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>%s</jid></bind></iq>"
            % (ident, session.jid.encode())
        )
        while True:
            question = await session.hear(rb"<enable[^>]*>|" + _IQ.pattern)
            attributes = dict(_ATTRIBUTE.findall(question[0]))
            if question[0].startswith(b"<enable"):
                await session.say(b"<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>")
            elif b"jabber:iq:roster" in session.heard[:200]:
                query = b"<query xmlns='jabber:iq:roster'>%s</query>" % plan.roster
                await session.say(b"<iq type='result' id='%s'>%s</iq>" % (attributes[b"id"], query))
                return
            else:
                await session.answer(question)
