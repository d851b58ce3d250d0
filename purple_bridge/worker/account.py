"""One external account: owns its connection, its retries and what waits for it; does not know SIP or the database.

One external account is one object, whoever maps to it (libpurple's purple_account_new returns the existing one): the
SIP users that want it online are counted, the most available of them is shown.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import Protocol

from purple_bridge import logs, metrics
from purple_bridge.addresses import normalize_im_name
from purple_bridge.board import State, Way
from purple_bridge.commands import AccountSpec, EditContact, SendMessage
from purple_bridge.db.account import is_enabled
from purple_bridge.encryption import Seen
from purple_bridge.gateway_options import ENABLED, TYPING, check_line, for_libpurple, is_public_only, server_of
from purple_bridge.libpurple import accounts as purple_accounts
from purple_bridge.libpurple import glib, plugins
from purple_bridge.libpurple.certificate_check import CERTIFICATE_ERRORS
from purple_bridge.libpurple.certificates import KNOWN
from purple_bridge.libpurple.events import ConnectionError, ContactStatus, RosterEntry
from purple_bridge.libpurple.protocol import OutgoingMessage
from purple_bridge.meter import Family
from purple_bridge.ownership import plugin_of
from purple_bridge.presence import PRIMITIVE_OF_SHOW, Presence, Show, most_available
from purple_bridge.worker import reconnect
from purple_bridge.worker.contacts import Permission, WatchedContact, WatchList
from purple_bridge.worker.outbox import Outbox
from purple_bridge.worker.wanted import Wanted

logger = logging.getLogger(__name__)

DISABLED = "disabled"  # the last error of an account whose rows say so
LOGIN_SECONDS = 60.0  # libpurple itself waits for ever for a server that does not answer
# what a network's plugin returns for a message it cannot send, in words for its writer
REFUSALS = {errno.EILSEQ: "the network's character set lacks one of its characters", errno.E2BIG: "it is too long"}
# seconds in which the network tells who is there, after the sign-on and after it was asked
NEWS_AFTER_LOGIN, NEWS_AFTER_ASKING = 2.0, 1.0


class Host(Protocol):
    """What an account needs of its worker."""

    resource: str

    def submit_login(self, server: str, login: Callable[[], bool]) -> None:
        """Call ``login`` when it is the turn of one that signs on at ``server``; true: it runs until it has ended."""

    def login_ended(self, server: str) -> None: ...

    def account_made(self, account: OwnedAccount, purple: purple_accounts.Account) -> None: ...

    def account_changed(self, account: OwnedAccount) -> None: ...

    def way_changed(self, account: OwnedAccount) -> None: ...

    def sending(self, message: SendMessage) -> None:
        """libpurple is about to be given the message."""

    def message_refused(self, account: OwnedAccount, message: SendMessage, condition: str, text: str) -> None:
        """``condition``: RFC 6120 §8.3.3; the sender wants to know."""

    def count(self, family: Family, *labels: str) -> None:
        """For the metrics."""


class OwnedAccount:
    """States: offline → connecting → online, or error, from which it is tried again unless that is of no use."""

    def __init__(self, spec: AccountSpec, host: Host, outbox: Outbox) -> None:
        self._host, self.outbox = host, outbox
        outbox.room_made = self.pump
        self._spec = spec
        self.sip_users: tuple[str, ...] = ()  # whose rows let it be online ...
        self.disabled: frozenset[str] = frozenset()  # ... and whose do not
        self.state = State.OFFLINE
        self.error = ""
        self.since = time.time()
        self.retries = 0
        self.wanted: dict[str, Wanted] = {}  # by SIP user; also of those that want to be offline
        self.told: set[str] = set()  # users whose presence this account has been told since the start
        self.watched = WatchList()
        self.roster: dict[str, RosterEntry] | None = None  # by contact_key; None: not told yet
        self._edits: dict[str, EditContact] = {}  # of the contact list, until it is there
        self._refused: set[str] = set()  # contacts that did not want to be seen
        self._news_until: dict[str, float] = {}  # contacts of which the network is about to tell something
        self._online_at = 0.0
        self._pace = reconnect.Pace()
        self.purple: purple_accounts.Account | None = None
        self.way = Way.QUEUE
        self._given_up = False  # the last error was one that another try does not cure
        self._retry_timer = 0
        self._late_timer = 0  # of a refused certificate, which its owner may replace
        self._login_timer = 0
        self._login_submitted = False
        self._login_server = ""
        self._question = ""
        self.share(spec.sip_user, is_enabled(spec.options))

    @property
    def protocol(self) -> str:
        return self._spec.protocol

    @property
    def ext_user(self) -> str:
        return self._spec.ext_user

    @property
    def label(self) -> str:
        """As lines of the log name it."""
        return f"{self.protocol} {self.ext_user}"

    @property
    def has_wrong_row(self) -> bool:
        """Its row cannot be used as it is."""
        return self._spec.error is not None

    @property
    def typing(self) -> bool:
        """Whether typing notices pass, both ways; the option ``typing`` of the row switches them off."""
        return bool(plugins.convert(TYPING, dict(self._spec.options).get(TYPING.name, TYPING.default)))

    @property
    def plugin(self) -> str:
        return plugin_of(self._spec.protocol)

    def contact_key(self, name: str) -> str:
        """What makes two names the same contact of this account."""
        return normalize_im_name(self.plugin, name)

    @property
    def encryption(self) -> Seen:
        """Of the connection, as far as libpurple's plugin lets it be seen."""
        if self.state is not State.ONLINE or self.purple is None:
            return Seen.UNKNOWN
        taken = self.purple.encryption
        if taken is None:
            hidden = self.plugin not in KNOWN or "bosh_url" in dict(self._spec.options)
            return Seen.UNKNOWN if hidden else Seen.NONE
        return Seen.PINNED if taken.pinned else Seen.NAMED if self.purple.server_name else Seen.TLS

    # ------------------------------------------------------------ what SIP users want
    def want(self, sip_user: str, wanted: Wanted) -> None:
        """Show this, sign on for it, or, where the user wants to be offline, no longer."""
        self.told.add(sip_user)
        self.wanted[sip_user] = wanted
        self._follow()

    def clock_was_set(self, seconds: float) -> None:
        """Forward, or back; what the users want does not end for that."""
        self.wanted = {user: wanted.later(seconds) for user, wanted in self.wanted.items()}

    def expire(self, now: float) -> None:
        """RFC 3903 §4.1: what is not refreshed is gone."""
        if any(wanted.at(now) is not wanted for wanted in self.wanted.values()):
            self.wanted = {user: wanted.at(now) for user, wanted in self.wanted.items()}
            self._follow()

    @property
    def is_wanted(self) -> bool:
        """Somebody wants it online, and his row lets it be."""
        return any(wanted.presence.open for user, wanted in self.wanted.items() if user not in self.disabled)

    @property
    def is_disabled(self) -> bool:
        """No row lets it be online."""
        return bool(self.disabled) and not self.sip_users

    @property
    def users(self) -> frozenset[str]:
        """The SIP users of all its rows."""
        return self.disabled.union(self.sip_users)

    def share(self, sip_user: str, enabled: bool = True) -> bool:
        """A row maps this SIP user to the account; whether that is new. What the rows say else, ``renew`` brings."""
        if sip_user in self.users:
            return False
        if enabled:
            self.sip_users = (*self.sip_users, sip_user)
        else:
            self.disabled |= {sip_user}
        return True

    def renew(self, specs: list[AccountSpec]) -> frozenset[str]:
        """The account's rows as they are now, at least one; returns the users that it is no longer of.

        The first row that lets it be online counts. Another password, option or name signs on anew, and so does the end
        of a user: nothing that he was asked or told counts for the others.
        """
        before, users, disabled = self._spec, self.users, self.disabled
        enabled = [spec for spec in specs if is_enabled(spec.options)]
        self._spec = (enabled or specs)[0]
        self.sip_users = tuple(dict.fromkeys(spec.sip_user for spec in enabled))
        self.disabled = frozenset(spec.sip_user for spec in specs).difference(self.sip_users)
        gone = users - self.users
        self.told -= gone
        self.wanted = {user: wanted for user, wanted in self.wanted.items() if user not in gone}
        if gone or _signs_on_as(before) != _signs_on_as(self._spec):
            self._start_over()
        elif disabled != self.disabled:
            self._given_up = False
            self._follow()
        return gone

    def reconnect(self) -> None:
        """Sign off and on again now, also after an error that another try was not thought to cure."""
        self._start_over()

    def _start_over(self) -> None:
        if self.purple is not None:
            self.purple.delete()
            self.purple = None
        self._stop_retrying()
        self._take_back()
        self._given_up = False
        self._change(State.OFFLINE)
        self._follow()

    def _follow(self) -> None:
        """Make the connection what the users want."""
        if not self.is_wanted:
            self._sign_off()
        elif self.state is State.ONLINE:
            self._show()
        elif self.state is State.OFFLINE or not self._will_retry():
            self._sign_on()

    def _will_retry(self) -> bool:
        return self.state is State.CONNECTING or self._retry_timer != 0 or self._login_submitted

    def _presence(self) -> Presence:
        return most_available([wanted.presence for user, wanted in self.wanted.items() if user not in self.disabled])

    # ------------------------------------------------------------ connection
    def _sign_on(self) -> None:
        if self.state is State.OFFLINE:
            self._change(State.CONNECTING)
        if self._login_submitted:
            return
        self._login_submitted, self._login_server = True, self._server()
        self._host.submit_login(self._login_server, self._login)

    def _server(self) -> str:
        """What logins are limited by."""
        address = self.ext_user.partition("/")[0]
        return str(dict(self._spec.options).get("connect_server") or address.rpartition("@")[2])

    def _login(self) -> bool:
        """Whether a connection is being made."""
        self._login_submitted = False
        if not self.is_wanted or self.state is State.ONLINE:
            return False
        self._given_up = False
        self._update_way()
        try:
            if self.purple is None:
                self.purple = self._make()
                self._host.account_made(self, self.purple)
            account = self.purple
        except (purple_accounts.UnknownProtocol, ValueError) as error:
            self._give_up(str(error))
            return False
        except Exception:
            logger.exception("account %s %s: the login failed", self.protocol, self.ext_user)
            self._give_up("The gateway failed at the login: see its log")
            return False
        self._question = ""
        self._stop_login_timer()
        self._login_timer = glib.add_timer(LOGIN_SECONDS, self._login_timed_out)
        account.connect(self._spec.password)
        self._show()
        return True

    def _login_timed_out(self) -> None:
        self._stop_login_timer()
        self._drop_connection(f"The server did not answer within {LOGIN_SECONDS:.0f} s")

    def _drop_connection(self, reason: str) -> None:
        """It is tried again."""
        self.failed(ConnectionError(0, reason, fatal=False))
        if self.purple is not None:
            self.purple.disconnect()

    def _stop_login_timer(self) -> None:
        if self._login_timer:
            glib.remove(self._login_timer)
            self._login_timer = 0
            self._host.login_ended(self._login_server)

    def _make(self) -> purple_accounts.Account:
        """Raises UnknownProtocol, or ValueError with what is wrong with the row."""
        if self._spec.error:
            raise ValueError(self._spec.error)
        check_line("the name", self.ext_user)
        account = purple_accounts.Account(self.plugin, self._username())
        if account.needs_password and not self._spec.password:
            account.delete()
            raise ValueError("no password: set it with purplectl account set")
        account.clear_options()
        for name, value in self._options():
            account.set_option(name, value)
        account.pins, account.server_name = server_of(self._spec.protocol, dict(self._spec.options))
        account.public_only = is_public_only(self._spec.protocol, self._spec.ext_user, dict(self._spec.options))
        return account

    def _username(self) -> str:
        if self.plugin == "prpl-jabber" and "/" not in self.ext_user:
            return f"{self.ext_user}/{self._host.resource}"
        return self.ext_user

    def _options(self) -> list[tuple[str, bool | int | str]]:
        """The row's options for libpurple, in the types the plugin declares; ValueError names a wrong one."""
        return for_libpurple(self._spec.protocol, dict(self._spec.options))

    def _show(self) -> None:
        presence = self._presence()
        if self.purple is not None and presence.open:
            self.purple.set_status(
                PRIMITIVE_OF_SHOW[presence.activity],
                presence.note,
                idle_since=int(presence.idle_since.timestamp()) if presence.idle_since else 0,
                mood=presence.mood,
                chat=presence.activity is Show.CHAT,
                priority=presence.priority,
                language=presence.language,
            )

    def _sign_off(self) -> None:
        self._stop_retrying()
        self._pace.begin()
        if self.purple is not None and not self.purple.disconnected:
            self.purple.disconnect()
        self._take_back()
        self._change(State.OFFLINE, DISABLED if self.is_disabled else "")
        self._update_way()

    def _stop_retrying(self) -> None:
        self._stop_login_timer()
        if self._retry_timer:
            glib.remove(self._retry_timer)
            self._retry_timer = 0
        if self._late_timer:
            glib.remove(self._late_timer)
            self._late_timer = 0
        self.retries = 0

    def close(self) -> None:
        """Sign off in good order: the gateway is about to end."""
        self.wanted.clear()
        self._sign_off()

    def remove(self) -> None:
        """The row is gone."""
        self.wanted.clear()
        self.sip_users, self.disabled, self._given_up = (), frozenset(), False
        self._sign_off()
        if self.purple is not None:
            self.purple.delete()
            self.purple = None

    # ------------------------------------------------------------ what libpurple reports
    def connected(self) -> None:
        self._stop_retrying()
        self._online_at = time.time()
        self._pace.connected()
        self._host.count(metrics.SIGN_ONS, self.protocol)
        self._change(State.ONLINE)
        if not self.has_permissions:
            self.ask_for_all()
        self.pump()

    def failed(self, error: ConnectionError) -> None:
        """The connection is about to end; it is tried again unless that cannot help."""
        self._stop_login_timer()
        self._take_back()
        if error.fatal:
            self._give_up(error.text)
            if error.code in CERTIFICATE_ERRORS:
                self._look_again_late()
            return None
        if self.is_wanted:
            self._retry()
        return self._change(State.ERROR, error.text)

    def questioned(self, text: str) -> None:
        """libpurple asked its user, and was refused: it may give the login up without a further word."""
        self._question = text

    def disconnected(self) -> None:
        self.roster = None
        self._news_until.clear()
        self._take_back()
        if self.state is State.ONLINE:  # without an error: the server closed it, or we did
            if self.is_wanted:
                self._retry()
            self._change(State.OFFLINE)
        elif self._login_timer and self._question:
            self._stop_login_timer()
            self._give_up(f"The login needs an answer nobody gives: {self._question}")

    def _give_up(self, error: str) -> None:
        """Until the row or what the users want changes."""
        self._given_up = True
        self._host.count(metrics.GIVEN_UP, self.protocol)
        self._change(State.ERROR, error)
        self._update_way()

    def _look_again_late(self) -> None:
        if not self._late_timer:
            self._late_timer = glib.add_timer(reconnect.late(), self._look_again)

    def _look_again(self) -> None:
        self._late_timer = 0
        if self.is_wanted and self.state is State.ERROR:
            self._sign_on()

    def _retry(self) -> None:
        if not self._retry_timer:
            self.retries += 1
            self._host.count(metrics.RECONNECTS, self.protocol)
            self._retry_timer = glib.add_timer(self._pace.next_delay(), self._retry_now)

    def _retry_now(self) -> None:
        self._retry_timer = 0
        if self.is_wanted:
            self._sign_on()

    def _change(self, state: State, error: str = "") -> None:
        """Once per change: a try that fails again in the same way changes nothing."""
        if (state, error) == (self.state, self.error):
            return
        self.state, self.error, self.since = state, error, time.time()
        self.way = self._way()
        level = logging.WARNING if state is State.ERROR else logging.INFO
        logger.log(
            level, "account %s %s: %s%s", self.protocol, self.ext_user, state.word, f": {error}" if error else ""
        )
        self._host.account_changed(self)

    # ------------------------------------------------------------ messages
    def send(self, message: SendMessage) -> None:
        """Behind all others; ``pump`` hands it over."""
        if logger.isEnabledFor(logging.DEBUG):
            in_front, state = len(self.outbox), self.state.word
            logger.debug("%s queued, %d in front of it, the account is %s", logs.of(message), in_front, state)
        self.outbox.add(message)

    def pump(self) -> None:
        """Hand over what can leave now."""
        handed_over = False
        while self.state is State.ONLINE and self.purple is not None and (message := self.outbox.next()):
            self.outbox.take()
            self._host.sending(message)
            if logger.isEnabledFor(logging.DEBUG):
                text = logs.body(message.text)
                logger.debug("%s handed to libpurple for %s%s", logs.of(message), message.contact, text)
            result, handed_over = self._send(self.purple, message), True
            if result == purple_accounts.NOT_CONNECTED:
                self._take_back()
                break
            if result < 0:
                self.outbox.acknowledged(message.ident)
                self._host.message_refused(self, message, "not-acceptable", REFUSALS.get(-result, ""))
            elif not self.purple.confirms:
                self.outbox.unconfirmed(message.ident)
        if handed_over and self.purple is not None:
            self.purple.flush()
        self._update_way()

    def _send(self, purple: purple_accounts.Account, message: SendMessage) -> int:
        return purple.put(
            OutgoingMessage(
                who=message.contact,
                html=message.html,
                text=message.text,
                ident=message.ident,
                wants_receipt="positive-delivery" in message.wants,
                subject=message.subject,
                language=message.language,
            )
        )

    def _take_back(self) -> None:
        """The connection is gone, and with it what the network has not acknowledged: that is sent again."""
        messages = self.outbox.connection_lost()
        if messages:
            logger.info("account %s: %d messages were not acknowledged, they are sent again", self.label, len(messages))
        if logger.isEnabledFor(logging.DEBUG):
            for message in messages:
                logger.debug("%s not acknowledged: it is sent again", logs.of(message))

    def acknowledged(self, idents: list[str]) -> list[SendMessage]:
        """The IM server has them; those that were on their way, whose room the next ones take with ``pump``."""
        return [message for ident in idents if (message := self.outbox.acknowledged(ident))]

    def sweep(self) -> None:
        """Once a second: what stays longer than a moment is written down."""
        for ident in self.outbox.sweep():
            message = self.outbox.acknowledged(ident)
            if message is not None and logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s counts as delivered: this network acknowledges nothing", logs.of(message))
            self._host.count(metrics.MESSAGES, metrics.SIP_TO_IM, self.protocol, metrics.Outcome.UNCONFIRMED)
        if self.state is State.ONLINE and self.outbox.stuck:
            self._drop_connection("The server acknowledges no message")
        self.pump()

    def _way(self) -> Way:
        if self.state is State.ONLINE:
            return self.outbox.way
        return Way.CLOSED if self._given_up or self.is_disabled else Way.QUEUE

    def _update_way(self) -> None:
        way = self._way()
        if way is not self.way:
            self.way = way
            self._host.way_changed(self)

    # ------------------------------------------------------------ contacts
    @property
    def has_permissions(self) -> bool:
        """Whether the network has contacts decide who sees them."""
        return self.plugin == "prpl-jabber"

    def ask_for_all(self) -> None:
        for contact in self.watched:
            self.ask_for(contact)

    def ask_for(self, contact: WatchedContact, again: bool = False) -> None:
        """Ask to see the contact, unless it was asked; ``again``: also one that has refused (RFC 8048 §5.3.1)."""
        if again:
            self._refused.discard(contact.key)
        if self.state is not State.ONLINE or self.purple is None:
            return
        if self.has_permissions and self.permission(contact.key) is Permission.UNKNOWN:
            return  # the contact list, which is about to come, says whether it was asked
        if contact.key not in self._refused and not self._was_asked(contact.key):
            self._news_until[contact.key] = time.time() + NEWS_AFTER_ASKING
            self.purple.ask_contact(contact.name)

    def may_be_listed(self, key: str) -> bool:
        """False: the contact list is known, and the contact is not on it."""
        return not self.has_permissions or self.roster is None or key in self.roster

    def _was_asked(self, key: str) -> bool:
        entry = (self.roster or {}).get(key)
        return entry is not None and (entry.asked or entry.subscription in ("to", "both"))

    def permission(self, key: str) -> Permission:
        """What the contact has said, as far as the account knows now."""
        if self.state is not State.ONLINE or (self.has_permissions and self.roster is None):
            return Permission.UNKNOWN
        entry = (self.roster or {}).get(key)
        if not self.has_permissions or (entry is not None and entry.subscription in ("to", "both")):
            return Permission.ALLOWED
        return Permission.REFUSED if key in self._refused else Permission.PENDING

    def is_seen_by(self, key: str) -> bool:
        """The contact may see this account (RFC 6121 §2.1.2.5)."""
        entry = (self.roster or {}).get(key)
        return entry is not None and entry.subscription in ("from", "both")

    def roster_changed(self) -> bool:
        """Read the contact list; whether it is the first since the sign-on, or more contacts may see the account."""
        if self.purple is None:
            return False
        before = self._seen_by()
        first, self.roster = self.roster is None, {self.contact_key(one.name): one for one in self.purple.roster()}
        if first:
            edits, self._edits = self._edits, {}
            for edit in edits.values():
                self.edit(edit)
            self.ask_for_all()
        return first or not self._seen_by() <= before

    def _seen_by(self) -> set[str]:
        return {key for key in self.roster or () if self.is_seen_by(key)}

    def edit(self, edit: EditContact) -> None:
        """A phone has changed the contact list; while the account is not online, that waits in memory."""
        key = self.contact_key(edit.contact)
        if self.purple is None or self.roster is None:
            self._edits[key] = edit
        elif edit.removed:
            self.purple.remove_contact(edit.contact)
        else:
            self.purple.save_contact(edit.contact, edit.alias, edit.groups)
            if not self._was_asked(key):
                self.purple.ask_contact(edit.contact)

    def granted(self, key: str) -> None:
        """RFC 6121 §3.1.6; the contact list says the same in a moment."""
        self._refused.discard(key)
        self._news_until[key] = time.time() + NEWS_AFTER_ASKING

    def refused(self, key: str) -> None:
        """RFC 6121 §3.1.6, §3.2."""
        self._refused.add(key)

    def status_of(self, contact: WatchedContact) -> ContactStatus | None:
        """What the account sees of a contact; nobody while it is not online; None: the network is about to tell."""
        if contact.watcher in self.disabled:
            return ContactStatus()
        if self.purple is None or self.state is not State.ONLINE:
            return ContactStatus() if self.state is not State.CONNECTING else None
        status = self.purple.contact_status(contact.name) or ContactStatus()
        expected = max(self._online_at + NEWS_AFTER_LOGIN, self._news_until.get(contact.key, 0.0))
        return None if not status.resources and time.time() < expected else status


def _signs_on_as(spec: AccountSpec) -> tuple[object, ...]:
    """What of a row matters to the connection."""
    options = tuple(option for option in spec.options if option[0] != ENABLED.name)
    return spec.protocol, spec.ext_user, spec.password, options, spec.error
