"""Owns a synchronous XMPP user on top of slixmpp, which runs in a thread of its own; knows nothing of SIP."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from slixmpp import JID, ClientXMPP
from slixmpp.stanza import Message, Presence
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

from tests.agents.inbox import Inbox

T = TypeVar("T")

CHAT_STATES = "http://jabber.org/protocol/chatstates"
ROSTER = "jabber:iq:roster"
CALL_SECONDS = 30.0
SUBSCRIPTION_TYPES = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")


@dataclass(frozen=True)
class XmppMessage:
    """A message stanza; `chat_state` is the name of its XEP-0085 element, `xml` the whole stanza."""

    from_jid: str
    type: str
    body: str
    thread: str
    chat_state: str | None
    xml: str
    id: str = ""

    @property
    def from_bare(self) -> str:
        return JID(self.from_jid).bare


@dataclass(frozen=True)
class XmppPresence:
    """A presence stanza; `type` is "available" where the stanza has none."""

    from_jid: str
    type: str
    show: str
    status: str
    xml: str

    @property
    def from_bare(self) -> str:
        return JID(self.from_jid).bare


@dataclass(frozen=True)
class RosterItem:
    """One contact on a roster (RFC 6121 §2.1.2)."""

    name: str
    groups: frozenset[str]
    subscription: str


class XmppUser:
    """Every public call blocks until slixmpp has done it, at most CALL_SECONDS (then TimeoutError).

    `connect` may be called again after the server went away; what was received before stays. With
    `auto_approve` every request to see the presence is granted. With `tls` the stream is encrypted and the
    certificate is not verified; without it nothing is encrypted and SCRAM is used in clear. `interests`: nodes
    of contacts whose events it wants to get (XEP-0163 §4.3.2), such as their moods.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        address: tuple[str, int],
        tls: bool = False,
        auto_approve: bool = False,
        interests: tuple[str, ...] = (),
    ) -> None:
        self.jid = jid
        self._interests = interests
        self._password, self._address = password, address
        self._tls, self._auto_approve = tls, auto_approve
        self._all: Inbox[XmppMessage] = Inbox(f"message stanza for {jid}")
        self._messages: Inbox[XmppMessage] = Inbox(f"message for {jid}")
        self._chat_states: Inbox[XmppMessage] = Inbox(f"chat state for {jid}")
        self._errors: Inbox[XmppMessage] = Inbox(f"error message for {jid}")
        self._presences: Inbox[XmppPresence] = Inbox(f"presence for {jid}", source=_presence_source)
        self._client: ClientXMPP | None = None
        self._runner = _LoopThread(f"xmpp-{jid}")

    @property
    def connected(self) -> bool:
        """True from the start of the session until the connection ends."""
        return self._client is not None and self._client.is_connected()

    @property
    def messages(self) -> list[XmppMessage]:
        """Every message with a body, in order, errors excepted."""
        return self._messages.items

    @property
    def chat_states(self) -> list[XmppMessage]:
        """Every message with a chat state, with a body or without."""
        return self._chat_states.items

    @property
    def errors(self) -> list[XmppMessage]:
        """Every message of type error."""
        return self._errors.items

    @property
    def all_messages(self) -> list[XmppMessage]:
        """Every message stanza of whatever kind, in order."""
        return self._all.items

    @property
    def presences(self) -> list[XmppPresence]:
        """Every presence stanza from others, in order."""
        return self._presences.items

    def wait_message(
        self, predicate: Callable[[XmppMessage], bool] | None = None, timeout: float = 30.0
    ) -> XmppMessage:
        """The first matching message not given before; AssertionError after `timeout` seconds."""
        return self._messages.wait(predicate, timeout)

    def wait_chat_state(self, state: str, timeout: float = 30.0) -> XmppMessage:
        """The first message with that chat state not given before."""
        return self._chat_states.wait(lambda message: message.chat_state == state, timeout)

    def wait_error(self, predicate: Callable[[XmppMessage], bool] | None = None, timeout: float = 30.0) -> XmppMessage:
        """The first matching error message not given before."""
        return self._errors.wait(predicate, timeout)

    def wait_any(self, predicate: Callable[[XmppMessage], bool] | None = None, timeout: float = 30.0) -> XmppMessage:
        """The first matching stanza of `all_messages` not given by this method before."""
        return self._all.wait(predicate, timeout)

    def wait_presence(
        self, predicate: Callable[[XmppPresence], bool] | None = None, timeout: float = 30.0
    ) -> XmppPresence:
        """The first matching presence; older ones of that full JID are not given any more."""
        return self._presences.wait(predicate, timeout)

    def forget_presences(self) -> None:
        """wait_presence sees only what comes from now on."""
        self._presences.forget()

    def connect(self, available: bool = True) -> Self:
        """Log in, fetch the roster and, if `available`, send the initial presence.

        Raises ConnectionError when the server refuses, or cannot be reached.
        """
        self._runner.run(self._connect(available))
        return self

    def send(self, to: str, body: str, thread: str | None = None, type: str = "chat") -> None:
        self._call(lambda client: _message(client, to, type, body=body, thread=thread).send())

    def send_chat_state(self, to: str, state: str) -> None:
        """A message with nothing but the XEP-0085 `state`."""
        self._call(lambda client: _message(client, to, "chat", state=state).send())

    def send_xml(self, xml: str) -> None:
        """A stanza as it is, such as a MUC join."""
        self._call(lambda client: client.send_raw(xml))

    def presence(
        self,
        show: str | None = None,
        status: str | None = None,
        type: str | None = None,
        to: str | None = None,
        priority: int | None = None,
    ) -> None:
        """Send a presence stanza, to everybody or to `to`."""
        self._call(lambda client: _presence(client, show, status, type, to, priority).send())

    def subscribe(self, jid: str) -> None:
        """Ask to see the presence of `jid`."""
        self.presence(type="subscribe", to=jid)

    def approve(self, jid: str) -> None:
        """Let `jid` see the presence of this user."""
        self.presence(type="subscribed", to=jid)

    def roster(self) -> dict[str, RosterItem]:
        """The contact list as the server has it now, by bare JID."""
        return self._runner.run(self._roster())

    def save_contact(self, jid: str, name: str = "", groups: Iterable[str] = ()) -> None:
        """RFC 6121 §2.3, §2.4: put a contact on the contact list, or change it there."""
        written = "".join(f"<group>{escape(group)}</group>" for group in groups)
        named = f" name={quoteattr(name)}" if name else ""
        self._set_roster(f"<item jid={quoteattr(jid)}{named}>{written}</item>")

    def remove_contact(self, jid: str) -> None:
        """RFC 6121 §2.5"""
        self._set_roster(f"<item jid={quoteattr(jid)} subscription='remove'/>")

    def _set_roster(self, item: str) -> None:
        query = f"<query xmlns='jabber:iq:roster'>{item}</query>"
        self.send_xml(f"<iq type='set' id='{secrets.token_hex(6)}'>{query}</iq>")

    async def _roster(self) -> dict[str, RosterItem]:
        if self._client is None:
            raise ConnectionError(f"{self.jid} is not connected")
        question = cast(Any, self._client.make_iq_get("jabber:iq:roster"))  # all of it, whatever was told before
        answer = await question.send()
        items = answer.xml.iter(f"{{{ROSTER}}}item")
        return {item.get("jid", ""): _roster_item(item) for item in items}

    def close(self) -> None:
        """Log out and end the thread; harmless when that was done, or the connection is gone already."""
        if self._runner.closed:
            return
        try:
            self._runner.run(self._disconnect())
        finally:
            self._runner.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, action: Callable[[ClientXMPP], object]) -> None:
        """Run `action` in the loop and wait until what it queued is written. Raises ConnectionError."""
        self._runner.run(self._act(action))

    async def _act(self, action: Callable[[ClientXMPP], object]) -> None:
        client = self._client
        if client is None or not client.is_connected():
            raise ConnectionError(f"{self.jid} is not connected")
        action(client)
        await client.waiting_queue.join()

    async def _connect(self, available: bool) -> None:
        await self._disconnect()
        client = self._client = self._new_client()
        session: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        _settle(session, client)
        client.connect(*self._address)
        try:
            await asyncio.wait_for(session, CALL_SECONDS - 1)
        except BaseException:
            await self._disconnect()
            raise
        await cast(Any, client).get_roster()  # has no annotations in slixmpp
        if self._interests:
            await client["xep_0115"].update_caps(broadcast=False)
        if available:
            client.send_presence()
            await client.waiting_queue.join()

    def _new_client(self) -> ClientXMPP:
        config = {"feature_mechanisms": {"unencrypted_scram": not self._tls}}
        client = ClientXMPP(self.jid, self._password, plugin_config=config, ssl_context=_unverified())
        client.enable_starttls, client.enable_plaintext = self._tls, not self._tls
        client.enable_direct_tls = False
        client.auto_authorize = True if self._auto_approve else None
        client.auto_subscribe = False
        if self._interests:
            client.register_plugin("xep_0163")
            for node in self._interests:
                client["xep_0030"].add_feature(f"{node}+notify")
        client.register_handler(Callback("every message", StanzaPath("message"), self._on_message))
        client.register_handler(Callback("every presence", StanzaPath("presence"), self._on_presence))
        return client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.cancel_connection_attempt()
        if client.is_connected():
            await client.disconnect(wait=2.0)

    def _on_message(self, stanza: StanzaBase) -> None:
        message = _read_message(stanza)
        self._all.put(message)
        if message.type == "error":
            self._errors.put(message)
            return
        if message.chat_state is not None:
            self._chat_states.put(message)
        if message.body:
            self._messages.put(message)

    def _on_presence(self, stanza: StanzaBase) -> None:
        if self._client is not None and stanza["from"] == self._client.boundjid:
            return
        self._presences.put(
            XmppPresence(
                from_jid=str(stanza["from"]),
                type=stanza.xml.get("type", "available"),
                show=stanza["show"],
                status=stanza["status"],
                xml=str(stanza),
            )
        )


class _LoopThread:
    """An asyncio loop in a thread; `run` gives it work and waits for the result."""

    def __init__(self, name: str) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=name, daemon=True)
        self._thread.start()
        self._started.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises what the work raises, TimeoutError after CALL_SECONDS."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(CALL_SECONDS)
        except TimeoutError:
            future.cancel()
            raise

    @property
    def closed(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._started.set()
        await self._end.wait()


def _settle(session: asyncio.Future[None], client: ClientXMPP) -> None:
    """The first event that decides about the log-in ends `session`."""

    def succeed(_: object) -> None:
        if not session.done():
            session.set_result(None)

    def fail(why: object) -> None:
        if not session.done():
            session.set_exception(ConnectionError(f"{client.requested_jid}: {why}"))

    client.add_event_handler("session_start", succeed)
    for event in ("failed_all_auth", "connection_failed", "disconnected"):
        client.add_event_handler(event, fail)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _message(
    client: ClientXMPP,
    to: str,
    type: str,
    body: str | None = None,
    thread: str | None = None,
    state: str | None = None,
) -> Message:
    message = client.Message()
    message["to"], message["type"] = to, type
    if body is not None:
        message["body"] = body
    if thread is not None:
        message["thread"] = thread
    if state is not None:
        message.append(ET.Element(f"{{{CHAT_STATES}}}{state}"))
    return message


def _presence(
    client: ClientXMPP,
    show: str | None,
    status: str | None,
    type: str | None,
    to: str | None,
    priority: int | None,
) -> Presence:
    presence = client.Presence()
    fields = {"show": show, "status": status, "type": type, "to": to, "priority": priority}
    for name, value in fields.items():
        if value is not None:
            presence[name] = value
    return presence


def _read_message(stanza: StanzaBase) -> XmppMessage:
    prefix = f"{{{CHAT_STATES}}}"
    states = [child.tag.removeprefix(prefix) for child in stanza.xml if child.tag.startswith(prefix)]
    return XmppMessage(
        from_jid=str(stanza["from"]),
        type=stanza.xml.get("type", "normal"),
        body=stanza["body"],
        thread=stanza["thread"],
        chat_state=states[0] if states else None,
        xml=str(stanza),
        id=stanza["id"],
    )


def _roster_item(item: ET.Element) -> RosterItem:
    groups = frozenset(group.text or "" for group in item.iter(f"{{{ROSTER}}}group"))
    return RosterItem(item.get("name", ""), groups, item.get("subscription", "none"))


def _presence_source(presence: XmppPresence) -> tuple[str, str]:
    """A subscription stanza is an event of its own, anything else the newest state of a full JID."""
    return presence.from_jid, presence.type if presence.type in SUBSCRIPTION_TYPES else ""
