"""IM contacts that ask to see a SIP user: owns the questions that are open; knows neither XMPP nor presence rules.

Each one becomes a subscription to the user's presence (RFC 8048 §5.2), so that his phones see it in presence.winfo and
his presence rules decide. Where they do not, purple.authorize does, at last by a MESSAGE that asks for yes or no.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from purple_bridge import logs
from purple_bridge.addresses import SipAddress
from purple_bridge.bodies import presence_rules
from purple_bridge.bodies.presence_rules import Handling
from purple_bridge.commands import SendMessage
from purple_bridge.errors import GatewayError
from purple_bridge.libpurple import glib
from purple_bridge.libpurple.events import AuthorizationRequest
from purple_bridge.sip_headers import clean_display
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.contacts import Permission
from purple_bridge.worker.messages import Messages, WithAddress, address_of
from purple_bridge.worker.sip_watch import SipWatch
from purple_bridge.worker.store import Store
from purple_bridge.worker.uac import UserAgentClient

logger = logging.getLogger(__name__)

ASK_AGAIN = 86_400.0  # seconds after which a question that nobody answered is put again
DATABASE_AGAIN = 10.0  # seconds
MOST_OPEN = 10_000  # questions of one worker: contacts are strangers
MOST_OF_ONE = 200  # of one account
MOST_IN_WORDS = 20  # in an hour, to one account's users; the others are in presence.winfo alone

Key = tuple[str, str, str]


@dataclass(slots=True)
class Question:
    """``watches``: by SIP user, while the presence server has not decided for him; ``refused``: who said no."""

    account: OwnedAccount
    request: AuthorizationRequest
    address: SipAddress
    watches: dict[str, SipWatch] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


class Permissions:
    """``policy``: the parameter purple.authorize."""

    def __init__(
        self, policy: str, client: UserAgentClient, store: Store, messages: Messages, with_address: WithAddress
    ) -> None:
        self.policy, self._client, self._store = policy, client, store
        self._messages, self._with_address = messages, with_address
        self._open: dict[Key, Question] = {}
        self._asked: dict[Key, float] = {}  # when the user was asked in words

    # ------------------------------------------------------------ what contacts do
    def asked(self, account: OwnedAccount, request: AuthorizationRequest) -> None:
        """RFC 8048 §5.2.1"""
        of_account = sum(question.account is account for question in self._open.values())
        if len(self._open) >= MOST_OPEN or of_account >= MOST_OF_ONE:
            self._messages.limited("questions")
            logger.error("account %s: too many open questions, %s is refused", account.label, request.who)
            request.deny()
            return
        self._with_address(account, request.who, lambda address: self._ask(account, request, address))

    def _ask(self, account: OwnedAccount, request: AuthorizationRequest, address: SipAddress) -> None:
        key = _key(account, account.contact_key(request.who))
        if key in self._open:  # asked again: the answer goes to what was asked last
            self._open[key].request = request
            return
        question = self._open[key] = Question(account, request, address)
        for user in account.sip_users:
            watch = SipWatch(self._client, address, address_of(user), self._decision(key, question, user))
            question.watches[user] = watch
            watch.start()

    def left(self, account: OwnedAccount, key: str) -> None:
        """The contact does not want to see the user any more (RFC 8048 §5.2.3)."""
        self._close(_key(account, key))

    def disconnected(self, account: OwnedAccount) -> None:
        """The answers belong to the connection that is gone; the network asks again."""
        for key in [key for key, question in self._open.items() if question.account is account]:
            self._close(key)

    # ------------------------------------------------------------ what the user decides
    def _decision(self, key: Key, question: Question, user: str) -> Callable[[str], None]:
        def told(state: str) -> None:
            if self._open.get(key) is not question:
                return
            if state == "active":
                self._store.rules(address_of(user), lambda rules: self._admitted(key, question, user, rules))
            elif state == "rejected":
                question.refused.add(user)
                if question.refused >= set(question.account.sip_users):
                    self._decide(key, question, False)
            else:
                self._pending(key, question)

        return told

    def _admitted(self, key: Key, question: Question, user: str, rules: list[bytes] | None) -> None:
        """The presence server lets the contact in, be it to show it nothing.

        "polite-block" (RFC 5025 §3.2.1) is to look as if the user were offline: so does one who does not answer.
        """
        if rules is None:  # the database does not answer: nobody is let in for that
            glib.add_timer(DATABASE_AGAIN, lambda: self._decision(key, question, user)("active"))
            return
        polite = any(_decision(document, question.address) is Handling.POLITE_BLOCK for document in rules)
        if self._open.get(key) is question and not polite:
            self._decide(key, question, True)

    def _pending(self, key: Key, question: Question) -> None:
        """Nothing was decided yet: whoever is watched by the user may watch him, else the parameter counts."""
        account, contact = question.account, key[2]
        if self.policy == "accept" or contact in account.watched or account.permission(contact) is Permission.ALLOWED:
            self._decide(key, question, True)
        elif self.policy == "deny":
            self._decide(key, question, False)
        elif time.time() - self._asked.get(key, 0.0) > ASK_AGAIN:
            if self._in_the_last_hour(account) >= MOST_IN_WORDS:
                self._messages.limited("questions")
                return
            self._remember(key)
            words = f"{clean_display(contact)} asks to see when you are online. Answer yes or no."
            self._messages.say(account, contact, question.address, words)

    def _in_the_last_hour(self, account: OwnedAccount) -> int:
        since, names = time.time() - 3600.0, (account.protocol, account.ext_user)
        return sum(at > since and key[:2] == names for key, at in self._asked.items())

    def _remember(self, key: Key) -> None:
        """The oldest go first: contacts are strangers, and may be many."""
        self._asked.pop(key, None)
        self._asked[key] = time.time()
        if len(self._asked) > MOST_OPEN:
            del self._asked[next(iter(self._asked))]

    def answers(self, account: OwnedAccount, message: SendMessage) -> bool:
        """ "yes" or "no" to a contact that asked is the answer to that, and no message."""
        if not self._open:
            return False
        word = message.text.strip().lower()
        key = _key(account, account.contact_key(message.contact))
        question = self._open.get(key)
        if word not in ("yes", "no") or question is None:
            return False
        logger.info("%s %s answered %s to %s", logs.of(message), message.sip_user, word, question.request.who)
        self._decide(key, question, word == "yes")
        return True

    def _decide(self, key: Key, question: Question, well: bool) -> None:
        logger.info(
            "account %s: %s %s see when %s is online",
            question.account.label,
            question.request.who,
            "may" if well else "may not",
            ", ".join(question.account.sip_users),
        )
        (question.request.authorize if well else question.request.deny)()
        self._asked.pop(key, None)
        self._close(key)

    def _close(self, key: Key) -> None:
        """First the server forgets the watcher, or else it would tell the phones that he waits."""
        question = self._open.pop(key, None)
        if question is not None:
            for user, watch in question.watches.items():
                watch.decided()
                self._store.forget_watcher(address_of(user), question.address, watch.end)


def _decision(document: bytes, contact: SipAddress) -> Handling | None:
    try:
        return presence_rules.decide(document, contact.uri)
    except GatewayError as error:
        logger.info("presence rules: %s", error.reason)
        return None


def may_not_see(document: bytes, contact: SipAddress) -> bool:
    """By these rules the contact is not to see the user any more."""
    return _decision(document, contact) in (Handling.BLOCK, Handling.POLITE_BLOCK)


def _key(account: OwnedAccount, contact: str) -> Key:
    return account.protocol, account.ext_user, contact
