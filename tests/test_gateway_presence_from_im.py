"""What phones read of IM contacts, end to end: each row of RFC 8048 §6.2, table 1, and RPID, CIPID, IRC beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import unquote

import pytest

from tests.agents.phone import Phone
from tests.agents.pidf import elements, notes_by_language, texts
from tests.agents.sip import uri_of
from tests.agents.subscription import Notify, Subscription
from tests.agents.xmpp import XmppUser
from tests.at_once import at_once
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody

WATCHER = "nina"
CHANGED = 30.0  # seconds: at most one NOTIFY in 5 s (RFC 3856 §6.10), and a busy machine
ASKED = 40.0  # seconds: on IRC who is there is asked for every 10 s
MOOD = "http://jabber.org/protocol/mood"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass
class Watcher:
    """A SIP user with one XMPP account and one phone, and the contacts' clients, which stay until `clients` ends."""

    gateway: Gateway
    prosody: Prosody
    phone: Phone
    user: str = WATCHER
    clients: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def online(cls, gateway: Gateway, prosody: Prosody, user: str = WATCHER) -> Self:
        prosody.add_user(user, PASSWORD)
        gateway.add_user(user)
        gateway.add_xmpp_account(user, prosody)
        return cls(gateway, prosody, gateway.online_phone(user, f"{user}@{prosody.domain}"), user)

    @property
    def jid(self) -> str:
        return f"{self.user}@{self.prosody.domain}"

    def client(self, name: str, resource: str = "desk", stanza: str = "<presence/>") -> XmppUser:
        """A contact's; `stanza` is its initial presence."""
        self.prosody.add_user(name, PASSWORD)
        jid, address = f"{name}@{self.prosody.domain}/{resource}", ("127.0.0.1", self.prosody.port)
        user = XmppUser(jid, PASSWORD, address)
        self.clients.callback(user.close)
        user.connect(available=False)
        user.send_xml(stanza)
        return user

    def watch(self, name: str, client: XmppUser | None = None) -> Subscription:
        """The contact has agreed before, or `client` does so now: slixmpp itself would send a presence of its own."""
        watch = self.phone.subscribe(self.address(name))
        assert watch.status in (200, 202)
        self.clients.callback(watch.unsubscribe)
        if client is not None:
            client.wait_presence(lambda one: one.type == "subscribe" and one.from_bare == self.jid)
            client.approve(self.jid)
        return watch

    def seen(self, name: str, stanza: str = "<presence/>", resource: str = "desk") -> Notify:
        """The first document about a contact that shows this from the start."""
        return self.watch(name, self.client(name, resource, stanza)).wait_notify(is_open)

    def address(self, name: str) -> str:
        return xmpp_contact(f"{name}@{self.prosody.domain}")

    def watched(self, name: str, mutual: bool = False, stanza: str = "<presence/>") -> tuple[XmppUser, Subscription]:
        """A contact that is seen online; if `mutual`, it sees the user as well: who is watched may watch."""
        client = self.client(name, stanza=stanza)
        watch = self.watch(name, client)
        watch.wait_notify(is_open)
        if mutual:
            client.subscribe(self.jid)
            client.wait_presence(lambda one: one.from_bare == self.jid and one.type == "available")
        return client, watch


@pytest.fixture(scope="module")
def watcher(gateway: Gateway, prosody: Prosody) -> Watcher:
    return Watcher.online(gateway, prosody)


@pytest.fixture(autouse=True)
def _clients_end(watcher: Watcher) -> Iterator[None]:
    with ExitStack() as watcher.clients:
        yield


def is_open(notify: Notify) -> bool:
    return notify.presence is not None and notify.presence.basic == "open"


def is_closed(notify: Notify) -> bool:
    return notify.state == "active" and notify.presence is not None and notify.presence.basic == "closed"


# ---- what a contact shows before it is watched: the first document has it


@dataclass(frozen=True)
class Row:
    """`seen`: what is found at each path of the document (tests.agents.pidf.texts)."""

    name: str
    stanza: str
    seen: dict[str, list[str]]


ACTIVITIES = "dm:person/rpid:activities/*"

ROWS = [
    Row("no-type", "<presence/>", {"tuple/status/basic": ["open"], "tuple/note": [], "tuple/status/jabber:show": []}),
    Row("no-type-activity", "<presence/>", {ACTIVITIES: [], "dm:person/rpid:mood": [], "dm:person/dm:note": []}),
    Row("id", "<presence id='p1'><status>with an id</status></presence>", {"tuple/note": ["with an id"]}),
    Row(
        "status",
        "<presence><status>out fishing, 🎣 äöü</status></presence>",
        {"tuple/note": ["out fishing, 🎣 äöü"], "dm:person/dm:note": ["out fishing, 🎣 äöü"]},
    ),
    Row(
        "status-markup",
        "<presence><status>&lt;b&gt;x&lt;/b&gt; &amp; y &amp;amp; &quot;z&quot;</status></presence>",
        {"tuple/note": ['<b>x</b> & y &amp; "z"'], "dm:person/dm:note": ['<b>x</b> & y &amp; "z"']},
    ),
    Row(
        "status-controls",
        "<presence><status>a&#x9;b\u0085c\u009fd\n e\u007f</status></presence>",
        {"tuple/note": ["a b cd e"], "dm:person/dm:note": ["a b cd e"]},
    ),
    Row("status-empty", "<presence><status> </status></presence>", {"tuple/note": [], "dm:person/dm:note": []}),
    Row("unknown-show", "<presence><show>gone</show></presence>", {"tuple/status/jabber:show": [], ACTIVITIES: []}),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_of_the_table(watcher: Watcher, row: Row) -> None:
    notify = watcher.seen(row.name, row.stanza)
    assert {path: texts(notify.body, path) for path in row.seen} == row.seen
    assert notify.headers["Event"].partition(";")[0] == "presence"
    assert notify.headers["Content-Type"].startswith("application/pidf+xml")


def test_from_and_to_are_those_of_the_contact_and_of_the_user(watcher: Watcher) -> None:
    notify = watcher.seen("from-and-to")
    assert uri_of(notify.headers["From"]) == watcher.address("from-and-to")
    assert uri_of(notify.headers["To"]) == sip(watcher.user)
    assert notify.presence is not None
    assert notify.presence.entity == watcher.address("from-and-to")
    assert texts(notify.body, "tuple/contact") == [watcher.address("from-and-to")]


@pytest.mark.parametrize(
    ("show", "activities"),
    [("away", ["away"]), ("xa", ["away"]), ("dnd", ["busy"]), ("chat", [])],
)
def test_show_is_passed_on_and_is_an_activity(watcher: Watcher, show: str, activities: list[str]) -> None:
    """Note 7: <show xmlns='jabber:client'/> itself; RFC 4480 §3.2 for phones that do not know it."""
    notify = watcher.seen(f"show-{show}", f"<presence><show>{show}</show></presence>")
    assert texts(notify.body, "tuple/status/jabber:show") == [show]
    assert [element.tag.rpartition("}")[2] for element in elements(notify.body, ACTIVITIES)] == activities


@pytest.mark.parametrize(
    ("xmpp", "pidf"),
    [
        *[(None, "0"), (0, "0"), (1, "0.007"), (2, "0.015"), (126, "0.992"), (127, "1")],
        *[(-1, None), (-128, None)],
    ],
)
def test_priority(watcher: Watcher, xmpp: int | None, pidf: str | None) -> None:
    """Note 6; RFC 6121 §4.7.2.3: no priority is 0."""
    said = "" if xmpp is None else f"<priority>{xmpp}</priority>"
    notify = watcher.seen(f"priority{xmpp}".lower(), f"<presence>{said}</presence>")
    (contact,) = elements(notify.body, "tuple/contact")
    found = contact.get("priority")
    if xmpp is None:
        assert found is None or float(found) == 0
    elif pidf is None:
        assert found is None
    else:
        assert found is not None
        assert re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", found), "RFC 3863 §4.4"
        assert float(found) == float(pidf)


@pytest.mark.parametrize(
    ("stanza", "notes"),
    [
        ("<presence xml:lang='de'><status>fort</status></presence>", {"de": "fort"}),
        ("<presence><status xml:lang='pt-BR'>fora</status></presence>", {"pt-BR": "fora"}),
        (
            "<presence xml:lang='de'><status>fort</status><status xml:lang='en'>gone</status>"
            "<status xml:lang='fr'>parti</status></presence>",
            {"de": "fort", "en": "gone", "fr": "parti"},
        ),
    ],
    ids=["of-the-stanza", "of-the-status", "several"],
)
def test_languages_are_kept(
    watcher: Watcher, request: pytest.FixtureRequest, stanza: str, notes: dict[str, str]
) -> None:
    """A NOTIFY has one Content-Language, a document a language for each note (RFC 3863 §4.1.6)."""
    notify = watcher.seen(f"lang-{request.node.callspec.id}", stanza)
    assert notes_by_language(notify.body, "tuple/note") == notes
    assert notes_by_language(notify.body, "dm:person/dm:note") == notes


@pytest.mark.parametrize(
    ("resource", "ident"),
    [("desk.1-A", "ID-desk.1-A"), ("yn0cl4bnw0yr3vym", "ID-yn0cl4bnw0yr3vym"), ("1 <Büro> & mehr", None)],
)
def test_a_resource_is_the_id_of_a_tuple(watcher: Watcher, resource: str, ident: str | None) -> None:
    """Note 2; every id is an xs:ID."""
    notify = watcher.seen(f"resource-{len(resource)}", resource=resource)
    (found,) = [element.get("id", "") for element in elements(notify.body, "tuple")]
    assert re.fullmatch(r"ID-[\w.-]+", found, re.ASCII)
    assert found == ident or ident is None


def test_several_clients_are_several_tuples(watcher: Watcher) -> None:
    """RFC 8048 §6.2: in SIP they are tuples of one document; the most available speaks for the person."""
    watcher.client("several", "desk", "<presence><show>away</show><status>at the desk</status></presence>")
    watcher.client("several", "phone", "<presence><priority>127</priority></presence>")
    last = watcher.client("several", "tv", "<presence><show>xa</show><priority>-1</priority></presence>")
    watch = watcher.watch("several", last)
    notify = watch.wait_notify(lambda one: one.presence is not None and len(one.presence.tuples) == 3, CHANGED)
    shown = {
        element.get("id"): texts_of(notify.body, element.get("id", ""), "status/jabber:show")
        for element in elements(notify.body, "tuple")
    }
    assert shown == {"ID-desk": ["away"], "ID-phone": [], "ID-tv": ["xa"]}
    assert texts_of(notify.body, "ID-desk", "note") == ["at the desk"]
    assert elements(notify.body, ACTIVITIES) == []
    assert texts(notify.body, "dm:person/dm:note") == []


def texts_of(body: bytes, ident: str, path: str) -> list[str]:
    return texts(body, f"tuple[@id='{ident}']/{path}")


@pytest.mark.parametrize("way", ["XEP-0319", "XEP-0256"])
def test_idle_since_when(watcher: Watcher, way: str) -> None:
    """RFC 4480 §3.14"""
    idle = {
        "XEP-0319": "<idle xmlns='urn:xmpp:idle:1' since='2024-05-06T09:08:09+02:00'/>",
        "XEP-0256": "<query xmlns='jabber:iq:last' seconds='600'/>",
    }
    earliest = datetime.now(UTC) - timedelta(seconds=600 + 1)
    notify = watcher.seen(way.lower(), f"<presence><show>away</show>{idle[way]}</presence>")
    inputs = elements(notify.body, "dm:person/rpid:user-input")
    assert [(one.text or "").strip() for one in inputs] == ["idle"]
    since = datetime.fromisoformat(inputs[0].get("last-input", ""))
    if way == "XEP-0319":
        assert since == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    else:
        assert earliest < since < datetime.now(UTC) - timedelta(seconds=600 - 1)
    (of_tuple,) = elements(notify.body, "tuple/rpid:user-input")
    assert of_tuple.get("last-input") == inputs[0].get("last-input")


def test_who_is_not_idle_has_no_idle_time(watcher: Watcher) -> None:
    notify = watcher.seen("busy-bee")
    assert elements(notify.body, ".//rpid:user-input") == []


def test_a_contact_that_is_offline_is_closed(watcher: Watcher) -> None:
    """Who has agreed before, and is away now."""
    client, watch = watcher.watched("offline")
    watch.unsubscribe()
    client.close()
    notify = watcher.watch("offline").wait_notify(is_closed, CHANGED)
    assert [element.get("id", "")[:3] for element in elements(notify.body, "tuple")] == ["ID-"]


# ---- what changes while it is watched; all at once, for each waits some seconds


def test_what_changes_reaches_the_watcher(watcher: Watcher) -> None:
    """Each contact has one change, so that none waits for another."""
    leaving, watch_leaving = watcher.watched("leaving")
    moody, watch_moody = watcher.watched("moody", mutual=True)
    wordy, watch_wordy = watcher.watched("wordy", mutual=True)
    named, watch_named = watcher.watched("named")
    _, watch_coming = watcher.watched("coming")
    one_leaves = watcher.client("one-leaves", "phone")
    _, watch_one_leaves = watcher.watched("one-leaves")
    back, watch_back = watcher.watched("back", stanza="<presence><show>dnd</show><status>no</status></presence>")

    leaving.presence(type="unavailable", status="home & <gone>")
    _publish(moody, MOOD, f"<mood xmlns='{MOOD}'><happy/></mood>")
    _publish(wordy, MOOD, f"<mood xmlns='{MOOD}'><intoxicated/><text>hic</text></mood>")
    own = watcher.client(watcher.user, "own")  # another client of the user
    own.send_xml(
        "<iq type='set' id='name'><query xmlns='jabber:iq:roster'>"
        f"<item jid='named@{watcher.prosody.domain}' name='Ann &amp; &lt;Bob&gt;'/></query></iq>"
    )
    watcher.client("coming", "second")
    one_leaves.presence(type="unavailable")
    back.presence()

    notify = watch_leaving.wait_notify(is_closed, CHANGED)
    assert texts(notify.body, "tuple/note") == ["home & <gone>"]
    assert texts(notify.body, "tuple/status/basic") == ["closed"]
    watch_moody.wait_notify(lambda one: _finds(one, "dm:person/rpid:mood/rpid:happy"), CHANGED)
    notify = watch_wordy.wait_notify(lambda one: _finds(one, "dm:person/rpid:mood"), CHANGED)
    assert texts(notify.body, "dm:person/rpid:mood/rpid:other") == ["intoxicated"]
    notify = watch_named.wait_notify(lambda one: _finds(one, "dm:person/cipid:display-name"), CHANGED)
    assert texts(notify.body, "dm:person/cipid:display-name") == ["Ann & <Bob>"]
    watch_coming.wait_notify(lambda one: _ids(one) == {"ID-desk", "ID-second"}, CHANGED)
    watch_one_leaves.wait_notify(lambda one: _ids(one) == {"ID-desk"}, CHANGED)
    notify = watch_back.wait_notify(lambda one: is_open(one) and not _finds(one, ACTIVITIES), CHANGED)
    assert texts(notify.body, ".//jabber:show") == texts(notify.body, "tuple/note") == []
    assert named.connected


def _finds(notify: Notify, path: str) -> bool:
    return bool(notify.body) and bool(elements(notify.body, path))


def _ids(notify: Notify) -> set[str]:
    return {element.get("id", "") for element in elements(notify.body, "tuple")} if notify.body else set()


def _publish(user: XmppUser, node: str, item: str, ident: str = "current") -> None:
    """XEP-0163 §3"""
    user.send_xml(
        f"<iq type='set' id='pep'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'>"
        f"<item id='{ident}'>{item}</item></publish></pubsub></iq>"
    )


def test_an_account_that_signs_off_sees_nobody_and_all_again_afterwards(gateway: Gateway, prosody: Prosody) -> None:
    olga = Watcher.online(gateway, prosody, "olga")
    with olga.clients:
        _, watch = olga.watched("constant", stanza="<presence><status>always here</status></presence>")
        assert olga.phone.publish(None, expires=0).status == 200
        gateway.wait_state("olga@localhost", "offline")
        notify = watch.wait_notify(is_closed, CHANGED)
        assert texts(notify.body, "tuple/note") == []
        gateway.online_phone("olga", "olga@localhost")
        notify = watch.wait_notify(is_open, CHANGED)
        assert texts(notify.body, "tuple/note") == ["always here"]


# ---- pictures


def test_pictures(tmp_path: Path, prosody: Prosody) -> None:
    """purple.avatars; XEP-0084, RFC 4482 §3.2 (<icon>)."""

    def picture(mode: str) -> None:
        with Gateway(tmp_path / mode[:5], users={}, settings={"avatars": mode}) as gateway:
            _check_picture(gateway, prosody)

    at_once(picture, {mode: mode for mode in ("inline", "https://pictures.example.org/of%20contacts/")})


def _check_picture(gateway: Gateway, prosody: Prosody) -> None:
    mode = str(gateway.kamailio.settings["avatars"])
    pia = Watcher.online(gateway, prosody, f"pia-{mode[:5]}")
    with pia.clients:
        data, digest = base64.b64encode(PICTURE).decode(), hashlib.sha1(PICTURE).hexdigest()
        name = f"pictured-{mode[:5]}"
        client, watch = pia.watched(name, mutual=True)
        info = f"<info bytes='{len(PICTURE)}' id='{digest}' height='1' width='1' type='image/png'/>"
        _publish(client, "urn:xmpp:avatar:data", f"<data xmlns='urn:xmpp:avatar:data'>{data}</data>", digest)
        _publish(
            client, "urn:xmpp:avatar:metadata", f"<metadata xmlns='urn:xmpp:avatar:metadata'>{info}</metadata>", digest
        )
        notify = watch.wait_notify(lambda one: _finds(one, "dm:person/cipid:icon"), CHANGED)
        (icon,) = texts(notify.body, "dm:person/cipid:icon")
    if mode == "inline":
        assert unquote(icon) == f"data:image/png;base64,{data}"
    else:
        assert icon == f"{mode.rstrip('/')}/{digest}.png"
        assert (gateway.kamailio.state_dir / "avatars" / f"{digest}.png").read_bytes() == PICTURE


def test_without_the_parameter_no_pictures_are_shown(watcher: Watcher) -> None:
    notify = watcher.seen("unpictured")
    assert elements(notify.body, ".//cipid:icon") == []


# ---- IRC: who is there, and who is away


def test_irc_contacts_come_go_and_are_away(gateway: Gateway, ngircd: Ngircd) -> None:
    gateway.add_user("rosa")
    gateway.add_irc_account("rosa", ngircd, "rosa")
    phone = gateway.online_phone("rosa", "rosa@127.0.0.1")
    gateway.irc_user(ngircd, "stays")
    leaver, walker = gateway.irc_user(ngircd, "leaves"), gateway.irc_user(ngircd, "walks")
    watches = {name: phone.subscribe(_irc(name)) for name in ("stays", "leaves", "walks", "comes")}
    for name in ("stays", "leaves", "walks"):
        notify = watches[name].wait_notify(is_open, ASKED)
        assert elements(notify.body, ACTIVITIES) == []
    watches["comes"].wait_notify(is_closed, ASKED)

    leaver.quit()
    walker.away("lunch")
    gateway.irc_user(ngircd, "comes")
    watches["leaves"].wait_notify(is_closed, ASKED)
    watches["walks"].wait_notify(lambda one: is_open(one) and _finds(one, "dm:person/rpid:activities/rpid:away"), ASKED)
    watches["comes"].wait_notify(is_open, ASKED)
    walker.away()
    watches["walks"].wait_notify(lambda one: is_open(one) and not _finds(one, ACTIVITIES), ASKED)
    assert is_open(watches["stays"].notifies[-1])


def _irc(nick: str) -> str:
    return f"sip:{nick}@irc.im.{DOMAIN}"
