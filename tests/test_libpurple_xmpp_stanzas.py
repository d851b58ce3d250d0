"""What libpurple's XMPP does not tell by itself: texts, acknowledgements, errors, receipts, copies; a real server."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from slixmpp import ClientXMPP
from slixmpp.xmlstream import StanzaBase
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from purple_bridge.libpurple import buddies, c, messages, xmlnode
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.messages import CANCELLING, ERROR_TYPES
from purple_bridge.libpurple.stream_management import MODULUS, Stream
from purple_bridge.libpurple.text import escape
from tests.agents.xmpp import XmppUser
from tests.bodies import BODIES, CONTROLS, OF_CONTACTS
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import PASSWORD, Recorder, new_users, signed_on, started, wait_online, xmpp_account
from tests.servers.prosody import Prosody

CHAT_STATES = "http://jabber.org/protocol/chatstates"
CLIENT = "jabber:client"
DISCO = "http://jabber.org/protocol/disco#info"
RECEIPTS = "urn:xmpp:receipts"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"

TEXTS = (*BODIES, *OF_CONTACTS)


class Listener(XmppUser):
    """Keeps every message stanza as it came, and can ask what a client announces."""

    def __init__(self, name: str, port: int, resource: str = "listener") -> None:
        super().__init__(f"{name}@localhost/{resource}", PASSWORD, ("127.0.0.1", port))
        self.elements: list[ET.Element] = []
        self.features: list[str] = []

    def ask_features(self, jid: str) -> None:
        """XEP-0030; what the client at ``jid`` announces comes to ``features``."""
        self.send_xml(f"<iq to='{jid}' type='get' id='disco'><query xmlns='{DISCO}'/></iq>")

    def with_id(self, ident: str) -> ET.Element:
        """The stanza with this id, waited for while libpurple runs, too."""
        return run_until(lambda: [one for one in self.elements if one.get("id") == ident], f"stanza {ident}")[0]

    def with_child(self, name: str) -> ET.Element:
        """The first stanza with a child ``{namespace}name``."""
        return run_until(lambda: [one for one in self.elements if one.find(name) is not None], f"stanza with {name}")[0]

    def _new_client(self) -> ClientXMPP:
        client = super()._new_client()
        client.register_handler(Callback("disco", MatchXPath(f"{{{CLIENT}}}iq/{{{DISCO}}}query"), self._on_disco))
        return client

    def _on_disco(self, stanza: StanzaBase) -> None:
        self.features = [str(feature.get("var")) for feature in stanza.xml.iter(f"{{{DISCO}}}feature")]

    def _on_message(self, stanza: StanzaBase) -> None:
        super()._on_message(stanza)
        self.elements.append(stanza.xml)


def _bare(name: str) -> str:
    return f"{name}@localhost"


def _send(account: Account, who: str, text: str, **more: Any) -> None:
    assert account.send_im(who, "", text=text, **more) >= 0


def _texts(recorder: Recorder) -> list[str | None]:
    return [message.text for _, message in recorder.messages]


# ---- texts


def every_text(port: int, purple: str, other: str) -> dict[str, Any]:
    recorder, (account,) = signed_on(port, purple)
    with Listener(other, port) as user:
        for body in TEXTS:
            _send(account, _bare(other), body.text)
        run_until(lambda: len(user.messages) == len(TEXTS), "every text at the other", 30)
        for body in TEXTS:
            user.send(_bare(purple), body.text)
        run_until(lambda: len(recorder.messages) == len(TEXTS), "every text here", 30)
        return {
            "there": [message.body for message in user.messages],
            "here": _texts(recorder),
            "markup": [
                one for one in user.elements if one.find("{http://jabber.org/protocol/xhtml-im}html") is not None
            ],
            "bodies": {len(one.findall(f"{{{CLIENT}}}body")) for one in user.elements} == {1},
        }


def test_every_text_arrives_exactly_both_ways(prosody: Prosody) -> None:
    seen = run_in_child(every_text, prosody.port, *new_users(prosody, 2))
    expected = {body.name: body.in_im for body in TEXTS}
    assert dict(zip(expected, seen["there"], strict=True)) == expected
    assert dict(zip(expected, seen["here"], strict=True)) == expected
    assert seen["markup"] == [], "plain text goes without XHTML"
    assert seen["bodies"]


def markup(port: int, purple: str, other: str) -> list[Any]:
    _, (account,) = signed_on(port, purple)
    with Listener(other, port) as user:
        account.send_im(_bare(other), "<b>really</b> bold", text="*really*  bold", ident="p1")
        stanza = user.with_id("p1")
        html = stanza.find("{http://jabber.org/protocol/xhtml-im}html")
        assert html is not None
        return [stanza.findtext(f"{{{CLIENT}}}body"), "".join(html.itertext())]


def test_real_markup_goes_as_xhtml_beside_the_text(prosody: Prosody) -> None:
    assert run_in_child(markup, prosody.port, *new_users(prosody, 2)) == ["*really*  bold", "really bold"]


def not_xml(port: int, purple: str, other: str, texts: list[str]) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    results = [account.send_im(_bare(other), escape(text), text=text, ident="p1") for text in texts]
    results.append(account.send_im(_bare(other), "good", text="good", subject=texts[0]))
    _send(account, _bare(other), "good", ident="p2")
    run_until(lambda: recorder.acknowledged, "the acknowledgement")
    return [results, recorder.acknowledged, account.connected]


def test_what_xml_cannot_carry_is_refused_and_does_not_end_the_stream(prosody: Prosody) -> None:
    texts = [body.text for body in CONTROLS]
    results, acknowledged, connected = run_in_child(not_xml, prosody.port, *new_users(prosody, 2), texts)
    assert results == [-22] * (len(texts) + 1)
    assert acknowledged == ["p2"]
    assert connected


def fields(port: int, purple: str, other: str) -> list[Any]:
    _, (account,) = signed_on(port, purple)
    with Listener(other, port) as user:
        _send(account, _bare(other), "Hallo", ident="p0", wants_receipt=True, subject="<Kühe> & mehr", language="de")
        _send(account, _bare(other), "Hello", ident="p1")
        full, simple = user.with_id("p0"), user.with_id("p1")
    return [
        full.get("{http://www.w3.org/XML/1998/namespace}lang"),
        full.findtext(f"{{{CLIENT}}}subject"),
        full.find(f"{{{RECEIPTS}}}request") is not None,
        full.get("type"),
        simple.findtext(f"{{{CLIENT}}}subject"),
        simple.find(f"{{{RECEIPTS}}}request") is not None,
    ]


def test_subject_language_and_the_wish_for_a_receipt_are_sent(prosody: Prosody) -> None:
    seen = run_in_child(fields, prosody.port, *new_users(prosody, 2))
    assert seen == ["de", "<Kühe> & mehr", True, "chat", None, False]


def answers(port: int, purple: str, other: str) -> list[Any]:
    """What is written to a contact before he has said anything, and after a text in a thread, without chat state."""
    recorder, (account,) = signed_on(port, purple)
    with Listener(other, port) as user:
        _send(account, _bare(other), "first", ident="p1")
        first = user.with_id("p1")
        user.send_xml(f"<message to='{_bare(purple)}' type='chat'><body>x</body><thread>&lt;7&gt;</thread></message>")
        run_until(lambda: recorder.messages, "the contact's text")
        _send(account, _bare(other), "second", ident="p2")
        second = user.with_id("p2")
    active, thread = f"{{{CHAT_STATES}}}active", f"{{{CLIENT}}}thread"
    return [[one.find(active) is not None, one.findtext(thread)] for one in (first, second)]


def test_an_answer_belongs_to_the_thread_and_has_a_chat_state_only_for_who_knows_them(prosody: Prosody) -> None:
    """RFC 6121 §5.2.5, XEP-0085 §5.1"""
    assert run_in_child(answers, prosody.port, *new_users(prosody, 2)) == [[True, None], [False, "<7>"]]


def threads(port: int, purple: str, other: str, lengths: list[int]) -> list[str | None]:
    """What each answer has that is written after a text in a thread of so many characters."""
    recorder, (account,) = signed_on(port, purple)
    found = []
    with Listener(other, port) as user:
        for number, length in enumerate(lengths, 1):
            thread = f"<thread>{'x' * length}</thread>"
            user.send_xml(f"<message to='{_bare(purple)}' type='chat'>{thread}<body>x</body></message>")
            run_until(partial(lambda count: len(recorder.messages) == count, number), "the contact's text")
            _send(account, _bare(other), "the answer", ident=f"p{number}")
            found.append(user.with_id(f"p{number}").findtext(f"{{{CLIENT}}}thread"))
    return found


def test_a_thread_that_is_too_long_is_forgotten(prosody: Prosody) -> None:
    seen = run_in_child(threads, prosody.port, *new_users(prosody, 2), [256, 257, 36, 200_000])
    assert seen == ["x" * 256, None, "x" * 36, None]


def read_threads(texts: list[str]) -> list[str]:
    """The one that is known of a <message/> with these, and behind it those that libpurple will find."""
    started()
    node = xmlnode.new(b"message")
    for text in texts:
        xmlnode.add(node, b"thread", messages.CLIENT, text)
    known = messages.read(node).thread
    return [known, *(xmlnode.text_of(child) for _, _, child in xmlnode.children(node))]


@pytest.mark.parametrize(
    ("texts", "left"), [(["a", "b"], ["a", "a", "b"]), (["", "x" * 257], ["", ""]), (["x" * 257, "b"], ["b", "b"])]
)
def test_libpurple_does_not_know_a_long_thread_either(texts: list[str], left: list[str]) -> None:
    assert run_in_child(read_threads, texts) == left


def received(port: int, purple: str, other: str, stanzas: list[str]) -> list[dict[str, Any]]:
    """The messages made of ``stanzas``, in which {to} stands for the account."""
    recorder, _ = signed_on(port, purple)
    with Listener(other, port) as user:
        for stanza in stanzas:
            user.send_xml(stanza.format(to=_bare(purple)))
        user.send(_bare(purple), "the end")
        run_until(lambda: "the end" in _texts(recorder), "the last message")
    return [asdict(message) for _, message in recorder.messages[:-1]]


def test_what_a_stanza_says_is_told(prosody: Prosody) -> None:
    purple, other = new_users(prosody, 2)
    stanza = (
        "<message to='{to}' type='chat' id='x-1' xml:lang='fr'><subject>le sujet</subject><body>texte &amp; tout</body>"
        "<request xmlns='urn:xmpp:receipts'/></message>"
    )
    (message,) = run_in_child(received, prosody.port, purple, other, [stanza])
    assert message == {
        "sender": f"{other}@localhost/listener",
        "html": "texte &amp; tout",
        "flags": c.PURPLE_MESSAGE_RECV,
        "sent_at": 0,
        "text": "texte & tout",
        "ident": "x-1",
        "wants_receipt": True,
        "wants_error": True,
        "recipient": "",
        "subject": "le sujet",
        "language": "fr",
    }


def test_the_body_without_a_language_comes_first(prosody: Prosody) -> None:
    """RFC 6121 §5.2.3; its language is the stanza's, in which the server put the stream's."""
    stanzas = [
        "<message to='{to}'><body xml:lang='de'>deutsch</body><body>plain</body><body xml:lang='fr'/></message>",
        "<message to='{to}'><body xml:lang='de'>deutsch</body><body xml:lang='fr'>fr</body></message>",
    ]
    messages = run_in_child(received, prosody.port, *new_users(prosody, 2), stanzas)
    assert [(message["text"], message["language"]) for message in messages] == [("plain", "en"), ("deutsch", "de")]


def test_a_headline_is_a_message_that_nobody_is_to_be_told_of(prosody: Prosody) -> None:
    """RFC 6121 §5.2.2; what a pubsub node says is no text for people, whatever its type."""
    stanzas = [
        "<message to='{to}' type='headline' id='h-1'><subject>Tonight</subject><body>no &lt;service&gt;</body>"
        "<request xmlns='urn:xmpp:receipts'/></message>",
        "<message to='{to}' type='headline'><body>an event</body>"
        "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='x'/></event></message>",
        "<message to='{to}' type='headline'><subject>only a subject</subject></message>",
    ]
    (message,) = run_in_child(received, prosody.port, *new_users(prosody, 2), stanzas)
    assert (message["text"], message["subject"], message["ident"]) == ("no <service>", "Tonight", "h-1")
    assert (message["html"], message["flags"]) == ("no &lt;service&gt;", c.PURPLE_MESSAGE_RECV)
    assert (message["wants_receipt"], message["wants_error"]) == (False, False)


def test_xhtml_and_the_text_are_both_told(prosody: Prosody) -> None:
    stanza = (
        "<message to='{to}'><body>*bold*</body><html xmlns='http://jabber.org/protocol/xhtml-im'>"
        "<body xmlns='http://www.w3.org/1999/xhtml'><b>bold</b></body></html></message>"
    )
    (message,) = run_in_child(received, prosody.port, *new_users(prosody, 2), [stanza])
    assert message["text"] == "*bold*"
    assert "<b>bold</b>" in message["html"]


def test_a_delayed_message_says_when_it_was_written(prosody: Prosody) -> None:
    delay = "<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>"
    stanzas = [
        "<message to='{to}'><body>late</body>" + delay.format(stamp=stamp) + "</message>"
        for stamp in ("2002-09-10T23:08:25Z", "2002-09-10T23:08:25.123+02:00", "yesterday")
    ]
    messages = run_in_child(received, prosody.port, *new_users(prosody, 2), stanzas)
    assert [message["sent_at"] for message in messages] == [1031699305, 1031692105, 0]
    assert [bool(message["flags"] & c.PURPLE_MESSAGE_DELAYED) for message in messages] == [True, True, False]


def test_a_stanza_without_a_body_is_no_message(prosody: Prosody) -> None:
    stanzas = [
        "<message to='{to}'><subject>only a subject</subject></message>",
        "<message to='{to}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message to='{to}'><received xmlns='urn:xmpp:receipts' id='p1'/></message>",
        "<message to='{to}'><body/></message>",
    ]
    assert run_in_child(received, prosody.port, *new_users(prosody, 2), stanzas) == []


# ---- XEP-0198


def acknowledged(port: int, purple: str, other: str, count: int) -> list[Any]:
    recorder = started()
    account = xmpp_account(purple, port)
    before = account.confirms
    wait_online(account)
    confirms = account.confirms
    for number in range(count):
        _send(account, _bare(other), f"text {number}", ident=f"p{number}")
        account.send_typing(_bare(other), True)
        account.send_receipt(_bare(other), "x")
        account.send_im(_bare(other), "without an ident")
    run_until(lambda: len(recorder.acknowledged) >= count, "every acknowledgement")
    account.disconnect()
    run_until(lambda: account.disconnected, "signed off")
    return [before, confirms, account.confirms, recorder.acknowledged]


def test_messages_are_acknowledged_in_order(prosody: Prosody) -> None:
    seen = run_in_child(acknowledged, prosody.port, *new_users(prosody, 2), 200)
    assert seen == [False, True, False, [f"p{number}" for number in range(200)]]


def left_at_once(port: int, purple: str, other: str, count: int) -> list[list[str | None]]:
    """Signed off as soon as everything has come, and on again: what came each time."""
    recorder, (account,) = signed_on(port, purple)
    with Listener(other, port) as user:
        for number in range(count):
            user.send(_bare(purple), f"text {number}")
        run_until(lambda: len(recorder.messages) >= count, "every message")
    account.disconnect()
    run_until(lambda: account.disconnected, "signed off")
    first = [message.text for _account, message in recorder.messages]
    account.connect(PASSWORD)
    wait_online(account)
    run_for(0.5)
    return [first, [message.text for _account, message in recorder.messages[count:]]]


def test_who_signs_off_acknowledges_all_that_has_come(prosody: Prosody) -> None:
    """XEP-0198 §5: a server delivers again, or stores, what was not acknowledged."""
    seen = run_in_child(left_at_once, prosody.port, *new_users(prosody, 2), 100)
    assert seen == [[f"text {number}" for number in range(100)], []]


def paused(directory: str) -> list[Any]:
    recorder = started()
    with Prosody(Path(directory), {"alice": PASSWORD, "bob": PASSWORD}) as server:
        account = xmpp_account("alice", server.port)
        wait_online(account)
        _send(account, "bob@localhost", "one", ident="p1")
        run_until(lambda: recorder.acknowledged, "the first acknowledgement")
        server.pause()
        _send(account, "bob@localhost", "two", ident="p2")
        run_for(0.5)
        meanwhile = list(recorder.acknowledged)
        server.resume()
        run_until(lambda: len(recorder.acknowledged) > 1, "the second acknowledgement")
        return [meanwhile, recorder.acknowledged]


def test_only_the_server_acknowledges(tmp_path: Path) -> None:
    assert run_in_child(paused, str(tmp_path)) == [["p1"], ["p1", "p2"]]


def server_lost(directory: str, count: int) -> dict[str, Any]:
    """The server dies with ``count`` messages that it did not read, then the application sends them again."""
    recorder = started()
    idents = [f"p{number}" for number in range(count)]
    with Prosody(Path(directory), {"alice": PASSWORD, "bob": PASSWORD}) as server:
        account = xmpp_account("alice", server.port)
        wait_online(account)
        with Listener("bob", server.port) as user:
            befriend(recorder, "alice@localhost", user)
        server.pause()
        account.set_status(buddies.AWAY, "of the past")
        account.send_typing("bob@localhost", True)
        for ident in idents:
            _send(account, "bob@localhost", ident, ident=ident)
        account.send_receipt("bob@localhost", "kept")
        server.kill()
        run_until(lambda: account.disconnected, "the end of the connection")
        unconfirmed = list(recorder.acknowledged)
        server.start()
        with Listener("bob", server.port) as user:
            account.set_status(buddies.AVAILABLE, "of today")
            account.connect(PASSWORD)
            wait_online(account)
            user.with_child(f"{{{RECEIPTS}}}received")
            run_for(0.5)
            resent = [message.body for message in user.messages]
            states = [state.chat_state for state in user.chat_states]
            server.pause()
            _send(account, "bob@localhost", "early?", ident="pearly")
            run_for(0.5)
            early = list(recorder.acknowledged)
            server.resume()
            for ident in idents:
                _send(account, "bob@localhost", ident, ident=ident)
            run_until(lambda: len(recorder.acknowledged) >= count + 1, "every acknowledgement")
            run_until(lambda: len(user.messages) >= count + 1, "every message")
            run_for(0.5)
            return {
                "unconfirmed": unconfirmed,
                "resent": resent,
                "states": states,
                "early": early,
                "acknowledged": recorder.acknowledged,
                "messages": [message.body for message in user.messages],
                "shown": [presence.status for presence in user.presences if "of the past" in presence.status],
                "today": [presence.status for presence in user.presences if "of today" in presence.status],
            }


def befriend(recorder: Recorder, jid: str, user: Listener) -> None:
    """The user sees the account's presence: libpurple sends chat states to nobody else."""
    user.subscribe(jid)
    run_until(lambda: recorder.requests, "the question")[0][1].authorize()
    run_until(lambda: any(one.type == "available" for one in user.presences), "the presence")


def test_what_a_lost_server_did_not_read_is_left_to_the_application(tmp_path: Path) -> None:
    idents = [f"p{number}" for number in range(20)]
    seen = run_in_child(server_lost, str(tmp_path), len(idents))
    assert seen["unconfirmed"] == []
    assert seen["resent"] == [], "libpurple wrote again what the application will write again"
    assert seen["states"] == []
    assert seen["shown"] == [], "the presence of the past was written again"
    assert seen["today"]
    assert seen["early"] == [], "the count is behind the server's"
    assert seen["acknowledged"] == ["pearly", *idents]
    assert seen["messages"] == ["early?", *idents]


def without_management(directory: str) -> list[Any]:
    recorder = started()
    with PlainProsody(Path(directory), {"alice": PASSWORD, "bob": PASSWORD}) as server:
        account = xmpp_account("alice", server.port)
        wait_online(account)
        with Listener("bob", server.port) as user:
            _send(account, "bob@localhost", "text", ident="p1")
            user.with_id("p1")
            run_for(0.2)
        return [account.confirms, recorder.acknowledged]


class PlainProsody(Prosody):
    """A server that offers neither XEP-0198 nor XEP-0280."""

    def prepare(self) -> None:
        super().prepare()
        path = self.directory / "prosody.cfg.lua"
        path.write_text(path.read_text().replace('"smacks"; "carbons";', ""))


def test_a_server_without_stream_management_confirms_nothing(tmp_path: Path) -> None:
    assert run_in_child(without_management, str(tmp_path)) == [False, []]


@pytest.mark.parametrize("start", [0, 41, MODULUS - 2])
def test_the_count_starts_again_at_zero(start: int) -> None:
    """XEP-0198 §4"""
    stream = Stream()
    for _ in range(3):
        stream.sent("")
    stream._sent = stream._acknowledged = start
    for ident in ("p1", "", "p2", "p3"):
        stream.sent(ident)
    assert stream.acknowledge((start + 1) % MODULUS) == ["p1"]
    assert stream.acknowledge((start + 1) % MODULUS) == []
    assert stream.acknowledge((start + 9) % MODULUS) == [], "more than was sent"
    assert stream.acknowledge((start + 4) % MODULUS) == ["p2", "p3"]


@pytest.mark.parametrize("start", [0, MODULUS - 2])
def test_libpurple_is_told_of_what_it_has_sent_itself(start: int) -> None:
    stream = Stream()
    stream._sent = stream._acknowledged = start
    stream.sent("")
    stream.sent_past_libpurple("p1")
    stream.sent_past_libpurple("p2")
    stream.sent("")
    seen = []
    for h in range(1, 5):
        stream.acknowledge((start + h) % MODULUS)
        seen.append((stream.for_libpurple - start) % MODULUS)
    assert seen == [1, 1, 1, 2]


# ---- errors, receipts, chat states


def failures(port: int, purple: str, other: str, stanzas: list[str]) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    _send(account, "nobody@localhost", "Is anybody there?", ident="p1z")
    run_until(lambda: recorder.failures, "the server's error")
    account.send_im("nobody@localhost", "without an ident")
    account.send_receipt("nobody@localhost", "x")
    with Listener(other, port) as user:
        for stanza in stanzas:
            user.send_xml(stanza.format(to=f"{_bare(purple)}/test"))
        user.send(_bare(purple), "the end")
        run_until(lambda: recorder.messages, "the last message")
    return [recorder.failures, recorder.notices, _texts(recorder)]


def test_errors_are_told_with_their_condition(prosody: Prosody) -> None:
    """RFC 6120 §8.3; none of them opens one of libpurple's windows."""
    purple, other = new_users(prosody, 2)
    head = "<message to='{to}' type='error' id='%s'>"
    condition = f"<item-not-found xmlns='{STANZAS}'/><text xmlns='{STANZAS}' xml:lang='en'>No such &lt;cow&gt;</text>"
    stanzas = [
        head % "p2" + f"<body>Is anybody there?</body><error type='cancel'>{condition}</error></message>",
        head % "p3" + "<error code='404'/></message>",
        head % "p4" + f"<error type='wait'><resource-constraint xmlns='{STANZAS}'/><mine xmlns='x'/></error></message>",
        head % "purple1a2b" + f"<body>x</body><error type='cancel'>{condition}</error></message>",
        head % "other" + f"<body>x</body><error type='cancel'>{condition}</error></message>",
        "<message to='{to}' type='error'><body>no id, no error</body></message>",
        head % "p5" + f"<error type='cancel'><gone xmlns='{STANZAS}'>xmpp:cow@new.example</gone></error></message>",
        head % "p6" + f"<error type='modify'><redirect xmlns='{STANZAS}'> xmpp:cow@new.example\n</redirect>"
        f"<text xmlns='{STANZAS}'>for today</text></error></message>",
        head % "p7" + f"<error type='cancel'><gone xmlns='{STANZAS}'/></error></message>",
    ]
    failed, notices, texts = run_in_child(failures, prosody.port, purple, other, stanzas)
    (ident, who, name, _text), *rest = failed
    assert (ident, who, name) == ("p1z", "nobody@localhost", "service-unavailable")
    assert rest == [
        ["p2", f"{other}@localhost", "item-not-found", "No such <cow>"],
        ["p3", f"{other}@localhost", "undefined-condition", ""],
        ["p4", f"{other}@localhost", "resource-constraint", ""],
        ["p5", f"{other}@localhost", "gone", "<xmpp:cow@new.example>"],
        ["p6", f"{other}@localhost", "redirect", "for today <xmpp:cow@new.example>"],
        ["p7", f"{other}@localhost", "gone", ""],
    ]
    assert notices == []
    assert texts == ["the end"]


def bounced(port: int, purple: str, other: str, conditions: list[str], text: str, address: str) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    with Listener(other, port) as user:
        user.send_xml(f"<message to='{_bare(purple)}' type='chat' id='their-1'><body>for a phone</body></message>")
        message = run_until(lambda: recorder.messages, "the message")[0][1]
        for condition in conditions:
            assert account.send_error(message.sender, message.ident, condition, text, address)
        _send(account, _bare(other), "the end", ident="p1")
        run_until(lambda: recorder.acknowledged, "the acknowledgement")
        run_until(lambda: len(user.errors) == len(conditions), "every error")
        return [_error(stanza) for stanza in user.elements if stanza.get("type") == "error"]


def _error(stanza: ET.Element) -> list[Any]:
    (error,) = [child for child in stanza if child.tag.endswith("}error")]
    names = [child.tag for child in error]
    return [stanza.get("id"), error.get("type"), names[0], error[0].text, error.findtext(f"{{{STANZAS}}}text")]


def test_an_error_is_sent_with_its_type(prosody: Prosody) -> None:
    conditions = [*sorted(CANCELLING), *sorted(ERROR_TYPES), "cow-is-ill"]
    text, address = "no <phone> took\a it 🐄", "sip:a&b@new.example"
    seen = run_in_child(bounced, prosody.port, *new_users(prosody, 2), conditions, text, address)
    expected = [*conditions[:-1], "undefined-condition"]
    moved = dict.fromkeys(("gone", "redirect"), address)  # RFC 6120 §8.3.3.5, §8.3.3.14
    shown = text.replace("\a", "\ufffd")
    assert seen == [
        ["their-1", ERROR_TYPES.get(name, "cancel"), f"{{{STANZAS}}}{name}", moved.get(name), shown]
        for name in expected
    ]


def receipts(port: int, first: str, second: str) -> list[Any]:
    recorder, (one, two) = signed_on(port, first, second)
    _send(one, _bare(second), "Did you get it?", ident="p1", wants_receipt=True)
    message = run_until(lambda: recorder.messages, "the message")[0][1]
    two.send_receipt(message.sender, message.ident)
    run_until(lambda: recorder.receipts, "the receipt")
    with Listener(second, port) as user:
        one.send_receipt(user.jid, "a<b>&'c")
        stanza = user.with_child(f"{{{RECEIPTS}}}received")
        received = stanza.find(f"{{{RECEIPTS}}}received")
        assert received is not None
        user.ask_features(f"{_bare(first)}/test")
        features = run_until(lambda: user.features, "the features")
    return [message.wants_receipt, message.ident, recorder.receipts, received.get("id"), features]


def test_receipts_go_both_ways_and_are_announced(prosody: Prosody) -> None:
    """XEP-0184"""
    first, second = new_users(prosody, 2)
    wanted, ident, seen, sent, features = run_in_child(receipts, prosody.port, first, second)
    assert (wanted, ident) == (True, "p1")
    assert seen == [[f"{second}@localhost", "p1"]]
    assert sent == "a<b>&'c"
    assert RECEIPTS in features
    assert "http://jabber.org/protocol/chatstates" in features


def typing(port: int, purple: str, other: str, states: list[str]) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
    head = f"<message to='{_bare(purple)}' type='chat'>{composing}"
    with Listener(other, port) as user:
        befriend(recorder, _bare(purple), user)
        for state in states:
            user.send_chat_state(_bare(purple), state)
        user.send_xml(f"{head}<body>composed</body></message>")
        user.send_xml(f"{head}<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/></message>")
        user.send(_bare(purple), "the end")
        run_until(lambda: len(recorder.messages) == 2, "the last message")
        account.send_typing(user.jid, True)
        account.send_typing(user.jid, False)
        run_until(lambda: len(user.chat_states) >= 2, "two chat states")
        return [recorder.typing, [state.chat_state for state in user.chat_states]]


def test_typing_is_told_both_ways(prosody: Prosody) -> None:
    """XEP-0085; what comes with a body is told by the message itself; what the server kept says nothing of now."""
    purple, other = new_users(prosody, 2)
    states = ["composing", "paused", "composing", "active", "composing", "inactive", "composing", "gone"]
    seen, sent = run_in_child(typing, prosody.port, purple, other, states)
    who = f"{other}@localhost"
    assert seen == [[who, True], [who, False]] * 4
    assert sent == ["composing", "active"]


# ---- XEP-0280


def copies(port: int, purple: str, other: str) -> list[dict[str, Any]]:
    recorder, (account,) = signed_on(port, purple)
    with Listener(purple, port, "desk") as desk, Listener(other, port) as user:
        request = "<request xmlns='urn:xmpp:receipts'/>"
        desk.send_xml(
            f"<message to='{user.jid}' type='chat' id='d-1'><body>I  write &amp; you</body>{request}</message>"
        )
        user.with_id("d-1")
        user.send_xml(f"<message to='{desk.jid}' type='chat' id='u-1'><body>for the desk</body>{request}</message>")
        desk.with_id("u-1")
        desk.send_chat_state(user.jid, "composing")
        run_until(lambda: len(recorder.messages) == 2, "both copies")
        _send(account, desk.jid, "done", ident="p1")
        desk.with_id("p1")
        user.send(_bare(purple), "the end")
        run_until(lambda: "the end" in _texts(recorder), "the last message")
        receipts = [one for one in user.elements if one.find(f"{{{RECEIPTS}}}received") is not None]
        assert receipts == []
        assert recorder.typing == []
    return [asdict(message) for _, message in recorder.messages]


def test_what_other_clients_of_the_account_send_and_receive_is_copied(prosody: Prosody) -> None:
    purple, other = new_users(prosody, 2)
    sent, incoming, end = run_in_child(copies, prosody.port, purple, other)
    assert sent["sender"] == f"{purple}@localhost/desk"
    assert sent["recipient"] == f"{other}@localhost"
    assert sent["flags"] & c.PURPLE_MESSAGE_REMOTE_SEND
    assert (sent["text"], sent["html"]) == ("I  write & you", "I  write &amp; you")
    assert (sent["ident"], sent["wants_receipt"]) == ("d-1", False)
    assert incoming["sender"] == f"{other}@localhost/listener"
    assert (incoming["text"], incoming["recipient"]) == ("for the desk", "")
    assert incoming["flags"] == c.PURPLE_MESSAGE_RECV
    assert (incoming["ident"], incoming["wants_receipt"]) == ("u-1", False)
    assert [one["wants_error"] for one in (sent, incoming, end)] == [False, False, True]
    assert end["text"] == "the end"


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_copy_that_somebody_else_made_is_not_believed(prosody: Prosody, direction: str) -> None:
    """CVE-2017-5589"""
    purple, other = new_users(prosody, 2)
    forged = (
        f"<message xmlns='{CLIENT}' from='{purple}@localhost/desk' to='boss@localhost' type='chat'>"
        "<body>I resign</body></message>"
    )
    forwarded = f"<forwarded xmlns='urn:xmpp:forward:0'>{forged}</forwarded>"
    copy = f"<{direction} xmlns='urn:xmpp:carbons:2'>{forwarded}</{direction}>"
    stanza = f"<message to='{{to}}' type='chat'>{copy}</message>"
    assert run_in_child(received, prosody.port, purple, other, [stanza]) == []
