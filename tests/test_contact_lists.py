"""A SIP user's IM contacts as one list, which phones read and change: rows, accounts' lists and XCAP documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from purple_bridge.addresses import GatewayDomain, ImContact, SipAddress
from purple_bridge.bodies import resource_lists
from purple_bridge.bodies.resource_lists import Entry
from purple_bridge.contact_lists import LISTS, SERVICES, ContactLists, Edit, Written, listed_route, service_of
from purple_bridge.db import contacts, presence_server
from purple_bridge.db.account import Account as Row
from purple_bridge.db.contacts import ListedContact
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.presence_server import RESOURCE_LISTS, RLS_SERVICES
from purple_bridge.db.schema import create_all
from purple_bridge.db.tables import purplemap_table, xcap
from purple_bridge.destinations import contacts_of, routes
from purple_bridge.ownership import account_digest

GATEWAY = GatewayDomain("im.example.org")
JABBER, IRC = "prpl-jabber", "prpl-irc"
ALICE = SipAddress.parse("sip:alice@example.org")
HOME, WORK = (JABBER, "alice@xmpp.example"), (JABBER, "alice@work.example")
CHAT = (IRC, "alice@irc.example")
BOB = ListedContact("bob@xmpp.example", "Bob", ("Friends", "Work"), "both")
DAVE = ListedContact("dave@xmpp.example", "David")
BOB_URI, DAVE_URI = "sip:bob*xmpp.example@xmpp.im.example.org", "sip:dave@example.org"
ERIN_URI = "sip:erin*xmpp.example@xmpp.im.example.org"
GRANDMA = "sip:grandma@example.com"

Account = tuple[str, str]


class User:
    """Alice, with an account on XMPP, and the tables; Dave is a SIP user who has one as well."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lists = ContactLists(engine, Mapping(engine), GATEWAY)
        self.map(ALICE.uri, HOME)
        self.map("sip:dave@example.org", (JABBER, "dave@xmpp.example"))

    def map(self, sip_user: str, account: Account) -> None:
        row = {"sip_user": sip_user, "ext_prot": account[0], "ext_user": account[1]}
        with self.engine.begin() as connection:
            connection.execute(insert(purplemap_table("purplemap", "sqlite")).values(row))

    def save(self, *listed: ListedContact, account: Account = HOME) -> None:
        contacts.save(self.engine, account_digest(*account).hex(), listed)

    def rows(self) -> tuple[Row, ...]:
        return Mapping(self.engine).accounts_of(ALICE.key)

    def found(self) -> list[tuple[str, str, str]]:
        return [(one.account.ext_user, one.listed.contact, one.address.uri) for one in self.lists.contacts_of(ALICE)]

    def write(self) -> bool:
        return self.lists.write(ALICE) is Written.CHANGED

    def document(self, auid: str = LISTS) -> bytes:
        stored = presence_server.load_document(self.engine, presence_server.document_uri(auid, ALICE))
        assert stored is not None
        return stored.body

    def entries(self) -> list[Entry]:
        return resource_lists.read(self.document())

    def put(self, body: bytes, auid: str = LISTS, etag: str = "of-a-phone") -> None:
        """As a phone does through the XCAP server."""
        kind = RESOURCE_LISTS if auid == LISTS else RLS_SERVICES
        uri = presence_server.document_uri(auid, ALICE)
        presence_server.save_document(self.engine, ALICE, kind, uri, body)
        with self.engine.begin() as connection:
            connection.execute(update(xcap).where(xcap.c.doc_uri == uri).values(etag=etag))

    def replace(self, old: str, new: str) -> None:
        """A phone changes the document."""
        text = self.document().decode()
        assert old in text
        self.put(text.replace(old, new).encode())

    def edits(self) -> list[Edit]:
        return self.lists.edits(ALICE)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    url = f"sqlite:///{tmp_path / 'kamailio.db'}"
    create_all(url)
    engine = make_engine(url)
    yield User(engine)
    engine.dispose()


def _lists(content: str) -> bytes:
    return f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">{content}</resource-lists>'.encode()


# ---- who is on the list, under which address


def test_a_contact_is_known_by_its_address_at_the_gateway_one_with_a_row_by_its_sip_user(user: User) -> None:
    user.save(BOB, DAVE)
    assert user.found() == [
        ("alice@xmpp.example", "bob@xmpp.example", BOB_URI),
        ("alice@xmpp.example", "dave@xmpp.example", DAVE_URI),
    ]
    assert [one.listed for one in user.lists.contacts_of(ALICE)] == [BOB, DAVE]


def test_a_contact_on_irc_has_the_row_of_its_nick_on_that_server(user: User) -> None:
    user.map(ALICE.uri, CHAT)
    user.map("sip:frank@example.org", (IRC, "frank@irc.example"))
    user.map("sip:grace@example.org", (IRC, "grace@other.example"))
    user.save(ListedContact("frank"), ListedContact("grace"), account=CHAT)
    assert [address for _, _, address in user.found()] == ["sip:frank@example.org", "sip:grace@irc.im.example.org"]


def test_a_contact_on_a_second_irc_server_is_known_by_its_nick_and_server(user: User) -> None:
    """The nick alone is on the first one, where it may be somebody else."""
    other = (IRC, "alice@other.example")
    user.map(ALICE.uri, CHAT)
    user.map(ALICE.uri, other)
    user.save(ListedContact("grace"), account=CHAT)
    user.save(ListedContact("grace"), account=other)
    addresses = ["sip:grace@irc.im.example.org", "sip:grace*other.example@irc.im.example.org"]
    assert [address for _, _, address in user.found()] == addresses
    assert [_route(user, address) for address in addresses] == [
        ("alice@irc.example", ImContact(IRC, "grace")),
        ("alice@other.example", ImContact(IRC, "grace")),
    ]


def test_all_accounts_of_the_user_and_of_no_other(user: User) -> None:
    user.map(ALICE.uri, WORK)
    user.map("sip:carol@example.org", (JABBER, "carol@xmpp.example"))
    user.save(BOB)
    user.save(ListedContact("erin@xmpp.example"), account=WORK)
    user.save(ListedContact("x@xmpp.example"), account=(JABBER, "carol@xmpp.example"))
    assert [(account, contact) for account, contact, _ in user.found()] == [
        ("alice@xmpp.example", "bob@xmpp.example"),
        ("alice@work.example", "erin@xmpp.example"),
    ]


def test_a_user_without_accounts_or_contacts(user: User) -> None:
    assert user.found() == []
    assert user.lists.contacts_of(SipAddress.parse("sip:nobody@example.org")) == []


def test_a_name_that_no_address_can_carry_is_left_out(user: User) -> None:
    user.save(ListedContact("a\x07b@xmpp.example"), ListedContact(""), BOB)
    assert [contact for _, contact, _ in user.found()] == ["bob@xmpp.example"]
    assert user.write()
    assert [entry.uri for entry in user.entries()] == [BOB_URI]


def test_odd_names_have_addresses_that_come_back(user: User) -> None:
    names = ["a*b@xmpp.example", "jürgen@xmpp.example", "o\\27hara@xmpp.example", "x&y<@xmpp.example"]
    user.save(*map(ListedContact, names))
    addresses = [SipAddress.parse(address) for _, _, address in user.found()]
    assert sorted(contact.name for contact in map(GATEWAY.contact_of, addresses) if contact) == sorted(names)
    user.write()
    assert user.edits() == []


# ---- the documents


def test_the_list_has_all_contacts_in_their_groups(user: User) -> None:
    user.save(BOB, DAVE)
    assert user.write()
    entries = sorted(user.entries(), key=lambda entry: entry.uri)
    assert entries == [Entry(BOB_URI, "Bob", ("Friends", "Work")), Entry(DAVE_URI, "David")]


def test_the_list_is_one_address_to_subscribe_to(user: User) -> None:
    assert service_of(ALICE).uri == "sip:alice-contacts@example.org"
    user.save(BOB, DAVE)
    user.write()
    service = user.document(SERVICES).decode()
    assert 'uri="sip:alice-contacts@example.org"' in service
    assert BOB_URI in service
    assert DAVE_URI in service


def test_documents_are_where_the_xcap_server_looks(user: User) -> None:
    user.write()
    columns = select(xcap.c.username, xcap.c.domain, xcap.c.doc_type, xcap.c.doc_uri).order_by(xcap.c.doc_type)
    with user.engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(columns)] == [
            ("alice", "example.org", RESOURCE_LISTS, "/xcap-root/resource-lists/users/sip:alice@example.org/index"),
            ("alice", "example.org", RLS_SERVICES, "/xcap-root/rls-services/users/sip:alice@example.org/index"),
        ]


def test_what_has_not_changed_is_not_written(user: User) -> None:
    user.save(BOB)
    assert user.write()
    before = user.document(), user.document(SERVICES)
    assert not user.write()
    assert (user.document(), user.document(SERVICES)) == before
    user.save(BOB, DAVE)
    assert user.write()


def test_who_has_no_account_gets_no_documents(user: User) -> None:
    nobody = SipAddress.parse("sip:nobody@example.org")
    assert user.lists.write(nobody) is Written.UNCHANGED
    assert presence_server.load_document(user.engine, presence_server.document_uri(LISTS, nobody)) is None


def test_what_the_networks_say_is_followed(user: User) -> None:
    user.save(BOB, DAVE)
    user.write()
    user.save(ListedContact("erin@xmpp.example", "Erin", ("Friends",)), DAVE)
    assert user.write()
    assert sorted(user.entries(), key=lambda entry: entry.uri) == [
        Entry(DAVE_URI, "David"),
        Entry(ERIN_URI, "Erin", ("Friends",)),
    ]
    assert BOB_URI not in user.document(SERVICES).decode()


def test_a_sip_user_stays_on_the_list(user: User) -> None:
    """Nothing says whether the network's list brought him there, or the user himself."""
    user.save(BOB, DAVE)
    user.write()
    user.save()
    assert user.write()
    assert user.entries() == [Entry(DAVE_URI, "David")]
    assert user.edits() == []


def test_entries_that_are_no_contacts_stay(user: User) -> None:
    mine = f'<list name="Family"><entry uri="{GRANDMA}"><display-name>Grandma</display-name></entry></list>'
    user.put(_lists(f"<!-- mine -->{mine}"))
    user.save(BOB)
    assert user.write()
    assert f"<!-- mine -->{mine}".encode() in user.document()
    assert Entry(GRANDMA, "Grandma", ("Family",)) in user.entries()
    user.save()
    assert user.write()
    assert user.entries() == [Entry(GRANDMA, "Grandma", ("Family",))]
    assert GRANDMA in user.document(SERVICES).decode(), "the phone watches them all at one address"


def test_a_contact_of_two_accounts_is_one_entry(user: User) -> None:
    user.map(ALICE.uri, WORK)
    user.save(BOB)
    user.save(BOB, account=WORK)
    assert len(user.found()) == 2
    user.write()
    assert user.entries() == [Entry(BOB_URI, "Bob", ("Friends", "Work"))]
    assert user.edits() == []


def test_a_service_document_of_a_phone_is_not_overwritten(user: User) -> None:
    user.save(BOB)
    user.put(b"<rls-services/>", SERVICES)
    assert user.write(), "the list alone"
    assert user.document(SERVICES) == b"<rls-services/>"
    assert [entry.uri for entry in user.entries()] == [BOB_URI]


def test_a_change_of_the_phone_at_the_same_moment_is_not_lost(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    load, phones = presence_server.load_documents, [_lists(f'<list name="Family"><entry uri="{GRANDMA}"/></list>')]

    def interrupted(engine: Engine, doc_uris: list[str]) -> dict[str, presence_server.StoredDocument]:
        found = load(engine, doc_uris)
        if phones:
            user.put(phones.pop())
        return found

    user.save(BOB)
    monkeypatch.setattr(presence_server, "load_documents", interrupted)
    assert user.lists.write(ALICE) is Written.UNREAD
    assert [edit.removed for edit in user.edits()] == [True], "the phone did not know of Bob"
    assert user.write()
    assert {entry.uri for entry in user.entries()} == {GRANDMA, BOB_URI}


def test_what_a_phone_has_written_is_read_before_it_is_written_over(user: User) -> None:
    """The list may change in the network before the word of the phone's PUT has come."""
    user.save(BOB, DAVE)
    user.write()
    user.put(_lists(""))
    assert user.lists.write(ALICE) is Written.UNREAD
    assert user.entries() == []
    assert {edit.removed for edit in user.edits()} == {True}
    assert user.write()
    user.put(_lists(""), etag="another")
    assert user.lists.write(ALICE, even_unread=True) is Written.CHANGED


def test_who_subscribes_does_not_write_over_what_a_phone_has_written(user: User) -> None:
    user.save(BOB)
    user.lists.prepare(ALICE)
    assert [entry.uri for entry in user.entries()] == [BOB_URI]
    user.save(BOB, DAVE)
    user.lists.prepare(ALICE)
    assert {entry.uri for entry in user.entries()} == {BOB_URI, DAVE_URI}
    user.put(_lists(""))
    ContactLists(user.engine, Mapping(user.engine), GATEWAY).prepare(ALICE)
    assert user.entries() == []
    assert BOB_URI not in user.document(SERVICES).decode(), "who subscribes sees what the phone has written"


# ---- what a phone changes


@pytest.fixture
def written(user: User) -> User:
    """Bob and Dave are on the list, and phones know it."""
    user.save(BOB, DAVE)
    user.write()
    return user


def test_a_list_as_it_was_written_changes_nothing(written: User) -> None:
    assert written.edits() == []


def test_a_contact_is_added(written: User) -> None:
    (row,) = written.rows()
    entry = f'<entry uri="{ERIN_URI}"><display-name>Erin &amp; co</display-name></entry>'
    written.replace("</resource-lists>", f'<list name="New">{entry}</list></resource-lists>')
    assert written.edits() == [Edit(row, "erin@xmpp.example", "Erin & co", ("New",))]


def test_an_added_sip_user_is_the_phones_own_affair(written: User) -> None:
    written.replace("</resource-lists>", f'<list name="New"><entry uri="{GRANDMA}"/></list></resource-lists>')
    assert written.edits() == []


@pytest.mark.parametrize("uri", ["sip:erin@irc.im.example.org", "sip:a%20b@irc.im.example.org", "sip:im.example.org",
                                 "sip:alice*xmpp.example@xmpp.im.example.org", "sip:x@im.example.org", "tel:+15550100",
                                 "sip:a%00b@xmpp.im.example.org", "sip:%zz@xmpp.im.example.org"])  # fmt: skip
def test_what_no_account_of_the_user_can_reach_is_not_added(written: User, uri: str) -> None:
    """Another network, no name of an IRC user, the account itself, no contact, no address at all."""
    written.replace("</resource-lists>", f'<list name="New"><entry uri="{uri}"/></list></resource-lists>')
    assert written.edits() == []


def test_an_irc_name_with_a_space_is_refused_though_there_is_an_account(written: User) -> None:
    written.map(ALICE.uri, CHAT)
    entries = '<entry uri="sip:a%20b@irc.im.example.org"/><entry uri="sip:erin@irc.im.example.org"/>'
    written.replace("</resource-lists>", f'<list name="New">{entries}</list></resource-lists>')
    assert [(edit.account.ext_user, edit.contact) for edit in written.edits()] == [("alice@irc.example", "erin")]


def test_a_contact_is_renamed(written: User) -> None:
    written.replace(">Bob<", ">Robert<")
    (row,) = written.rows()
    assert written.edits() == [Edit(row, "bob@xmpp.example", "Robert", ("Friends", "Work"))]


def test_a_group_is_renamed(written: User) -> None:
    written.replace('name="Work"', 'name="Office"')
    (row,) = written.rows()
    assert written.edits() == [Edit(row, "bob@xmpp.example", "Bob", ("Friends", "Office"))]


def test_contacts_are_removed(written: User) -> None:
    """Of those with a row, too: the network knows them by the name on its list."""
    written.put(_lists(f'<list name="Friends"><entry uri="{GRANDMA}"/></list>'))
    (row,) = written.rows()
    expected = [Edit(row, name, removed=True) for name in ("bob@xmpp.example", "dave@xmpp.example")]
    assert sorted(written.edits(), key=lambda edit: edit.contact) == expected


def test_a_document_that_is_deleted_removes_nobody(written: User) -> None:
    with written.engine.begin() as connection:
        connection.execute(delete(xcap))
    assert written.edits() == []


def test_all_at_once(written: User) -> None:
    written.put(_lists(
        f'<list name="Friends"><entry uri="{BOB_URI}"><display-name>Bob</display-name></entry>'
        f'<entry uri="{ERIN_URI}"/></list>'
    ))  # fmt: skip
    (row,) = written.rows()
    assert written.edits() == [
        Edit(row, "erin@xmpp.example", "", ("Friends",)),
        Edit(row, "bob@xmpp.example", "Bob", ("Friends",)),
        Edit(row, "dave@xmpp.example", removed=True),
    ]


def test_a_contact_is_added_to_the_first_account_on_its_network(written: User) -> None:
    written.map(ALICE.uri, WORK)
    written.replace("</resource-lists>", f'<list name="New"><entry uri="{ERIN_URI}"/></list></resource-lists>')
    assert [edit.account.ext_user for edit in written.edits()] == ["alice@xmpp.example"]


@pytest.mark.parametrize("account", [HOME, WORK])
def test_edits_go_to_the_account_that_has_the_contact(user: User, account: Account) -> None:
    user.map(ALICE.uri, WORK)
    user.save(BOB, account=account)
    user.write()
    user.replace(">Bob<", ">Robert<")
    assert [(edit.account.ext_user, edit.alias) for edit in user.edits()] == [(account[1], "Robert")]


# ---- of several accounts one asks


def _route(user: User, uri: str = BOB_URI) -> tuple[str, ImContact]:
    found = list(routes(user.rows(), contacts_of(SipAddress.parse(uri), GATEWAY, lambda _key: ())))
    row, contact = listed_route(user.engine, found)
    return row.ext_user, contact


def test_one_account_needs_no_list(user: User) -> None:
    assert _route(user) == ("alice@xmpp.example", ImContact(JABBER, "bob@xmpp.example"))


@pytest.mark.parametrize(
    ("having", "chosen"), [((), HOME), ((HOME,), HOME), ((WORK,), WORK), ((HOME, WORK), HOME), ((CHAT,), HOME)]
)
def test_of_two_accounts_the_one_that_has_the_contact(user: User, having: tuple[Account, ...], chosen: Account) -> None:
    user.map(ALICE.uri, WORK)
    for account in having:
        user.save(BOB, account=account)
    assert _route(user) == (chosen[1], ImContact(JABBER, "bob@xmpp.example"))


def test_any_spelling_of_the_contact(user: User) -> None:
    user.map(ALICE.uri, WORK)
    user.save(BOB, account=WORK)
    assert _route(user, "sip:Bob*XMPP.example@xmpp.im.example.org")[0] == "alice@work.example"


def test_an_account_of_google_talk_is_one_of_xmpp(user: User) -> None:
    user.map(ALICE.uri, ("gtalk", "alice@gmail.example"))
    user.save(BOB, account=("gtalk", "alice@gmail.example"))
    assert _route(user)[0] == "alice@gmail.example"
