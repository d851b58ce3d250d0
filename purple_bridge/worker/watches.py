"""SIP users who watch IM contacts: owns when what is published for whom, and what the presence server is told.

Knows accounts and their contacts; does not know who decides that an account signs on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from hashlib import blake2b

from purple_bridge.addresses import SipAddress
from purple_bridge.bodies import pidf, presence_rules
from purple_bridge.bodies.presence_rules import Handling
from purple_bridge.commands import Watch
from purple_bridge.libpurple import glib
from purple_bridge.libpurple.events import ContactStatus, ResourcePresence
from purple_bridge.presence import ContactPresence, Note, Resource, Show
from purple_bridge.sip_headers import clean_display
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.avatars import Avatars
from purple_bridge.worker.contacts import PUBLISH_ANSWER, REPUBLISH, Permission, WatchedContact
from purple_bridge.worker.sip_out import SipSender
from purple_bridge.worker.store import Store

logger = logging.getLogger(__name__)

DATABASE_AGAIN = 10.0  # seconds after which a rule is written again that the database did not take
TICK = 0.25  # seconds between looks at what waits
UNNOTICED = 3.0  # seconds in which the database may have been silent before that was seen
WELL_FOR_ALL = 1.0  # seconds after which all workers have seen that it answers again
PUBLISH_FIRST = 0.2  # seconds for the presence server to store what was published
HANDLING = {Permission.ALLOWED: Handling.ALLOW, Permission.REFUSED: Handling.BLOCK}


class Watches:
    """What the workers' accounts show of their contacts, towards the presence server."""

    def __init__(self, sip: SipSender, store: Store, avatars: Avatars) -> None:
        self._sip, self._store, self._avatars = sip, store, avatars
        self._dirty: dict[WatchedContact, OwnedAccount] = {}
        self._unpublished: dict[str, float] = {}  # identifier -> Unix seconds, in this order
        self._ticking = False
        self._silent_since = 0.0  # Unix seconds; 0: the database answers

    # ------------------------------------------------------------ subscriptions
    def watch(self, account: OwnedAccount, command: Watch) -> None:
        """A SUBSCRIBE of a phone: a new one, a refresh, or the end (RFC 8048 §5.3)."""
        now, presentity = time.time(), SipAddress.parse(command.presentity)
        contact = account.watched.at(presentity)
        if contact is not None and contact.told is Permission.REFUSED and command.initial:
            account.watched.remove(contact)  # its watchers are being told; this one asks anew
            contact = None
        if contact is None and command.expires_at <= now:
            return
        new = contact is None
        contact = contact or _watched_contact(account, command, presentity)
        contact.watch(command.dialog, command.expires_at, now)
        account.watched.look_at = min(account.watched.look_at, command.expires_at or now)
        if new:
            account.watched.add(contact)
        if contact.watched and (new or command.initial) and _may_ask(account, command, contact):
            account.ask_for(contact, again=command.initial)
        self.changed(account, contact)

    def restore(self, account: OwnedAccount, command: Watch, allowed: bool) -> None:
        """A dialog that the presence server kept over a restart; ``allowed``: it is active there."""
        self.watch(account, command)
        contact = account.watched.at(SipAddress.parse(command.presentity))
        if contact is not None and allowed:
            contact.told = Permission.ALLOWED

    def sweep(self, account: OwnedAccount, now: float) -> None:
        """Once a second: subscriptions that nobody refreshed, publications that are about to expire."""
        if now < account.watched.look_at:
            return
        for contact in account.watched:
            contact.expire(now)
            if not contact.watched or now - contact.published_at > REPUBLISH:
                self._later(account, contact)
        account.watched.next_look(now)

    # ------------------------------------------------------------ what has changed
    def changed(self, account: OwnedAccount, contact: WatchedContact) -> None:
        """The contact, or who watches it, may be another now."""
        contact.changed(time.time())
        self._later(account, contact)
        glib.call_soon(self._flush)

    def contact_changed(self, account: OwnedAccount, key: str) -> None:
        for contact in account.watched.of(key):
            self.changed(account, contact)

    def account_changed(self, account: OwnedAccount) -> None:
        """While it connects nothing is known: what was true last stays (RFC 3856 §6.10 would delay the truth)."""
        for contact in account.watched:
            self.changed(account, contact)

    def database_changed(self, well: bool, accounts: Callable[[], Iterable[OwnedAccount]]) -> None:
        """What was published while the database did not answer is lost: the presence server has refused it, and pua
        forgets a publication that was refused.
        """
        since, self._silent_since = self._silent_since, 0.0
        if not well:
            self._silent_since = since or time.time() - UNNOTICED
        elif since:
            glib.add_timer(WELL_FOR_ALL, lambda: self._publish_lost(accounts(), since))

    def _publish_lost(self, accounts: Iterable[OwnedAccount], since: float) -> None:
        for account in accounts:
            for contact in account.watched:
                if contact.published_at >= since:
                    contact.published, contact.lost = b"", True
                    self._later(account, contact)

    def end(self, account: OwnedAccount, watchers: frozenset[str] | None = None) -> None:
        """The account is no more, or no more that of these watchers."""
        for contact in account.watched:
            if watchers is None or contact.watcher in watchers:
                self._drop(account, contact)

    def _later(self, account: OwnedAccount, contact: WatchedContact) -> None:
        self._dirty[contact] = account
        if not self._ticking:
            self._ticking = True
            glib.add_timer(TICK, self._tick)

    def _tick(self) -> bool:
        self._flush()
        self._ticking = bool(self._dirty)
        return self._ticking

    def _flush(self) -> None:
        """Publish what is due; the rest stays for the next time."""
        now = time.time()
        for contact, account in list(self._dirty.items()):
            try:
                refused = account.permission(contact.key) is Permission.REFUSED
                due = contact.due(now, refused) and not self._is_ending(account, contact, now)
                done = due and self._publish(account, contact, now)
            except Exception:  # one contact must not silence the others
                logger.exception("the presence of %s could not be published", contact.address.uri)
                done = True
            if done:
                self._dirty.pop(contact, None)

    # ------------------------------------------------------------ into SIP
    def _publish(self, account: OwnedAccount, contact: WatchedContact, now: float) -> bool:
        """False: the network is about to tell what there is to publish."""
        if account.watched.at(contact.presentity) is not contact:
            return True
        if not contact.watched:
            self._drop(account, contact)
            return True
        permission = account.permission(contact.key)
        if permission is Permission.REFUSED:
            self._refuse(account, contact)
            return True
        if permission is Permission.PENDING and contact.told is not Permission.ALLOWED:
            return True  # RFC 8048 §5.3.1: the subscription stays pending until the contact has decided
        status = account.status_of(contact)
        if status is None:
            return False
        self._publish_status(account, contact, status, now)
        if permission is Permission.ALLOWED and contact.told is not permission:
            glib.add_timer(PUBLISH_FIRST, lambda: self._allow(account, contact))
        return True

    def _allow(self, account: OwnedAccount, contact: WatchedContact) -> None:
        """Behind what was published: a watcher that the server lets in just while it stores that would hear neither
        of the one nor of the other."""
        allowed = account.permission(contact.key) is Permission.ALLOWED
        if allowed and account.watched.at(contact.presentity) is contact:
            self._tell(account, contact, Permission.ALLOWED, lambda: None)

    def _publish_status(
        self, account: OwnedAccount, contact: WatchedContact, status: ContactStatus, now: float
    ) -> None:
        identifier = _identifier(account, contact)
        shown = contact_presence(status, self._icon(account, contact, status))
        body = pidf.build(contact.address.uri, shown, identifier)
        if body != contact.published or now - contact.published_at > REPUBLISH:
            self._sip.publish(contact.presentity, identifier, body)
            contact.was_published(body, now)
            if contact.lost:
                contact.lost = False
                glib.add_timer(PUBLISH_ANSWER, lambda: self._forget_older(contact.presentity, identifier))

    def _forget_older(self, presentity: SipAddress, identifier: str) -> None:
        """Since pua has forgotten it, what was published before is still there, beside what is true now."""

        def forgotten(any_: bool | None) -> None:
            if any_:
                self._sip.notify_again(presentity)

        self._store.forget_older_publications(presentity, identifier, forgotten)

    def _icon(self, account: OwnedAccount, contact: WatchedContact, status: ContactStatus) -> str:
        if not status.resources or account.purple is None:
            return ""
        return self._avatars.url(account.purple.icon(contact.name))

    def _tell(
        self, account: OwnedAccount, contact: WatchedContact, permission: Permission, then: Callable[[], None]
    ) -> None:
        """The presence server decides by presence rules (RFC 5025), so a private presentity gets such."""
        if contact.told is permission or not contact.private:
            return
        contact.told = permission
        document, address = presence_rules.for_everybody(HANDLING[permission]), contact.presentity

        def saved(well: bool) -> None:
            if well:
                self._sip.refresh_watchers(address, then)
            else:
                contact.told = Permission.UNKNOWN
                glib.add_timer(DATABASE_AGAIN, lambda: self._later(account, contact))

        self._store.save_rules(address, document, saved)

    def _refuse(self, account: OwnedAccount, contact: WatchedContact) -> None:
        """RFC 8048 §5.3.1: terminated, rejected. Whoever subscribes later asks the contact anew."""
        logger.info("account %s: %s does not let %s see it", account.label, contact.name, contact.watcher)
        if not contact.private:  # a SIP user, whose presence is his own affair: his account is just not seen
            self._publish_status(account, contact, ContactStatus(), time.time())
            return
        if contact.published:  # first: who watches a whole list hears nothing of a refusal, but of who is gone
            self._unpublish(account, contact)
            contact.published = b""

        def told() -> None:
            account.watched.remove(contact)
            self._store.forget_refusal(contact.presentity)

        self._tell(account, contact, Permission.REFUSED, told)

    def _drop(self, account: OwnedAccount, contact: WatchedContact) -> None:
        """Nobody watches any more; the contact stays on the IM contact list (RFC 8048 §5.3.3)."""
        account.watched.remove(contact)
        self._dirty.pop(contact, None)
        if contact.published:
            self._unpublish(account, contact)
        if contact.private:
            self._store.forget_presentity(contact.presentity)

    def _unpublish(self, account: OwnedAccount, contact: WatchedContact) -> None:
        identifier = _identifier(account, contact)
        self._sip.unpublish(contact.presentity, identifier)
        self._unpublished.pop(identifier, None)
        self._unpublished[identifier] = time.time()

    def _is_ending(self, account: OwnedAccount, contact: WatchedContact, now: float) -> bool:
        """What was published before was just taken away: pua loses what comes before the answer to that."""
        while self._unpublished and now - next(iter(self._unpublished.values())) >= PUBLISH_ANSWER:
            del self._unpublished[next(iter(self._unpublished))]
        return bool(self._unpublished) and _identifier(account, contact) in self._unpublished


def _watched_contact(account: OwnedAccount, command: Watch, presentity: SipAddress) -> WatchedContact:
    return WatchedContact(
        name=command.contact,
        key=account.contact_key(command.contact),
        address=SipAddress.parse(command.contact_uri),
        presentity=presentity,
        watcher=command.watcher,
    )


def _may_ask(account: OwnedAccount, command: Watch, contact: WatchedContact) -> bool:
    """The list server may still watch whom a phone has just taken off the list; to ask would put him there again."""
    return not command.listed or account.may_be_listed(contact.key)


def _identifier(account: OwnedAccount, contact: WatchedContact) -> str:
    """What pua knows the publication by."""
    names = f"{account.protocol}\0{account.ext_user}\0{contact.key}\0{contact.presentity.uri}"
    return blake2b(names.encode(), digest_size=12).hexdigest()


def contact_presence(status: ContactStatus, icon: str = "") -> ContactPresence:
    """What an IM network tells of a contact, as it is shown in SIP."""
    return ContactPresence(
        resources=tuple(_resource(one) for one in status.resources),
        notes=_notes(status.notes),
        display_name=clean_display(status.alias),
        icon=icon,
        mood=status.mood,
    )


def _resource(one: ResourcePresence) -> Resource:
    return Resource(
        name=one.resource,
        show=Show(one.show) if one.show else Show.AVAILABLE,
        notes=_notes(one.notes),
        priority=one.priority,
        idle_since=datetime.fromtimestamp(one.idle_since, UTC) if one.idle_since else None,
    )


def _notes(notes: tuple[tuple[str, str], ...]) -> tuple[Note, ...]:
    return tuple(Note(text, language) for language, text in notes if text.strip())
