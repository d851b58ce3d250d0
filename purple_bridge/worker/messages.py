"""Messages both ways, with their receipts, typing notices and failures; owns what is remembered of those sent lately.

Knows accounts and the postman; does not know how accounts sign on, or presence.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec

from purple_bridge import im_errors, logs, metrics
from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.bodies import cpim, imdn, markup, outgoing
from purple_bridge.bodies.content import MAX_BODY
from purple_bridge.commands import Delivered, SendMessage, Typing, decode_message, encode
from purple_bridge.heard import Heard
from purple_bridge.libpurple.c import PURPLE_MESSAGE_RECV
from purple_bridge.libpurple.events import ReceivedMessage
from purple_bridge.libpurple.text import escape
from purple_bridge.loop_breaker import LoopBreaker
from purple_bridge.meter import Meter
from purple_bridge.metrics import Outcome
from purple_bridge.rates import Buckets, size
from purple_bridge.settings import Settings
from purple_bridge.sip_headers import clean_display
from purple_bridge.tokens import new_token
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.postman import NO_SUCH_TYPE, Letter, Postman
from purple_bridge.worker.typist import PhoneTypist

logger = logging.getLogger(__name__)

MOST_REMEMBERED = 20_000  # messages sent lately, whose receipt or error may still come
OWN_MARK = "(sent by you) "
TELL_AGAIN = 60.0  # seconds, where a refusal is a message of its own
MOST_TOLD = 4096

# why what an IM contact writes is not taken: (condition of RFC 6120 §8.3.3, words for him)
TURNED_AWAY = {
    "account_in": ("resource-constraint", "too many messages to this user at the moment; try again later"),
    "contact": ("resource-constraint", "too many messages of yours at the moment; try again later"),
    "length": ("policy-violation", f"a message has at most {MAX_BODY} characters"),
    "loop": ("policy-violation", "the same messages go to and fro between two programs: stopped"),
}

WithAddress = Callable[[OwnedAccount, str, Callable[[SipAddress], None]], None]


@dataclass(slots=True)  # not frozen, which would take twice the time to make
class Origin:
    """From which contact of which account a letter comes; ``ident``: the contact's own id of it."""

    account: OwnedAccount
    contact: str
    ident: str


class Messages:
    """``with_address(account, name, done)``: calls ``done`` with the contact's SIP address, in the order of calls."""

    def __init__(
        self,
        settings: Settings,
        postman: Postman,
        with_address: WithAddress,
        meter: Meter | None = None,
        heard: Heard | None = None,
    ) -> None:
        self.settings, self._postman, self._with_address = settings, postman, with_address
        self._meter = meter or Meter.detached()
        self._heard = heard or Heard()
        self._loops = LoopBreaker(settings.loop_limit)
        self._rates = Buckets(bytearray(size()))
        self._told: dict[tuple[str, str], float] = {}
        self._sent: OrderedDict[str, bytes] = OrderedDict()  # encoded, that is half as large
        self._reads_cpim: set[str] = set()
        self._writing: PhoneTypist[tuple[OwnedAccount, str]] = PhoneTypist(self._tell_contact)

    def follow(self, settings: Settings) -> None:
        """Parameters have changed."""
        self.settings, self._loops.limit = settings, settings.loop_limit

    # ------------------------------------------------------------ from phones
    def send(self, account: OwnedAccount, message: SendMessage) -> None:
        if message.cpim:
            self._reads_cpim.add(message.sip_user)
        self._writing.wrote((account, message.contact))
        self._loops.sent((account.label, account.contact_key(message.contact)), message.text)
        account.send(message)

    def typing(self, account: OwnedAccount, command: Typing) -> None:
        if account.typing:
            self._writing.typing((account, command.contact), command.active, command.refresh)

    def _tell_contact(self, to: tuple[OwnedAccount, str], active: bool) -> None:
        account, contact = to
        if account.purple is not None:
            account.purple.send_typing(contact, active)

    def delivered(self, account: OwnedAccount, command: Delivered) -> None:
        """A phone's IMDN becomes the receipt that the contact asked for (XEP-0184)."""
        if account.purple is not None:
            account.purple.send_receipt(command.contact, command.ident)

    # ------------------------------------------------------------ what became of them
    def handed_over(self, message: SendMessage) -> None:
        """From now on its receipt or an error may come: also before the server's acknowledgement, or long after it."""
        self._sent[message.ident] = encode(msgspec.structs.replace(message, text="", html=""))
        if len(self._sent) > MOST_REMEMBERED:
            self._sent.popitem(last=False)

    def failed(self, account: OwnedAccount, ident: str, who: str, condition: str, text: str) -> None:
        """The IM network refused a message, before or after it acknowledged it."""
        remembered = self._sent.pop(ident, None)
        message = next(iter(account.acknowledged([ident])), decode_message(remembered) if remembered else None)
        account.pump()
        if message is None:
            logger.info("account %s %s: not delivered to %s: %s %s", account.label, ident, who, condition, text)
        else:
            self.count(message, Outcome.FAILED)
            self.tell_failure(message, condition, text)

    def limited(self, limit: str) -> None:
        """For the metrics: something was too much."""
        self._meter.count(metrics.LIMITED, limit)

    def count(self, message: SendMessage, outcome: Outcome) -> None:
        """For the metrics: what became of a message from a phone."""
        self._meter.count(metrics.MESSAGES, metrics.SIP_TO_IM, message.protocol, outcome)

    def receipt(self, account: OwnedAccount, who: str, ident: str) -> None:
        """RFC 5438 §7.2.1.1: the phone that asked for it learns, once, that the contact has the message."""
        remembered = self._sent.get(ident)
        message = decode_message(remembered) if remembered else None
        if message is None or account.contact_key(message.contact) != account.contact_key(who):
            return
        del self._sent[ident]
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s receipt: %s has it", logs.of(message), who)
        if message.message_id and imdn.POSITIVE_DELIVERY in message.wants:
            self._report(message, "delivered")

    def expired(self, message: SendMessage) -> None:
        self.count(message, Outcome.EXPIRED)
        self.tell_failure(message, "remote-server-timeout", "it could not be delivered in time")

    def tell_failure(self, message: SendMessage, condition: str, text: str) -> None:
        """To the person who wrote: an IMDN where one was asked for, else words (RFC 5438 §12.2, RFC 7247 §7)."""
        reason = im_errors.in_words(condition, text)
        names = logs.of(message), message.sip_user, message.contact
        logger.info("%s from %s not delivered to %s: %s (%s)", *names, condition, reason)
        if message.message_id and imdn.NEGATIVE_DELIVERY in message.wants:
            self._report(message, "failed")
            return
        words = f"Your message to {clean_display(message.contact)} was not delivered: {reason}"
        pair = f"{message.protocol} {message.ext_user}", normalize_im_name(message.protocol, message.contact)
        if not self._loops.came(pair, words):  # the phone answers what it is told
            self.limited("loop")
            return
        content_type, body = outgoing.text_body(words)
        self._notice(message, content_type, body)

    def _report(self, message: SendMessage, status: str) -> None:
        content_type, body = outgoing.imdn_message(
            message.recipient,
            address_of(message.sip_user).uri,
            secrets.token_hex(8),
            message.message_id,
            status,
            int(time.time()),
            message.date_time,
        )
        self._notice(message, content_type, body)

    def _notice(self, message: SendMessage, content_type: str, body: bytes) -> None:
        """Never a notice for a notice: without an origin nobody is told of its own failure."""
        sender = SipAddress.parse(message.recipient)
        letter = Letter(sender, message.sip_user, body, content_type, keep=True)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s is told by [%s]", logs.of(message), message.sip_user, letter.call_id())
        self._post(letter)

    def _post(self, letter: Letter) -> None:
        self._meter.count(metrics.MESSAGES, metrics.IM_TO_SIP, letter.protocol, Outcome.ACCEPTED)
        self._postman.post(letter)

    # ------------------------------------------------------------ from the IM network
    def received(self, account: OwnedAccount, message: ReceivedMessage) -> None:
        contact = message.recipient or message.sender
        if message.recipient:
            if self.settings.own_messages == "drop":
                logger.debug("account %s %s: written by the user himself, dropped", account.label, message.ident)
                return
        elif not message.flags & PURPLE_MESSAGE_RECV:
            return  # a bit set: SEND and REMOTE_SEND are echoes of the user's own messages
        elif limit := self._limit_of(account, message):
            return self._turn_away(account, message, limit)
        self._with_address(account, contact, lambda address: self._deliver(account, address, message))

    def _limit_of(self, account: OwnedAccount, message: ReceivedMessage) -> str:
        """Which limit the message is beyond, "": none."""
        settings, label, contact = self.settings, account.label, account.contact_key(message.sender)
        if settings.contact_rate and self._rates.take(f"{label} {contact}", settings.contact_rate):
            return "contact"
        if settings.account_rate and self._rates.take(label, settings.account_rate):
            return "account_in"
        text = message.html if message.text is None else message.text
        return "" if self._loops.came((label, contact), text) else "loop"

    def _turn_away(self, account: OwnedAccount, message: ReceivedMessage, limit: str) -> None:
        """The contact is told, unless what it wrote is no person's; where that takes a message, not for each one."""
        condition, words = TURNED_AWAY[limit]
        self.limited(limit)
        self._meter.count(metrics.MESSAGES, metrics.IM_TO_SIP, account.protocol, Outcome.REFUSED)
        first = self._is_first(account, message)
        if first:
            logger.warning("account %s: refused from %s: %s", account.label, message.sender, words)
        if account.purple is None or not message.wants_error:
            return
        told = account.purple.send_error(message.sender, message.ident, condition, words)
        if first and not told and limit != "loop":
            text = f"Your message was not delivered: {words}"
            account.purple.send_im(message.sender, escape(text), text=text, automatic=True)

    def _is_first(self, account: OwnedAccount, message: ReceivedMessage) -> bool:
        """Of those that the contact is refused, for a while."""
        key, now = (account.label, account.contact_key(message.sender)), time.monotonic()
        if now - self._told.get(key, -TELL_AGAIN) < TELL_AGAIN:
            return False
        self._told.pop(key, None)
        self._told[key] = now
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        return True

    def _deliver(self, account: OwnedAccount, sender: SipAddress, message: ReceivedMessage) -> None:
        text = markup.to_plain(message.html) if message.text is None else message.text
        if not text:
            logger.debug("account %s %s: empty message from %s", account.label, message.ident, message.sender)
            return
        if len(text) > MAX_BODY:  # hundreds of MESSAGEs, each of them kept while no phone is there
            return self._turn_away(account, message, "length")
        if message.recipient:
            text = OWN_MARK + text
        else:
            self._note(account, message.sender)
        origin = Origin(account, message.sender, message.ident) if message.wants_error else None
        for user in account.sip_users:
            letter = self._letter(account, sender, user, text, message, origin)
            if logger.isEnabledFor(logging.DEBUG):
                names = letter.in_log(), message.sender, sender.uri, user
                logger.debug("%s received from %s, %s, for %s%s", *names, logs.body(text))
            self._post(letter)

    def _letter(
        self,
        account: OwnedAccount,
        sender: SipAddress,
        user: str,
        text: str,
        message: ReceivedMessage,
        origin: Origin | None,
    ) -> Letter:
        message_id = outgoing.message_id_of_ident(message.ident) if message.wants_receipt else ""
        if message_id and user in self._reads_cpim:
            content_type, body = outgoing.cpim_message(
                sender.uri,
                address_of(user).uri,
                text,
                message.sent_at or int(time.time()),
                message_id,
                (imdn.POSITIVE_DELIVERY,),
            )
        else:
            content_type, body = outgoing.text_body(text)
        return Letter(
            sender,
            user,
            body,
            content_type,
            message.sent_at,
            message.subject,
            message.language,
            origin=origin,
            protocol=account.protocol,
            message_id=message_id,
            account=account.label,
            stanza=message.ident,
        )

    def _note(self, account: OwnedAccount, contact: str) -> None:
        """What the users answer leaves by this account."""
        for user in account.sip_users:
            self._heard.note(user, account.protocol, account.ext_user, account.contact_key(contact))

    def say(self, account: OwnedAccount, contact: str, sender: SipAddress, text: str) -> None:
        """The gateway's own words to the account's users, in a contact's name, whose address is ``sender``."""
        self._note(account, contact)
        content_type, body = outgoing.text_body(text)
        for user in account.sip_users:
            self._post(Letter(sender, user, body, content_type, keep=True, account=account.label))

    def typing_changed(self, account: OwnedAccount, who: str, typing: bool) -> None:
        if account.typing:
            self._with_address(account, who, lambda sender: self._tell_typing(account, sender, typing))

    def _tell_typing(self, account: OwnedAccount, sender: SipAddress, typing: bool) -> None:
        for user in account.sip_users:
            self._postman.typing(sender, user, typing)

    def undeliverable(self, letter: Letter, status: int, reason: str) -> None:
        """No phone takes the letter, now or later: its author is told (RFC 7247 §7), if it has one."""
        names = letter.in_log(), letter.sender.uri, letter.user
        logger.info("%s from %s not delivered to %s: %d %s", *names, status, reason)
        origin = letter.origin
        again = isinstance(origin, Origin) and status == NO_SUCH_TYPE and letter.content_type == cpim.MEDIA_TYPE
        if not again:
            self._meter.count(metrics.MESSAGES, metrics.IM_TO_SIP, letter.protocol, Outcome.REFUSED)
        if not isinstance(origin, Origin):
            return
        if again:
            self._send_plain(letter)
        else:
            self._refuse(origin, letter.user, status, reason)

    def _send_plain(self, letter: Letter) -> None:
        """The user has another phone now, which does not read CPIM; no receipt is asked for then."""
        self.reads_no_cpim(letter.user)
        inner = cpim.parse(letter.body)
        plain = replace(letter, content_type=inner.content_type, body=inner.body, token=new_token())
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s comes again without CPIM as [%s]", letter.in_log(), plain.call_id())
        self._postman.post(plain)

    def reads_no_cpim(self, user: str) -> None:
        """A phone of the user has refused it: plain text, until one writes CPIM again."""
        self._reads_cpim.discard(user)

    def _refuse(self, origin: Origin, user: str, status: int, reason: str) -> None:
        purple, text = origin.account.purple, im_errors.sip_in_words(status, reason)
        condition, address = im_errors.condition_of(status), im_errors.new_address(reason)
        if purple is None or purple.send_error(origin.contact, origin.ident, condition, text, address):
            return
        words = f"Your message to {user} was not delivered: {text}"
        purple.send_im(origin.contact, escape(words), text=words, automatic=True)


@lru_cache(maxsize=4096)
def address_of(key: str) -> SipAddress:
    """The SIP address of a user from its key."""
    user, _, host = key.rpartition("@")
    return SipAddress(user, host)
