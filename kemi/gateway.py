"""The route script that kamailio.cfg loads: what happens to each SIP request. Knows no IM network: KSR.purple does.

A site of its own writes its own script: ``purple_bridge.install(KSR)`` in ``mod_init`` is all that the gateway needs.

Rules of KEMI that this script keeps: a function of KSR returns a number, so it is compared and never used as a truth
value; an exception that leaves a route would be logged and the request never answered.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable
from functools import lru_cache

import KSR  # type: ignore[import-not-found]  # exists inside Kamailio only

import purple_bridge
from kemi.web import WebServer
from kemi.xcap import XcapServer
from purple_bridge import GATEWAY_SENDER
from purple_bridge.custom_parameters import read_group
from purple_bridge.launcher.supervisor import die_with_parent
from purple_bridge.runtime import shared_with_routes

logger = logging.getLogger("purple_bridge.routes")  # the gateway's log, in which nothing can forge a line

# what a ksr_route_* method returns
ANSWERED, NEXT = True, False

SERVED = {"REGISTER", "MESSAGE", "PUBLISH", "SUBSCRIBE"}
ALLOW = "Allow: REGISTER, MESSAGE, PUBLISH, SUBSCRIBE, OPTIONS, CANCEL, ACK\r\n"
IDENTIFYING = "$_s($ru $fu $tu $ci)"  # in one call; nothing if they are too long for one text
MAX_FORWARDS = 70
PROC_MAIN = 0

SUBSCRIBERS = "subscriber"
LOCATION = "location"
NO_METHOD = -2  # registrar.lookup: phones are registered, none of them for this method
NO_SUBSCRIBER = -2  # auth_db.is_subscriber; another negative number: the database failed
EXISTS_IN_DOMAIN = 3  # auth_db.is_subscriber: compare the domain too, load nothing
SAME_USER = 1  # auth_db.auth_check: the user of From, and of To and request URI where they matter
NOT_HIMSELF, NO_CREDENTIALS, STALE_NONCE, FAILED = -8, -5, -4, -1  # auth_db.auth_check, auth.pv_auth_check
GUESSED = (-2, -3)  # the same: a wrong password, an unknown user
CERTAIN = (1, NOT_HIMSELF, NO_CREDENTIALS, STALE_NONCE)  # else the password may be another one since
PASSWORD_IS_HA1 = 1  # auth.pv_auth_check
KNOWN_USERS = 50_000  # whose password is remembered, in each process
QOP_AUTH, STALE = 1, 16  # auth.auth_challenge
LOGGED = 100  # characters of a name

# a MESSAGE of the gateway's own
LARGEST_DATAGRAM = 1300  # octets, RFC 3428 §8
ADDED = 130  # octets that a relayed MESSAGE gains: this server's Via, received and rport in the sender's
LONGEST_CONTACT = 512  # octets, registrar's contact_max_size
TURN_SECONDS = 1.0  # for another message of the same user to be sent
PHONE_SECONDS = 12  # for a phone to answer: its messages are safe sooner than with tm's fr_timer
_HOSTS = re.compile(r"sips?:(?:[^@<>]{0,300}@)?(\[[^\]]*\]|[^\s:;?>,]+)", re.IGNORECASE)
_RELIABLE = re.compile(r"sips:|[^?]*;transport=(?:tcp|tls|wss?|sctp)\b", re.IGNORECASE)

NO_DATABASE = -503
DATABASE_SECONDS = 2.5  # a request that takes longer has waited for the database until a module of Kamailio gave up
PEERS = 1  # group of the table `address`
NO_USER = -404  # KSR.purple.is_user

# who the sender is, for those who trust the server that says so: a phone must not say it (RFC 3325 section 5)
ASSERTED = "^(P-(Asserted|Preferred)-Identity|P-Served-User|Remote-Party-ID|X-3GPP-Asserted-Identity|Diversion)$"

LIST_SUFFIX = "-contacts"  # sip:USER-contacts@DOMAIN
NO_LIST = 5  # rls.handle_subscribe, `to_presence_code` of kamailio.cfg

# KSR.purple.send_message: the gateway has nothing to do with the destination, or the sender nothing with its network
NO_ACCOUNT, NO_CONTACT = -403, -404


def mod_init() -> Routes:
    """Called once, before Kamailio forks its processes."""
    purple_bridge.install(KSR)
    return Routes(read_group("purple"))


class Routes:
    """The handler object: Kamailio calls ``child_init`` in each process, ``ksr_request_route`` for each request."""

    def __init__(self, parameters: dict[str, str | int]) -> None:
        """``parameters``: the ``purple.NAME`` of kamailio.cfg."""
        self._internal = str(parameters["internal"])
        self._internal_port = self._internal.rpartition(":")[2]
        self._port = ""  # of the listener to which the request came
        self._auth = parameters["auth"] == 1
        # modules that kamailio.cfg loads where it is asked to
        self._limits_floods, self._trusts_peers = hasattr(KSR, "pike"), hasattr(KSR, "permissions")
        shared = shared_with_routes()
        self._live, self._generation, self._relay_turns = shared.live, shared.rows_generation, shared.relay_turns
        self._guesses = shared.guesses
        # name in the credentials and realm -> MD5(name:realm:password), and when: a generation
        self._known: dict[str, tuple[str, int]] = {}
        self._web = WebServer(self._live)
        self._xcap = XcapServer(self._auth, shared.guesses)
        # behind the first one; each of them answers the request or leaves it to the next one
        self._routes = (
            self.ksr_route_web,
            self.ksr_route_options,
            self.ksr_route_transaction,
            self.ksr_route_internal,
            self.ksr_route_method,
            self.ksr_route_next_hops,
            self.ksr_route_identity,
            self.ksr_route_database,
            self.ksr_route_register,
            self.ksr_route_message,
            self.ksr_route_publish,
            self.ksr_route_subscribe,
        )

    def child_init(self, rank: int) -> int:
        if rank != PROC_MAIN:
            die_with_parent()
        return 0

    def ksr_request_route(self, _message: object) -> int:
        """The error boundary: whatever goes wrong, the request is answered."""
        begin = time.monotonic()
        try:
            self._route()
        except UnicodeDecodeError:
            _reply(400, "Headers are not UTF-8")
        except Exception:
            logger.exception("[%s] a request failed in the routes", _call_id())
            KSR.sl.send_reply(500, "Server Internal Error")
        if time.monotonic() - begin > DATABASE_SECONDS:
            KSR.purple.took_long()
        return 1

    def ksr_xhttp_event(self, _message: object, _event: str) -> int:
        """The same boundary for HTTP."""
        self._live.look()
        if self._limits_floods and _is_flooding():
            KSR.set_reply_close()
            KSR.xhttp.xhttp_reply(503, "Service Unavailable", "", "")
            return 1
        try:
            if self._web.is_here():
                self._web.handle()
            else:
                self._xcap.handle()
        except UnicodeDecodeError:
            KSR.xhttp.xhttp_reply(400, "Headers are not UTF-8", "", "")
        except Exception:
            logger.exception("HTTP: a request failed in the routes")
            KSR.xhttp.xhttp_reply(500, "Server Internal Error", "", "")
        return 1

    def _route(self) -> None:
        if self.ksr_route_gateway() or (self._limits_floods and _is_flooding()) or self.ksr_route_sanity():
            return
        method = _method()
        for route in self._routes:
            if route(method):
                return

    def ksr_route_gateway(self) -> bool:
        """The gateway's own requests, on the internal listener: nothing in them is in doubt, and they are many."""
        self._port = _text("$Rp")
        if self._port != self._internal_port or KSR.purple.is_from_gateway() <= 0:
            return NEXT
        routes = {
            "MESSAGE": self._from_gateway,
            "OPTIONS": _has_registered,
            "SUBSCRIBE": KSR.presence.handle_subscribe,
        }
        KSR.maxfwd.process_maxfwd(MAX_FORWARDS)  # RFC 3261 §16.6: one less goes on
        method = _method()
        return self._answer_to_own(method, routes.get(method))

    # ---- what every request passes

    def ksr_route_sanity(self) -> bool:
        """Loops and garbage (RFC 3261 §16.3) end here; answers go where the request came from (RFC 3581)."""
        KSR.force_rport()
        if KSR.maxfwd.process_maxfwd(MAX_FORWARDS) < 0:
            return _reply(483, "Too Many Hops")
        if KSR.sanity.sanity_check(17895, 7) < 0:  # 17895: every check; it has answered
            return ANSWERED
        if not _text(IDENTIFYING):  # headers are UTF-8 (RFC 3261 §7.3.1): the error boundary answers 400
            return _reply(513, "Message Too Large")
        return NEXT

    def ksr_route_web(self, _method: str) -> bool:
        """The listener of the web page is none of SIP's: nobody's phone shall wait behind a page."""
        return _reply(403, "Forbidden") if self._web.is_here() else NEXT

    def ksr_route_options(self, method: str) -> bool:
        """OPTIONS for the server itself (RFC 3261 §11.2): phones and the launcher ask whether it is there."""
        if method != "OPTIONS" or _text("$rU") or KSR.is_myself_ruri() <= 0:
            return NEXT
        KSR.hdr.append_to_reply(ALLOW)
        KSR.siputils.options_reply()
        return ANSWERED

    def ksr_route_transaction(self, method: str) -> bool:
        """A retransmission gets the answer again; ACK gets none; CANCEL changes nothing here (RFC 3261 §9.2)."""
        known = KSR.tm.t_check_trans()
        if method == "ACK":
            return ANSWERED
        if method == "CANCEL":
            return _reply(200, "OK") if known > 0 else _reply(481, "Call/Transaction Does Not Exist")
        return ANSWERED if known == 0 else NEXT

    def ksr_route_internal(self, method: str) -> bool:
        """pua's PUBLISHes, rls's requests and what the RPC sends, which need no password.

        The listener is on loopback, and a request is believed only if it comes from one of Kamailio's own sockets, or
        from one of the gateway's (``ksr_route_gateway``).
        """
        port = self._port
        if port != self._internal_port or f"{_text('$Ri')}:{port}" != self._internal or _text("$pr") != "udp":
            return NEXT
        # an alias that is another address of this machine is no socket: there every local user may take a port
        source = _text("$si")
        if not _is_loopback(source) or KSR.is_myself(f"sip:{source}:{_text('$sp')};transport=udp") <= 0:
            return _reply(403, "Forbidden")
        if method == "SUBSCRIBE":
            self._answer_here()
        routes = {
            "MESSAGE": _to_phones,
            "PUBLISH": _publish_for_gateway,
            "SUBSCRIBE": _handle_subscribe,
            "NOTIFY": KSR.rls.handle_notify,
        }
        return self._answer_to_own(method, routes.get(method))

    def _answer_to_own(self, method: str, route: Callable[[], object] | None) -> bool:
        if route is None:
            return _reply(405, "Method Not Allowed")
        if method not in ("MESSAGE", "OPTIONS") and KSR.purple.database_answers() < 0:
            KSR.purple.reply_error()  # here libpurple would wait as well
            return ANSWERED
        if _new_transaction():
            KSR.tm.t_set_fr(0, PHONE_SECONDS * 1000)
            route()
        return ANSWERED

    def ksr_route_method(self, method: str) -> bool:
        """This server ends every dialog itself, so a request in a dialog that it does not serve has none."""
        if method in SERVED:
            return NEXT
        if KSR.siputils.has_totag() > 0:
            return _reply(481, "Call/Transaction Does Not Exist")
        KSR.hdr.append_to_reply(ALLOW)
        return _reply(405, "Method Not Allowed")

    def ksr_route_next_hops(self, _method: str) -> bool:
        """A phone may name this server in Route, its outbound proxy (RFC 3261 §8.1.2), but no hop after it."""
        if KSR.hdr.is_present("Route") <= 0 or KSR.siputils.has_totag() > 0:
            return NEXT
        KSR.rr.loose_route()
        return _reply(403, "Not relaying") if _text("$du") else NEXT

    def ksr_route_identity(self, method: str) -> bool:
        """Requests come from local users, who prove it: From is the authenticated user, name and domain."""
        if KSR.is_myself_furi() <= 0:
            return _reply(403, "Not relaying")
        if not self._auth or self._is_trusted():
            return NEXT
        if _has_doubtful_credentials(method):
            return _reply(400, "One set of credentials only")
        realm = _text("$fd").lower()
        if _text("$ad").lower() not in ("", realm):  # auth_db would look for the user there
            return _reply(403, "From is not the authenticated user")
        name, address = _text("$au"), _text("$si")
        if name and (seconds := self._guesses.wait(name, realm, address)):
            return _refuse_guess(name, realm, seconds)
        result = self._check_credentials(method, realm)
        if result in GUESSED:
            self._guesses.count(name, realm, address)
            logger.info("[%s] wrong password of %s@%s from %s", _call_id(), name[:LOGGED], realm[:LOGGED], address)
        return _answer_to_proof(result, realm)

    def ksr_route_database(self, method: str) -> bool:
        """All but MESSAGE write to the database: 503, as long as it is known not to take that."""
        if method == "MESSAGE" or KSR.purple.database_answers() > 0:
            return NEXT
        KSR.purple.reply_error()
        return ANSWERED

    def _check_credentials(self, method: str, realm: str) -> int:
        """As auth_db.auth_check, or NO_DATABASE, answered. Nobody waits for a database that is known not to answer:
        who has proved himself before goes on by what is remembered of him.

        A MESSAGE does not ask the database as long as no SIP user has changed; all else needs it in any case.
        """
        name = _text("$aU")  # as it is in the digest: with the domain there is another MD5, subscriber.ha1b
        user = f"{name} {realm}"
        known, generation = self._known.get(user), self._generation()
        if method == "MESSAGE" and known is not None and known[1] == generation != 0:  # 0: nobody watches the users
            result = _check_by(known[0], realm)
            if result in CERTAIN:
                return result
        writing = int(method != "MESSAGE")
        answers, result = not name or KSR.purple.database_answers(writing) > 0, NO_CREDENTIALS
        if answers:
            result = KSR.auth_db.auth_check(realm, SUBSCRIBERS, SAME_USER)
            if result > 0:
                self._remember(user, _text("$avp(ha1b)" if "@" in name else "$avp(ha1)"), generation)
        if not answers and (writing or known is None):
            KSR.purple.reply_error()
            result = NO_DATABASE
        elif known is not None and (result == FAILED or not answers):
            result = _check_by(known[0], realm)
        return result

    def _remember(self, user: str, ha1: str, generation: int) -> None:
        if len(self._known) >= KNOWN_USERS:
            self._known.clear()
        self._known[user] = (ha1, generation)

    # ---- one method each

    def ksr_route_register(self, method: str) -> bool:
        """RFC 3261 §10.3; nobody registers somebody else."""
        if method != "REGISTER":
            return NEXT
        if _address("$fU", "$fd") != _address("$tU", "$td"):
            return _reply(403, "To is not the authenticated user")
        if _text("$pr") == "tls" or _names_a_host(_text("$(hdr(Contact)[*])")):
            KSR.pv.sets("$avp(received)", _text("$sut"))  # the module registrar keeps it as the way to this contact
        if KSR.registrar.save(LOCATION, 0) > 0:  # it has answered in any case
            KSR.purple.handle_register()
        return ANSWERED

    def ksr_route_message(self, method: str) -> bool:
        """To an IM contact, answered with 202 (RFC 3428 §7), else to the phones of a local user."""
        if method != "MESSAGE":
            return NEXT
        code = KSR.purple.send_message()  # which knows retransmissions: no transaction has to remember the answer
        if code > 0:
            return _reply(202, "Accepted")
        if code in (NO_ACCOUNT, NO_CONTACT) and KSR.is_myself_ruri() > 0:
            found = self._find_user()
            if found > 0:
                return _to_phones() if _new_transaction() else ANSWERED
            if found != NO_USER:
                return _database_failed()
        KSR.purple.reply_error()
        return ANSWERED

    def ksr_route_publish(self, method: str) -> bool:
        """RFC 3903; the gateway is told what the presence server has accepted, by its status."""
        if method != "PUBLISH":
            return NEXT
        if _address("$rU", "$rd") != _address("$fU", "$fd"):
            return _reply(403, "Presence of another user")
        _add_content_length()
        if not _new_transaction():
            return ANSWERED
        watched = _event() == "presence"
        if watched and KSR.purple.check_publish() < 0:
            KSR.purple.reply_error()
            return ANSWERED
        _handle_publish(tell_gateway=watched)
        return ANSWERED

    def ksr_route_subscribe(self, method: str) -> bool:
        """RFC 6665; in a dialog the presence server knows whom it is about, and the request URI does not."""
        if method != "SUBSCRIBE":
            return NEXT
        if KSR.siputils.has_totag() <= 0 and not _may_subscribe():
            return ANSWERED
        if KSR.purple.check_watcher() < 0:
            KSR.purple.reply_error()
            return ANSWERED
        _reach_by_address()
        if _new_transaction() and not _handle_list():
            _handle_subscribe()
        return ANSWERED

    # ---- parts

    def _from_gateway(self) -> bool:
        """What an IM contact wrote; the answer tells the gateway what to do with it next.

        513: too large for a phone reached over UDP, so that it comes again in parts, or with ``size=any``.
        """
        octets = int(_text("$ml")) + ADDED
        small = octets + LONGEST_CONTACT <= LARGEST_DATAGRAM  # whatever the contacts are
        address = "" if small else _text("$ru")
        found = KSR.registrar.lookup(LOCATION)
        if found == NO_METHOD:
            return _reply(405, "Method Not Allowed")
        if found < 0:
            return self._nobody_registered()
        if not small and ";size=any" not in address and _is_too_large(octets - len(address)):
            return _reply(513, "Message Too Large")
        return self._relay_in_turn()

    def _relay_in_turn(self) -> bool:
        """The first phone's answer brings the next message, to another process, while this one may still have to send
        to the second phone: there the two would change places.
        """
        turn = self._relay_turns.of(hash(_text("$tu")))
        held = turn.acquire(timeout=TURN_SECONDS)
        try:
            return _relay()
        finally:
            if held:
                turn.release()

    def _is_trusted(self) -> bool:
        """A server that the operator trusts as he trusts this one: it has authenticated whom it speaks for."""
        return self._trusts_peers and bool(KSR.permissions.allow_source_address(PEERS) > 0)

    def _answer_here(self) -> None:
        """rls has one Contact for the phones and for its own SUBSCRIBEs; the NOTIFYs for those are to come here."""
        KSR.hdr.remove("Contact")
        KSR.hdr.append(f"Contact: <sip:lists@{self._internal}>\r\n")
        KSR.textopsx.msg_apply_changes()

    def _nobody_registered(self) -> bool:
        if not self._auth:
            return _reply(480, "Temporarily Unavailable")
        found = _is_subscriber(_user("$rU", "$rd"))
        if found == NO_USER:
            return _reply(404, "Not Found")
        return _reply(480, "Temporarily Unavailable") if found > 0 else _database_failed()

    def _find_user(self) -> int:
        """1: the request URI is a user of this server, with or without a phone at the moment; NO_USER: it is none;
        another negative number: the database failed."""
        if KSR.registrar.registered(LOCATION) > 0:
            return 1
        return _is_subscriber("sip:{}@{}".format(*_address("$rU", "$rd"))) if self._auth else NO_USER


def _check_by(ha1: str, realm: str) -> int:
    return int(KSR.auth.pv_auth_check(realm, ha1, PASSWORD_IS_HA1, SAME_USER))


def _is_flooding() -> bool:
    """More comes from this address than it may. It is dropped: an answer would go to whomever the address belongs to,
    which may be forged, and costs more than the request."""
    flooding = not _is_loopback(_text("$si")) and bool(KSR.pike.pike_check_req() < 0)
    if flooding:
        KSR.purple.limited("flood")
    return flooding


def _answer_to_proof(result: int, realm: str) -> bool:
    if result > 0:
        KSR.auth.consume_credentials()
        return NEXT
    if result == NOT_HIMSELF:
        return _reply(403, "From is not the authenticated user")
    if result != NO_DATABASE:
        KSR.auth.auth_challenge(realm, QOP_AUTH | (STALE if result == STALE_NONCE else 0))
    return ANSWERED


def _refuse_guess(name: str, realm: str, seconds: int) -> bool:
    """Whether this one would be right is not looked at, else it could be guessed on."""
    KSR.purple.limited("password")
    KSR.hdr.append_to_reply(f"Retry-After: {seconds}\r\n")
    words = (_call_id(), name[:LOGGED], realm[:LOGGED], _text("$si"))
    logger.info("[%s] too many wrong passwords of %s@%s from %s", *words)
    return _reply(503, "Too many wrong passwords")


@lru_cache(maxsize=4096)
def _is_loopback(address: str) -> bool:
    """All who are on this machine have one address."""
    return ipaddress.ip_address(address.strip("[]")).is_loopback


def _to_phones() -> bool:
    """Relay to every phone of the user in the request URI; the best answer goes back.

    A contact that leads back here would be looked up again, and with ten such contacts each time ten times as often
    (RFC 5393): what this server has relayed itself, it does not relay again.
    """
    if _is_relayed_here():
        return _reply(482, "Loop Detected")
    KSR.textops.remove_hf_re(ASSERTED)
    found = KSR.registrar.lookup(LOCATION)
    if found == NO_METHOD:
        return _reply(405, "Method Not Allowed")
    if found < 0:
        return _reply(480, "Temporarily Unavailable")
    return _relay()


def _is_relayed_here() -> bool:
    """It comes from one of this server's own sockets, and was not made here: then its Via would be the only one."""
    relayed = int(_text("$hdrc(Via)") or 0) > 1
    return relayed and bool(KSR.is_myself(f"sip:{_text('$si')}:{_text('$sp')}") > 0)


def _relay() -> bool:
    """To all contacts that registrar.lookup has found."""
    if KSR.tm.t_relay() < 0:
        KSR.sl.sl_reply_error()
    return ANSWERED


def _is_too_large(octets: int) -> bool:
    """``octets``: of the request without a request URI. RFC 3428 §8: no more than that without congestion control."""
    contacts = _chosen_contacts()
    over_udp = any(not _RELIABLE.match(hop or contact) for contact, hop in contacts)
    return over_udp and octets + max(len(contact) for contact, _hop in contacts) > LARGEST_DATAGRAM


def _chosen_contacts() -> list[tuple[str, str]]:
    """The contacts that registrar.lookup has found, each with its next hop, empty if that is the contact itself."""
    branches = range(int(_text("$branch(count)") or 0))
    further = [(f"$(branch(uri)[{place}])", f"$(branch(dst_uri)[{place}])") for place in branches]
    return [(_text(contact), _text(hop)) for contact, hop in (("$ru", "$du"), *further)]


def _has_registered() -> bool:
    """The gateway has put messages into the database, and asks: has a phone registered at or after ``since``?"""
    if KSR.purple.has_registered() < 0:
        return _reply(480, "Temporarily Unavailable")
    return _reply(200, "OK")


def _handle_subscribe() -> None:
    """The presence server keeps the subscription; the gateway makes the contact's presence arrive there."""
    if KSR.purple.prepare_subscribe() < 0:
        KSR.purple.reply_error()
        return
    KSR.presence.handle_subscribe()
    if _has_accepted() and _event() == "presence":
        KSR.purple.handle_subscribe(_text("$subs(uri)"), int(_text("$subs(expires)")))


def _names_a_host(uris: str) -> bool:
    """Not all of them have IP addresses. Kamailio would look a name up, which a phone chooses, and everybody behind it
    waits for DNS: a phone is reached at the address from which it wrote."""
    hosts = _HOSTS.findall(uris)
    return bool(uris) and ("maddr" in uris.lower() or not hosts or not all(map(_is_address, hosts)))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _reach_by_address() -> None:
    """Where NOTIFYs go: by Record-Route, if there is one, else to Contact (RFC 6665 §4.4.1, RFC 3261 §12.1.1)."""
    if _names_a_host(_text("$(hdr(Record-Route)[*])")):
        KSR.hdr.remove("Record-Route")
        KSR.hdr.append(f"Record-Route: <{_text('$sut')};lr>\r\n")
        KSR.textopsx.msg_apply_changes()
    elif _text("$pr") == "tls" or _names_a_host(_text("$(hdr(Contact)[*])")):
        _answer_on_connection()


def _answer_on_connection() -> None:
    """A phone has no certificate, so nobody connects to it over TLS: NOTIFYs go over the connection it made itself."""
    user = _text("$(ct{nameaddr.uri}{uri.user})")
    KSR.hdr.remove("Contact")
    KSR.hdr.append(f"Contact: <{_text('$sut').replace(':', f':{user}@', 1) if user else _text('$sut')}>\r\n")
    KSR.textopsx.msg_apply_changes()


def _add_content_length() -> None:
    """RFC 3261 §18.3: over UDP it may be missing, as in Linphone's last PUBLISH; the presence server wants it."""
    if KSR.hdr.is_present("Content-Length") <= 0:
        KSR.hdr.append(f"Content-Length: {_text('$bs')}\r\n")
        KSR.textopsx.msg_apply_changes()


def _publish_for_gateway() -> None:
    """Marked, so that what the gateway publishes is not taken for what a phone publishes."""
    _handle_publish(sender=GATEWAY_SENDER)


def _handle_publish(tell_gateway: bool = False, sender: str = "") -> None:
    """One PUBLISH of a presentity after the other: the presence server answers before its transaction is committed,
    and the gateway, which is told after that, must not learn of a removal before the refresh that preceded it.

    The result of presence.handle_publish tells nothing: it is 1 even after a 412.
    """
    keys = _lock_keys("{}@{}".format(*_address("$rU", "$rd")))
    KSR.cfgutils.lock(*keys)
    try:
        if sender:
            KSR.presence.handle_publish_uri(sender)
        else:
            KSR.presence.handle_publish()
        if tell_gateway and _has_accepted():
            KSR.purple.handle_publish()
    finally:
        KSR.cfgutils.unlock(*keys)


def _lock_keys(name: str) -> tuple[str, ...]:
    """What cfgutils.lock and unlock take: from Kamailio 6 on a second key as well, which may be empty."""
    major, _, _ = _text("$version(num)").partition(".")
    return (name, "") if int(major) >= 6 else (name,)


def _user(user: str, domain: str) -> str:
    """A user as the gateway knows him: in lower case."""
    return f"sip:{_text(user)}@{_text(domain)}".lower()


def _is_subscriber(uri: str) -> int:
    """auth_db compares the name with its case, and the gateway has it in lower case: then the gateway looks itself."""
    if KSR.purple.database_answers(0) < 0:
        return NO_DATABASE
    found: int = KSR.auth_db.is_subscriber(uri, SUBSCRIBERS, EXISTS_IN_DOMAIN)
    return KSR.purple.is_user(uri) if found == NO_SUBSCRIBER else found


def _database_failed() -> bool:
    """Not 404: a phone would give up what another try can do (RFC 3261 §21.5.4)."""
    KSR.hdr.append_to_reply("Retry-After: 5\r\n")
    return _reply(503, "The database does not answer")


def _may_subscribe() -> bool:
    """Whether the request URI can be watched by the user in From; answers if not."""
    if KSR.is_myself_ruri() <= 0 and KSR.purple.is_contact(_text("$ru")) <= 0:
        return not _reply(404, "Not Found")
    if _event() == "presence.winfo" and _address("$rU", "$rd") != _address("$fU", "$fd"):
        return not _reply(403, "Watchers of another user")
    return True


def _handle_list() -> bool:
    """RFC 4662: SUBSCRIBE to one of the watcher's own contact lists, or in the dialog of one; False: it is none."""
    if _event() != "presence":
        return False
    code = _subscribe_to_list()
    if code == NO_LIST and _is_own_list() and KSR.purple.prepare_list() > 0:
        code = _subscribe_to_list()
    if code < 0 and KSR.tm.t_get_status_code() < 200:
        return _reply(500, "Server Internal Error")
    if code != NO_LIST:
        return True
    return KSR.siputils.has_totag() <= 0 and _refuse_list()


def _subscribe_to_list() -> int:
    code: int = KSR.rls.handle_subscribe_uri("sip:{}@{}".format(*_address("$fU", "$fd")))
    return code


def _is_own_list() -> bool:
    """The request begins a subscription to the watcher's own list, and the phone knows lists."""
    owner, domain = _address("$rU", "$rd")
    ours = (owner.removesuffix(LIST_SUFFIX), domain) == _address("$fU", "$fd") and owner.endswith(LIST_SUFFIX)
    return ours and KSR.siputils.has_totag() <= 0 and _knows_lists()


def _knows_lists() -> bool:
    return "eventlist" in _text("$hdr(Supported)").lower()


def _refuse_list() -> bool:
    """What names a contact list and was no list for rls: that of another user, or the phone does not know lists."""
    owner, domain = _address("$rU", "$rd")
    if not owner.endswith(LIST_SUFFIX) or KSR.is_myself_ruri() <= 0:
        return False
    if (owner.removesuffix(LIST_SUFFIX), domain) != _address("$fU", "$fd"):
        return _reply(403, "Contacts of another user")
    if not _knows_lists():
        KSR.hdr.append_to_reply("Require: eventlist\r\n")
        return _reply(421, "Extension Required")
    return _reply(404, "Not Found")


def _has_doubtful_credentials(method: str) -> bool:
    """More credentials than one could name one user and prove another: auth_check picks by realm, $ad by place."""
    used = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
    if method == "REGISTER" and KSR.hdr.is_present("Proxy-Authorization") > 0:
        return True
    return int(_text(f"$hdrc({used})") or 0) > 1


def _new_transaction() -> bool:
    """From here tm keeps the answer for retransmissions. False: there is nothing more to do."""
    created = KSR.tm.t_newtran()
    if created < 0:
        KSR.sl.sl_reply_error()
    return bool(created > 0)


def _has_accepted() -> bool:
    """The last answer in this transaction is a 2xx."""
    return bool(200 <= KSR.tm.t_get_status_code() < 300)


def _reply(code: int, reason: str) -> bool:
    """In the transaction if there is one."""
    KSR.sl.send_reply(code, reason)
    return ANSWERED


def _method() -> str:
    return _text("$rm")


def _call_id() -> str:
    """For the log, whatever it is made of."""
    try:
        return _text("$ci")
    except UnicodeDecodeError:
        return "?"


def _event() -> str:
    """The event package of the Event header, without parameters (RFC 6665 §8.2.1)."""
    return _text("$hdr(Event)").partition(";")[0].strip().lower()


def _address(user: str, domain: str) -> tuple[str, str]:
    """User and domain of one URI as they are compared: domains without case (RFC 3261 §19.1.4)."""
    return _text(user), _text(domain).lower()


def _text(pseudo_variable: str) -> str:
    """Its value, empty if it has none."""
    return str(KSR.pv.gete(pseudo_variable))
