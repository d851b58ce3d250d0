"""Who may see whom, both ways, end to end (RFC 8048 §5, RFC 5025): asked, refused, withdrawn, allowed again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.pidf import pidf
from tests.at_once import Running, Together
from tests.gateway import Gateway, sip, xmpp_contact
from tests.pairs import Pair, asks, is_in, make_pair, shows
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

MOMENT = 3.0  # seconds in which something that must not come would have come

together = Together[Pair]()  # each waits for seconds, and none disturbs another


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """purple.authorize=ask"""
    with Gateway(tmp_path_factory.mktemp("ask"), keeps_chat_clients=True, users={}) as running:
        yield running


@pytest.fixture(scope="module")
def accepting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("accept"), users={}, settings={"authorize": "accept"}) as running:
        yield running


@pytest.fixture(scope="module")
def denying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("deny"), users={}, settings={"authorize": "deny"}) as running:
        yield running


@pytest.fixture(scope="module")
def running(gateway: Gateway, prosody: Prosody) -> Iterator[Running]:
    with together.started(lambda: make_pair(gateway, prosody)) as scenes:
        yield scenes


# ---- a SIP user watches an IM contact (RFC 8048 §5.3)


def test_a_watcher_waits_until_the_contact_approves(pair: Pair) -> None:
    watch = pair.watch()
    first = watch.wait_notify()
    assert (first.state, first.body) == ("pending", b"")
    pair.contact.wait_presence(asks(pair.jid))
    pair.contact.presence(show="away", status="lunch")
    pair.contact.approve(pair.jid)
    seen = watch.wait_notify(is_in("active"))
    assert not watch.terminated
    seen = seen if seen.body else watch.wait_notify(shows("open"))
    assert seen.presence is not None
    assert seen.presence.entity == pair.contact_uri
    assert (seen.presence.basic, seen.presence.activities) == ("open", ("away",))


def test_the_contact_is_asked_once(pair: Pair) -> None:
    """RFC 8048 §5.3.1: one SUBSCRIBE, one request."""
    pair.watch_allowed()
    assert len(pair.told("subscribe")) == 1


def test_a_refusal_ends_the_subscription_and_is_no_end_for_ever(pair: Pair) -> None:
    watch = pair.watch()
    pair.contact.wait_presence(asks(pair.jid))
    pair.contact.presence(type="unsubscribed", to=pair.jid)
    refused = watch.wait_notify(is_in("terminated"))
    assert (refused.reason, refused.body) == ("rejected", b"")

    again = pair.watch()  # at once
    pair.contact.wait_presence(asks(pair.jid))
    assert again.wait_notify().state == "pending"
    pair.contact.approve(pair.jid)
    again.wait_notify(shows("open"))
    assert not any(notify.body for notify in watch.notifies)


def test_who_is_refused_twice_may_ask_a_third_time(pair: Pair) -> None:
    for _ in range(2):
        watch = pair.watch()
        pair.contact.wait_presence(asks(pair.jid))
        pair.contact.presence(type="unsubscribed", to=pair.jid)
        assert watch.wait_notify(is_in("terminated")).reason == "rejected"
    pair.watch_allowed()


def test_a_permission_is_withdrawn_and_given_again(pair: Pair) -> None:
    watch = pair.watch_allowed()
    pair.contact.presence(type="unsubscribed", to=pair.jid)
    ended = watch.wait_notify(is_in("terminated"))
    assert ended.reason == "rejected"
    assert ended.presence is None or ended.presence.basic != "open"
    pair.watch_allowed()


def test_all_phones_of_a_user_hear_of_a_refusal(pair: Pair) -> None:
    other = pair.gateway.phone(pair.user)
    first, second = pair.watch(), other.subscribe(pair.contact_uri)
    pair.contact.wait_presence(asks(pair.jid))
    pair.contact.presence(type="unsubscribed", to=pair.jid)
    for watch in (first, second):
        assert watch.wait_notify(is_in("terminated")).reason == "rejected"


def test_what_one_user_may_see_is_not_for_another(pair: Pair, prosody: Prosody) -> None:
    """The contact lets one user see it and has not decided about another."""
    other = make_pair(pair.gateway, prosody)
    allowed = pair.watch_allowed()
    waiting = other.phone.subscribe(pair.contact_uri)
    assert waiting.status == 200
    pair.contact.wait_presence(asks(other.jid))
    pair.contact.presence(show="dnd", status="a secret")
    allowed.wait_notify(shows("open", "busy"))
    assert [notify.state for notify in waiting.notifies] == ["pending"]
    assert not any(notify.body for notify in waiting.notifies)


def test_a_refusal_of_one_user_does_not_concern_another(pair: Pair, prosody: Prosody) -> None:
    other = make_pair(pair.gateway, prosody)
    allowed = pair.watch_allowed()
    refused = other.phone.subscribe(pair.contact_uri)
    pair.contact.wait_presence(asks(other.jid))
    pair.contact.presence(type="unsubscribed", to=other.jid)
    assert refused.wait_notify(is_in("terminated")).reason == "rejected"
    assert not any(notify.body for notify in refused.notifies)
    pair.contact.presence(show="xa")
    allowed.wait_notify(shows("open"))
    assert not allowed.terminated
    assert allowed.refresh().status == 200


def test_who_unsubscribes_keeps_the_permissions(pair: Pair) -> None:
    """RFC 8048 §5.3.3: the subscription ends, and neither the contact's permission nor the user's is touched."""
    watch = pair.watch_allowed()
    pair.ask()
    pair.wait_told("subscribed")
    assert watch.unsubscribe().status == 200
    ended = watch.wait_notify(is_in("terminated"))
    assert ended.reason == "timeout"

    again = pair.watch()
    again.wait_notify(shows("open"))
    assert len(pair.told("subscribe")) == 1
    assert not pair.told("unsubscribe")
    assert not pair.told("unsubscribed")
    assert pair.phone.publish(pidf(sip(pair.user), note="still seen", activity="away")).status == 200
    pair.contact.wait_presence(lambda stanza: stanza.status == "still seen")


def test_who_has_no_account_there_is_refused(gateway: Gateway) -> None:
    gateway.add_user("nobody")
    phone = gateway.phone("nobody")
    assert phone.subscribe(xmpp_contact("bob@localhost")).status == 403
    assert phone.subscribe("sip:nick@irc.im.example.org").status == 403


def test_what_is_no_contact_is_not_found(pair: Pair) -> None:
    for uri in ("sip:bob@elsewhere.example", "sip:bob@im.example.org"):
        assert pair.phone.subscribe(uri).status == 404, uri


# ---- an IM contact watches a SIP user (RFC 8048 §5.2): the user is asked


def test_the_user_is_asked_and_says_yes(pair: Pair) -> None:
    watchers = pair.phone.subscribe(sip(pair.user), event="presence.winfo")
    assert watchers.status == 200
    pair.ask()
    question = pair.wait_question()
    assert question.from_uri == pair.contact_uri
    assert pair.contact.jid.partition("/")[0] in question.text
    waiting = watchers.wait_notify(lambda notify: pair.contact_uri in notify.watchers)
    assert waiting.watchers[pair.contact_uri] == "pending"

    assert pair.phone.message(pair.contact_uri, "yes").status == 202
    pair.wait_told("subscribed")
    pair.wait_told("available")
    assert not pair.contact.messages  # the answer is no message
    wait_until(lambda: pair.contact_uri not in _pending(pair), 30, "winfo without the contact")


def test_the_user_says_no_and_is_asked_again(pair: Pair) -> None:
    pair.ask()
    pair.wait_question()
    assert pair.phone.message(pair.contact_uri, "no").status == 202
    pair.wait_told("unsubscribed")
    assert not pair.told("available")
    wait_until(lambda: pair.contact_uri not in _pending(pair), 30, "winfo without the contact")

    pair.ask()
    pair.wait_question()
    assert pair.phone.message(pair.contact_uri, "yes").status == 202
    pair.wait_told("subscribed")
    assert not pair.contact.messages


@pytest.mark.parametrize(("answer", "told"), [("  YES \r\n", "subscribed"), ("No", "unsubscribed")])
def test_an_answer_is_read_as_people_write_it(pair: Pair, answer: str, told: str) -> None:
    pair.ask()
    pair.wait_question()
    assert pair.phone.message(pair.contact_uri, answer).status == 202
    pair.wait_told(told)
    assert not pair.contact.messages


def test_anything_else_is_a_message(pair: Pair) -> None:
    assert pair.phone.message(pair.contact_uri, "yes").status == 202  # nobody has asked
    assert pair.contact.wait_message().body == "yes"
    pair.ask()
    pair.wait_question()
    assert pair.phone.message(pair.contact_uri, "yes, who are you?").status == 202
    assert pair.contact.wait_message().body == "yes, who are you?"
    assert not pair.told("subscribed")
    assert pair.phone.message(pair.contact_uri, "yes").status == 202
    pair.wait_told("subscribed")
    assert pair.phone.message(pair.contact_uri, "yes").status == 202  # it has been answered
    assert pair.contact.wait_message().body == "yes"


def test_an_answer_is_for_who_has_asked(pair: Pair, prosody: Prosody) -> None:
    """Two contacts ask at once."""
    other = make_pair(pair.gateway, prosody).contact
    pair.ask()
    other.subscribe(pair.jid)
    pair.wait_question()
    pair.wait_question()
    assert pair.phone.message(xmpp_contact(other.jid), "yes").status == 202
    other.wait_presence(lambda stanza: stanza.type == "subscribed")
    assert pair.phone.message(pair.contact_uri, "no").status == 202
    pair.wait_told("unsubscribed")


@together
def test_a_contact_that_asks_again_puts_no_second_question(pair: Pair) -> None:
    pair.ask()
    pair.wait_question()
    pair.ask()
    with pytest.raises(AssertionError):
        pair.wait_question(timeout=MOMENT)
    assert pair.phone.message(pair.contact_uri, "yes").status == 202
    pair.wait_told("subscribed")


def test_a_contact_that_gives_up_asking(pair: Pair) -> None:
    """RFC 8048 §5.2.3; the phone sees the watcher go."""
    watchers = pair.phone.subscribe(sip(pair.user), event="presence.winfo")
    pair.ask()
    pair.wait_question()
    watchers.wait_notify(lambda notify: notify.watchers.get(pair.contact_uri) == "pending")
    pair.contact.presence(type="unsubscribe", to=pair.jid)
    wait_until(lambda: pair.contact_uri not in _pending(pair), 30, "winfo without the contact")
    assert pair.phone.message(pair.contact_uri, "yes").status == 202  # to no question any more
    assert pair.contact.wait_message().body == "yes"


def test_a_question_that_is_open_outlives_the_login(pair: Pair) -> None:
    """The network asks again at the next sign-on, the user is not bothered again, and can still answer."""
    pair.ask()
    pair.wait_question()
    assert pair.phone.publish(None, expires=0).status == 200
    pair.gateway.wait_state(pair.jid, "offline")
    assert pair.phone.publish(pidf(sip(pair.user))).status == 200
    pair.gateway.wait_state(pair.jid, "online")
    wait_until(lambda: pair.contact_uri in _pending(pair), 30, "the contact waits again")
    assert pair.phone.message(pair.contact_uri, "yes").status == 202
    pair.wait_told("subscribed")


def test_a_question_that_is_open_outlives_a_crash(tmp_path: Path, prosody: Prosody) -> None:
    """And who was allowed before stays so, without a word."""
    with Gateway(tmp_path / "gw", users={}) as gateway:
        pair, allowed = make_pair(gateway, prosody), make_pair(gateway, prosody)
        allowed.ask()
        allowed.wait_question()
        assert allowed.phone.message(allowed.contact_uri, "yes").status == 202
        allowed.wait_told("available")
        pair.ask()
        pair.wait_question()
        gateway.kamailio.kill()
        gateway.kamailio.start()
        gateway.wait_state(pair.jid, "online", 30)
        allowed.wait_told("available", 30)
        wait_until(lambda: _pending(pair) == [pair.contact_uri], 20, "the contact waits again")
        assert not _pending(allowed)
        watchers = pair.phone.subscribe(sip(pair.user), event="presence.winfo")
        watchers.wait_notify(lambda notify: notify.watchers.get(pair.contact_uri) == "pending")
        assert pair.phone.message(pair.contact_uri, "yes").status == 202
        pair.wait_told("subscribed")
        watchers.wait_notify(lambda notify: notify.watchers.get(pair.contact_uri) not in ("pending", "waiting"))
        assert not _pending(pair)
        assert [stanza.type for stanza in allowed.contact.presences].count("subscribed") == 1
        assert not allowed.told("unsubscribed")


def test_rules_that_change_while_the_account_is_offline(pair: Pair) -> None:
    """The contact must not see the user when he comes back."""
    pair.put_rules((pair.contact_uri, "allow"))
    pair.ask()
    pair.wait_told("available")
    assert pair.phone.publish(None, expires=0).status == 200
    pair.gateway.wait_state(pair.jid, "offline")
    pair.put_rules((pair.contact_uri, "block"))
    pair.contact.forget_presences()
    assert pair.phone.publish(pidf(sip(pair.user))).status == 200
    pair.wait_told("unsubscribed")


@together
def test_a_contact_that_the_user_watches_is_accepted(pair: Pair) -> None:
    pair.watch_allowed()
    pair.ask()
    pair.wait_told("subscribed")
    pair.wait_told("available")
    with pytest.raises(AssertionError):
        pair.wait_question(timeout=MOMENT)


# ---- presence rules decide (RFC 5025)


def test_a_rule_that_is_put_answers_yes(pair: Pair) -> None:
    pair.ask()
    pair.wait_question()
    pair.put_rules((pair.contact_uri, "allow"))
    pair.wait_told("subscribed")
    pair.wait_told("available")


def test_a_rule_that_is_put_answers_no(pair: Pair) -> None:
    pair.ask()
    pair.wait_question()
    pair.put_rules((pair.contact_uri, "block"))
    pair.wait_told("unsubscribed")
    assert not pair.told("available")


@together
def test_a_rule_that_is_there_allows_at_once(pair: Pair) -> None:
    _decides_at_once(pair, "allow", "subscribed")


@together
def test_a_rule_that_is_there_blocks_at_once(pair: Pair) -> None:
    _decides_at_once(pair, "block", "unsubscribed")


def _decides_at_once(pair: Pair, handling: str, told: str) -> None:
    pair.put_rules((pair.contact_uri, handling))
    pair.ask()
    pair.wait_told(told)
    with pytest.raises(AssertionError):
        pair.wait_question(timeout=MOMENT)


def test_rules_that_do_not_know_the_contact_leave_it_to_the_user(pair: Pair) -> None:
    pair.put_rules((sip("somebody"), "allow"), (xmpp_contact("else@localhost"), "block"))
    pair.ask()
    pair.wait_question()
    assert pair.phone.message(pair.contact_uri, "yes").status == 202
    pair.wait_told("subscribed")


def test_a_rule_that_wants_the_user_asked(pair: Pair) -> None:
    """RFC 5025 §3.2.1: confirm."""
    pair.put_rules((pair.contact_uri, "confirm"))
    pair.ask()
    pair.wait_question()
    assert not pair.told("subscribed")


@together
def test_who_is_blocked_politely_does_not_see_the_user(pair: Pair) -> None:
    """RFC 5025 §3.2.1: the watcher must not notice, and must not see the presence either."""
    pair.put_rules((pair.contact_uri, "polite-block"))
    pair.ask()
    pair.phone.publish(pidf(sip(pair.user), note="a secret"))
    with pytest.raises(AssertionError):
        pair.wait_told("available", timeout=MOMENT)
    assert not pair.told("unsubscribed")


def test_a_rule_withdraws_what_was_allowed(pair: Pair) -> None:
    """RFC 8048 §5.2.2: the authorization is cancelled; once the rule has gone, the contact may ask anew."""
    pair.ask()
    pair.wait_question()
    pair.phone.message(pair.contact_uri, "yes")
    pair.wait_told("available")
    pair.put_rules((pair.contact_uri, "block"))
    pair.wait_told("unsubscribed")
    pair.phone.publish(pidf(sip(pair.user), note="a secret"))
    pair.contact.forget_presences()
    pair.ask()
    pair.wait_told("unsubscribed")

    pair.delete_rules()
    pair.ask()
    pair.wait_question()
    pair.phone.message(pair.contact_uri, "yes")
    pair.wait_told("subscribed")
    assert not any(stanza.status == "a secret" for stanza in pair.told("available")[:-1])


@together
def test_a_polite_block_withdraws_what_was_allowed(pair: Pair) -> None:
    """XMPP knows no polite way: what counts is that the contact does not see the user any more."""
    pair.put_rules((pair.contact_uri, "allow"))
    pair.ask()
    pair.wait_told("available")
    pair.contact.forget_presences()  # also the answer to the question: the user's server did not know him online yet
    pair.put_rules((pair.contact_uri, "polite-block"))
    pair.wait_told("unavailable")
    pair.contact.forget_presences()
    pair.phone.publish(pidf(sip(pair.user), note="a secret"))
    with pytest.raises(AssertionError):
        pair.wait_told("available", timeout=MOMENT)


def test_rules_block_also_a_contact_that_the_user_watches(pair: Pair) -> None:
    pair.watch_allowed()
    pair.put_rules((pair.contact_uri, "block"))
    pair.ask()
    pair.wait_told("unsubscribed")
    assert not pair.told("subscribed")


# ---- the parameter purple.authorize


def test_everybody_is_accepted(accepting: Gateway, prosody: Prosody) -> None:
    pair = make_pair(accepting, prosody)
    pair.ask()
    pair.wait_told("subscribed")
    pair.wait_told("available")
    assert not pair.phone.messages


def test_rules_count_more_than_to_accept_everybody(accepting: Gateway, prosody: Prosody) -> None:
    pair = make_pair(accepting, prosody)
    pair.put_rules((pair.contact_uri, "block"))
    pair.ask()
    pair.wait_told("unsubscribed")
    assert not pair.told("subscribed")
    pair.put_rules((pair.contact_uri, "allow"))
    pair.ask()
    pair.wait_told("subscribed")


def test_who_is_accepted_can_be_blocked_later(accepting: Gateway, prosody: Prosody) -> None:
    pair = make_pair(accepting, prosody)
    pair.ask()
    pair.wait_told("available")
    pair.put_rules((pair.contact_uri, "block"))
    pair.wait_told("unsubscribed")


def test_nobody_is_accepted(denying: Gateway, prosody: Prosody) -> None:
    pair = make_pair(denying, prosody)
    pair.ask()
    pair.wait_told("unsubscribed")
    assert not pair.told("available")
    assert not pair.phone.messages
    pair.contact.forget_presences()
    pair.ask()
    pair.wait_told("unsubscribed")
    assert not pair.told("subscribed")


def test_rules_count_more_than_to_accept_nobody(denying: Gateway, prosody: Prosody) -> None:
    pair = make_pair(denying, prosody)
    pair.put_rules((pair.contact_uri, "allow"))
    pair.ask()
    pair.wait_told("subscribed")


def test_who_is_watched_may_watch_where_nobody_else_may(denying: Gateway, prosody: Prosody) -> None:
    pair = make_pair(denying, prosody)
    pair.watch_allowed()
    pair.ask()
    pair.wait_told("subscribed")


# ---- phones among themselves


def test_a_user_without_rules_is_seen_by_every_user(gateway: Gateway) -> None:
    for user in ("erin", "frank"):
        gateway.add_user(user)
    phone, watcher = gateway.phone("erin"), gateway.phone("frank")
    phone.publish(pidf(sip("erin"), note="here"))
    watch = watcher.subscribe(sip("erin"))
    assert watch.status == 200
    watch.wait_notify(shows("open"))


def test_rules_between_phones(pair: Pair) -> None:
    """A rule that comes ends the subscription; when it has gone the watcher sees the user again."""
    pair.gateway.add_user("grace")
    watcher, user = pair.gateway.phone("grace"), sip(pair.user)
    watch = watcher.subscribe(user)
    watch.wait_notify(shows("open"))
    pair.put_rules((sip("grace"), "block"))
    assert watch.wait_notify(is_in("terminated")).reason == "rejected"
    blocked = watcher.subscribe(user)
    if blocked.status == 200:
        assert blocked.wait_notify(is_in("terminated")).reason == "rejected"
    assert not any(notify.body for notify in blocked.notifies)

    pair.delete_rules()
    again = watcher.subscribe(user)
    assert again.status == 200
    again.wait_notify(shows("open"))


def _pending(pair: Pair) -> list[str]:
    """Who waits for the user's decision, as presence.winfo tells a phone that asks now (RFC 3857)."""
    watchers = pair.phone.subscribe(sip(pair.user), event="presence.winfo")
    found = watchers.wait_notify(lambda notify: bool(notify.body)).watchers
    watchers.unsubscribe()
    return [uri for uri, status in found.items() if status in ("pending", "waiting")]
