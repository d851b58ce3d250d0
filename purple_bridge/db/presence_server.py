"""Owns the statements on the tables of Kamailio's presence server: publications, subscriptions, watchers, rules.

The server itself (modules presence, presence_xml and xcap_server) writes them as well; what is written here is in its
form. Must not know what a document says.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from purple_bridge.addresses import GATEWAY_SENDER, OWN_CALL_ID, SipAddress
from purple_bridge.db.tables import active_watchers, presentity, rls_watchers, watchers, xcap

EVENT = "presence"
SKIPPED = 10  # numbers, at each start
PRES_RULES, RESOURCE_LISTS, RLS_SERVICES = 2, 4, 8  # doc_type, xcap_callbacks.h
ACTIVE, TERMINATED = 1, 3  # status, presence/subscribe.h


@dataclass(frozen=True, slots=True)
class PublishedDocument:
    """``expires``: Unix seconds."""

    body: bytes
    expires: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A dialog with the presence server; ``expires``: Unix seconds; ``dialog``: Call-ID and From tag."""

    presentity: str
    target: str
    watcher: str
    dialog: str
    expires: int
    active: bool


# ---- publications


def publications(engine: Engine, user: SipAddress, now: int) -> list[PublishedDocument]:
    """What the user's phones publish at ``now`` (Unix seconds), the oldest first; nothing of the gateway's own.

    Raises SQLAlchemyError.
    """
    table = presentity.c
    statement = (
        select(table.body, table.expires, table.etag)
        .where(table.username == user.encoded_user, table.domain == user.host, table.event == EVENT)
        .where(table.sender != GATEWAY_SENDER, table.expires > now)
        .order_by(table.received_time, table.id)
    )
    with engine.connect() as connection:
        return [PublishedDocument(bytes(row.body), row.expires, row.etag) for row in connection.execute(statement)]


def publications_of(engine: Engine, users: list[SipAddress], now: int) -> dict[SipAddress, list[PublishedDocument]]:
    """As ``publications``, of many users, who are spelled as they publish. Raises SQLAlchemyError."""
    table, by_place = presentity.c, {(user.encoded_user, user.host): user for user in users}
    statement = (
        select(table.username, table.domain, table.body, table.expires, table.etag)
        .where(table.username.in_([name for name, _ in by_place]), table.event == EVENT)
        .where(table.sender != GATEWAY_SENDER, table.expires > now)
        .order_by(table.received_time, table.id)
    )
    found: dict[SipAddress, list[PublishedDocument]] = {user: [] for user in users}
    with engine.connect() as connection:
        for row in connection.execute(statement):
            user = by_place.get((row.username, row.domain))
            if user is not None:
                found[user].append(PublishedDocument(bytes(row.body), row.expires, row.etag))
    return found


def forget_own_publications(engine: Engine) -> None:
    """At the start: what was published before has lost its publisher, and with it its truth. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        connection.execute(delete(presentity).where(presentity.c.sender == GATEWAY_SENDER))


def forget_older_publications(engine: Engine, address: SipAddress, identifier: str) -> bool:
    """Of the gateway's own documents with this identifier (``pidf.build``) all but the last; whether there were any.

    Their publisher no longer knows their ETags. Raises SQLAlchemyError.
    """
    table = presentity.c
    own = select(table.id, table.body).where(
        table.username == address.encoded_user, table.domain == address.host, table.sender == GATEWAY_SENDER
    )
    with engine.begin() as connection:
        found = [row.id for row in connection.execute(own.order_by(table.id)) if identifier.encode() in bytes(row.body)]
        if len(found) > 1:
            connection.execute(delete(presentity).where(table.id.in_(found[:-1])))
    return len(found) > 1


# ---- subscriptions and watchers


def subscriptions(engine: Engine, now: int) -> list[StoredSubscription]:
    """Every dialog about presence that has not ended at ``now`` (Unix seconds). Raises SQLAlchemyError."""
    table = active_watchers.c
    statement = select(active_watchers).where(table.event == EVENT, table.expires > now)
    with engine.connect() as connection:
        return [
            StoredSubscription(
                presentity=row.presentity_uri,
                target=f"sip:{row.to_user}@{row.to_domain}",
                watcher=f"sip:{row.watcher_username}@{row.watcher_domain}",
                dialog=f"{row.callid};{row.from_tag}",
                expires=row.expires,
                active=row.status == ACTIVE,
            )
            for row in connection.execute(statement)
        ]


def skip_sequence_numbers(engine: Engine) -> None:
    """Before Kamailio starts: it does not store the CSeq of every NOTIFY it has sent (presence/notify.c).

    A phone refuses one that it has seen (RFC 3261 §12.2.2), but minds no gap. Raises SQLAlchemyError.
    """
    table = active_watchers.c
    with engine.begin() as connection:
        connection.execute(update(active_watchers).values(local_cseq=table.local_cseq + SKIPPED))


def list_watchers(engine: Engine, now: int) -> list[str]:
    """SIP URIs of the users whose phones watch a contact list as a whole at ``now``. Raises SQLAlchemyError."""
    table = rls_watchers.c
    statement = select(table.watcher_username, table.watcher_domain).where(table.expires > now).distinct()
    with engine.connect() as connection:
        return [f"sip:{row.watcher_username}@{row.watcher_domain}" for row in connection.execute(statement)]


def watcher_of(engine: Engine, call_id: str, to_tag: str, from_tag: str) -> str:
    """Whose subscription the dialog is, as SipAddress.key; "": the tables know none. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        for table in (active_watchers.c, rls_watchers.c):
            names = select(table.watcher_username, table.watcher_domain)
            dialog = (table.callid == call_id, table.to_tag == to_tag, table.from_tag == from_tag)
            row = connection.execute(names.where(*dialog)).first()
            if row is not None:
                return SipAddress.parse(f"sip:{row.watcher_username}@{row.watcher_domain}").key
    return ""


def admit(engine: Engine, user: SipAddress, watcher: SipAddress) -> None:
    """``watcher`` may see ``user``, who has no rules of his own that say otherwise. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        if not _has_rules(connection, user):
            _set_active(connection, user.uri, watcher)


def _set_active(connection: Connection, uri: str, watcher: SipAddress) -> None:
    table = watchers.c
    key = (
        (table.presentity_uri == uri)
        & (table.watcher_username == watcher.encoded_user)
        & (table.watcher_domain == watcher.host)
        & (table.event == EVENT)
    )
    found = connection.execute(select(table.status).where(key)).scalar()
    if found is None:
        _insert_watcher(connection, uri, watcher)
    elif found != ACTIVE:
        connection.execute(update(watchers).where(key).values(status=ACTIVE, reason=""))


def _insert_watcher(connection: Connection, uri: str, watcher: SipAddress) -> None:
    """Another process may do the same at this moment."""
    row = {
        "presentity_uri": uri,
        "watcher_username": watcher.encoded_user,
        "watcher_domain": watcher.host,
        "event": EVENT,
        "status": ACTIVE,
        "reason": "",
        "inserted_time": int(time.time()),
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(watchers).values(row))
    except IntegrityError:
        return


def forget_watcher(engine: Engine, user: SipAddress, watcher: SipAddress) -> None:
    """What the server remembers of a watcher that has gone; the next time it asks again. Raises SQLAlchemyError."""
    table = watchers.c
    statement = delete(watchers).where(
        table.presentity_uri == user.uri,
        table.watcher_username == watcher.encoded_user,
        table.watcher_domain == watcher.host,
    )
    with engine.begin() as connection:
        connection.execute(statement)


def forget_own_watches(engine: Engine) -> None:
    """Before Kamailio starts: nobody knows the gateway's own dialogs any more, so nobody would ever end them.

    Whoever still waits for an answer asks again when the account signs on. Raises SQLAlchemyError.
    """
    dialog, watcher = active_watchers.c, watchers.c
    own = dialog.callid.endswith(OWN_CALL_ID) & (dialog.event == EVENT)
    same = (
        (dialog.presentity_uri == watcher.presentity_uri)
        & (dialog.watcher_username == watcher.watcher_username)
        & (dialog.watcher_domain == watcher.watcher_domain)
    )
    with engine.begin() as connection:
        connection.execute(delete(watchers).where(select(dialog.id).where(own, same).exists()))
        connection.execute(delete(active_watchers).where(own))


# ---- documents


def rules(engine: Engine, user: SipAddress) -> list[bytes]:
    """The user's presence rules (RFC 5025), none where he has made none. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        return _rules(connection, user)


def _rules(connection: Connection, user: SipAddress) -> list[bytes]:
    statement = select(xcap.c.doc).where(_rules_of(user))
    return [bytes(document) for document in connection.execute(statement).scalars()]


def _has_rules(connection: Connection, user: SipAddress) -> bool:
    return connection.execute(select(xcap.c.id).where(_rules_of(user)).limit(1)).first() is not None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of the XCAP server with its ETag."""

    body: bytes
    etag: str

    @property
    def is_ours(self) -> bool:
        """Nobody but the gateway has written it."""
        return self.etag.startswith(_ETAG)


_ETAG = "purple-"


def document_uri(auid: str, user: SipAddress) -> str:
    """``doc_uri`` of the user's document of an application (RFC 4825 §6), as the routes name it."""
    return f"/xcap-root/{auid}/users/{user.uri}/index"


def load_document(engine: Engine, doc_uri: str) -> StoredDocument | None:
    """None: there is none. Raises SQLAlchemyError."""
    return load_documents(engine, [doc_uri]).get(doc_uri)


def load_documents(engine: Engine, doc_uris: Sequence[str]) -> dict[str, StoredDocument]:
    """Those that are there. Raises SQLAlchemyError."""
    statement = select(xcap.c.doc_uri, xcap.c.doc, xcap.c.etag).where(xcap.c.doc_uri.in_(doc_uris))
    with engine.connect() as connection:
        return {row.doc_uri: StoredDocument(bytes(row.doc), row.etag) for row in connection.execute(statement)}


def save_document(engine: Engine, user: SipAddress, doc_type: int, doc_uri: str, body: bytes) -> None:
    """In the place of whatever is there. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        changed = connection.execute(update(xcap).where(xcap.c.doc_uri == doc_uri).values(_values(body))).rowcount
        if not changed:
            connection.execute(insert(xcap).values(_key(user, doc_type, doc_uri) | _values(body)))


@dataclass(frozen=True, slots=True)
class Replacement:
    """``body`` in the place of ``before``, None: of nothing."""

    doc_type: int
    doc_uri: str
    body: bytes
    before: StoredDocument | None


def replace_documents(engine: Engine, user: SipAddress, replacements: Sequence[Replacement]) -> bool:
    """All of them, or none and False where something else is there now. Raises SQLAlchemyError."""
    try:
        with engine.begin() as connection:
            if not all(_replace(connection, user, one) for one in replacements):
                connection.rollback()
                return False
    except IntegrityError:
        return False
    return True


def _replace(connection: Connection, user: SipAddress, new: Replacement) -> bool:
    if new.before is None:
        connection.execute(insert(xcap).values(_key(user, new.doc_type, new.doc_uri) | _values(new.body)))
        return True
    same = (xcap.c.doc_uri == new.doc_uri) & (xcap.c.etag == new.before.etag)
    return connection.execute(update(xcap).where(same).values(_values(new.body))).rowcount > 0


def _values(body: bytes) -> dict[str, Any]:
    return {"doc": body, "etag": f"{_ETAG}{time.time_ns():x}"}


def _key(user: SipAddress, doc_type: int, doc_uri: str) -> dict[str, Any]:
    return {
        "username": user.encoded_user,
        "domain": user.host,
        "doc_type": doc_type,
        "doc_uri": doc_uri,
        "source": 0,
        "port": 0,
    }


# ---- the gateway's own presentities, one for each watcher and contact


def forget_refusal(engine: Engine, address: SipAddress) -> None:
    """Whoever subscribes now asks anew. Raises SQLAlchemyError.

    Only what says no goes: the watcher may have subscribed again meanwhile.
    """
    table = watchers.c
    refused = (table.presentity_uri == address.uri) & (table.status == TERMINATED)
    with engine.begin() as connection:
        if connection.execute(select(table.id).where(refused).limit(1)).first() is not None:
            connection.execute(delete(watchers).where(refused))
            connection.execute(delete(xcap).where(_rules_of(address)))


def forget_presentity(engine: Engine, address: SipAddress) -> None:
    """Nobody watches it; unless somebody has subscribed at this moment. Raises SQLAlchemyError."""
    table = active_watchers.c  # the server deletes what has expired some seconds later
    dialogs = select(table.id).where(table.presentity_uri == address.uri, table.expires > int(time.time()))
    with engine.begin() as connection:
        if connection.execute(dialogs.limit(1)).first() is None:
            connection.execute(delete(xcap).where(_rules_of(address)))
            connection.execute(delete(watchers).where(watchers.c.presentity_uri == address.uri))


def _rules_of(user: SipAddress) -> ColumnElement[bool]:
    table = xcap.c
    return (table.username == user.encoded_user) & (table.domain == user.host) & (table.doc_type == PRES_RULES)
