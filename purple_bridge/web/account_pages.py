"""Owns the pages of accounts: the list, one account, its form, its test. Knows no cookie and no path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine

from purple_bridge import account_forms, history
from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.db.account import Account, OptionValue
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.passwords import NO_KEYS, Passwords
from purple_bridge.db.provision import add_account, change_account, remove_account
from purple_bridge.gateway_options import ENABLED
from purple_bridge.libpurple.plugins import Option, Protocol
from purple_bridge.ownership import plugin_of, protocols_of
from purple_bridge.settings import Settings
from purple_bridge.web import forms
from purple_bridge.web.accounts import DISABLED, STATES, Accounts, Entry, Filter, Snapshot, page_of
from purple_bridge.web.forms import Form, Invalid, Known
from purple_bridge.web.http import JSON, Refused, Response, see_other
from purple_bridge.web.messages import Message
from purple_bridge.web.pages import STATE_SIGNS, STATE_WORDS, duration, iso, moment
from purple_bridge.web.plots import Plot, plot
from purple_bridge.web.trials import Trial, Trials
from purple_bridge.web.visits import Visit

NOT_THERE = "There is no such account."
LARGEST_ID = (1 << 31) - 1  # as the table has them
NOTICES = {
    "added": "The account is added.",
    "changed": "The change is saved.",
    "removed": "The account is removed.",
    "enabled": "The account is enabled.",
    "disabled": "The account is disabled.",
    "reconnect": "The account connects anew.",
}
ACTIONS = (("reconnect", "Reconnect"), ("disable", "Disable"))
ACTIONS_WHEN_OFF = (("enable", "Enable"),)
# by reason of a trial, in the place of what purplectl says
ADVICE = {
    "authentication-failed": "If the password is wrong, edit the account and enter the right one.",
    "password-missing": "Edit the account and enter its password.",
    "invalid-settings": "Edit the account: see its options.",
}
WHEN_ONLINE = {
    "publish": "It signs on when a phone of this user publishes its presence.",
    "register": "It signs on when a phone of this user registers.",
    "start": "It signs on as soon as the gateway has seen it.",
}


class AccountPages:
    """One for the process of the page."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        mapping: Mapping,
        accounts: Accounts,
        trials: Trials,
        passwords: Passwords = NO_KEYS,
    ) -> None:
        self._passwords = passwords
        self._settings, self._engine, self._mapping = settings, engine, mapping
        self._accounts, self._trials = accounts, trials
        self._protocols: Sequence[Protocol] = ()

    # ------------------------------------------------------------ look
    def overview(self, visit: Visit) -> Response:
        wanted, snapshot = _filter(visit), self._accounts.look()
        page = page_of(_visible(visit, snapshot), wanted)
        return visit.page(
            "overview.html",
            here="accounts",
            filter=wanted,
            page=page,
            plots=self._plots(visit),
            names=self.names(page.entries),
            warning=_warning(snapshot),
            notice=NOTICES.get(visit.request.asked("done"), ""),
            search=_search(wanted),
        )

    def listed(self, visit: Visit) -> Response:
        """The same as JSON, for the script of the page; with ``id`` one account alone."""
        snapshot = self._accounts.look()
        one = visit.request.asked("id")
        page = page_of(_visible(visit, snapshot), _filter(visit))
        entries = [self._entry(visit, _number(one))] if one else page.entries
        counts = {state or "all": count for state, count in page.counts.items()}
        fields = {
            "accounts": [_as_json(entry, visit.now) for entry in entries],
            "counts": counts,
            "plots": [] if one else [asdict(each) for each in self._plots(visit)],
            "warning": _warning(snapshot),
        }
        return Response(200, json.dumps(fields), JSON)

    def account(self, visit: Visit, number: int) -> Response:
        entry, row = self._entry(visit, number), self._row(visit, number)
        return visit.page(
            "account.html",
            here="accounts",
            entry=entry,
            names=self.names([entry]),
            options=self._options_in_words(row),
            has_password=row.has_password,
            when_online=WHEN_ONLINE.get(self._settings.connect_on, ""),
            actions=ACTIONS_WHEN_OFF if entry.state == DISABLED else ACTIONS,
            warning=_warning(self._accounts.look()),
            notice=NOTICES.get(visit.request.asked("done"), ""),
        )

    # ------------------------------------------------------------ add, change
    def new(self, visit: Visit) -> Response:
        """First the network, then what its plugin declares."""
        name = visit.request.asked("protocol")
        if not name:
            protocols = [(one.id, one.name, one.summary) for one in self._known_protocols()]
            return visit.page("choose.html", here="accounts", protocols=sorted(protocols, key=_usual_first))
        protocol = self._protocol(name)
        return self._show_form(visit, forms.empty(protocol, name, self._known(visit)), name)

    def add(self, visit: Visit) -> Response:
        name = visit.request.given("protocol")
        protocol, known = self._protocol(name), self._known(visit)
        try:
            draft = forms.read(protocol, name, known, visit.request)
            if taken := self._taken(visit, draft.user, name, draft.ext_user):
                raise Invalid(forms.with_error(forms.again(protocol, name, known, visit.request), "ext_user", taken))
        except Invalid as invalid:
            return self._show_form(visit, invalid.form, name)
        options = self._checked(visit, account_forms.merged((), draft.options), None)
        row = (draft.user, name, draft.ext_user, draft.password or None, options)
        add_account(self._engine, *row, self._settings.db_table, self._passwords)
        self._changed(draft.user.key)
        number = self._number_of(draft.user, name, draft.ext_user)
        return self._saved(visit, number, "added")

    def _checked(
        self, visit: Visit, options: dict[str, OptionValue], before: dict[str, OptionValue] | None
    ) -> dict[str, OptionValue]:
        if visit.admin or self._settings.user_servers == "any":
            return options
        return account_forms.of_a_user(options, before)

    def edit(self, visit: Visit, number: int) -> Response:
        row = self._row(visit, number)
        form = forms.empty(self._protocol(row.protocol), row.protocol, _stored(row))
        return self._show_form(visit, form, row=row)

    def save(self, visit: Visit, number: int) -> Response:
        row = self._row(visit, number)
        try:
            draft = forms.read(self._protocol(row.protocol), row.protocol, _stored(row), visit.request)
        except Invalid as invalid:
            return self._show_form(visit, invalid.form, row=row)
        change_account(
            self._engine,
            row,
            password=draft.password or None,
            options=self._checked(visit, account_forms.merged(row.options, draft.options), dict(row.options)),
            table=self._settings.db_table,
            passwords=self._passwords,
        )
        self._changed(row.sip_user)
        return self._saved(visit, row.id, "changed")

    def ask_remove(self, visit: Visit, number: int) -> Response:
        entry = self._entry(visit, number)
        return visit.page("remove.html", here="accounts", entry=entry, names=self.names([entry]))

    def remove(self, visit: Visit, number: int) -> Response:
        row = self._row(visit, number)
        remove_account(self._engine, row.id, self._settings.db_table)
        self._changed(row.sip_user)
        return see_other("/?done=removed")

    def enable(self, visit: Visit, number: int) -> Response:
        return self._set_enabled(visit, number, True)

    def disable(self, visit: Visit, number: int) -> Response:
        return self._set_enabled(visit, number, False)

    def _set_enabled(self, visit: Visit, number: int, enabled: bool) -> Response:
        row = self._row(visit, number)
        options = account_forms.merged(row.options, {ENABLED.name: None if enabled else False})
        change_account(self._engine, row, options=options, table=self._settings.db_table)
        self._changed(row.sip_user)
        return see_other(f"/accounts/{row.id}?done={'enabled' if enabled else 'disabled'}")

    def reconnect(self, visit: Visit, number: int) -> Response:
        row = self._row(visit, number)
        self._accounts.ask("reconnect", accounts=[[row.protocol, row.ext_user]])
        self._accounts.forget()
        return see_other(f"/accounts/{row.id}?done=reconnect")

    # ------------------------------------------------------------ test
    def test(self, visit: Visit, number: int) -> Response:
        return see_other(f"/tests/{self._start_trial(visit, number)}")

    def trial(self, visit: Visit, key: str) -> Response:
        trial = self._trial(visit, key)
        entry = self._entry(visit, trial.account)
        words, advice = _result_in_words(trial)
        return visit.page("test.html", here="accounts", trial=trial, entry=entry, words=words, advice=advice)

    def trial_listed(self, visit: Visit, key: str) -> Response:
        trial = self._trial(visit, key)
        return Response(200, json.dumps({"steps": trial.steps, "done": trial.result is not None}), JSON)

    def _start_trial(self, visit: Visit, number: int) -> str:
        row = self._row(visit, number)
        proxy = (self._settings.http_proxy_host, self._settings.http_proxy_port)
        order = {
            "protocol": row.protocol,
            "ext_user": row.ext_user,
            "password": row.password,
            "options": dict(row.options),
            "http_proxy": proxy if proxy[0] else None,
            "protocols": list(self._settings.protocols),
            "ca_dir": self._settings.ca_dir,
        }
        return self._trials.start(visit.user, row.id, order)

    def _trial(self, visit: Visit, key: str) -> Trial:
        trial = self._trials.get(key)
        if trial is None or trial.owner != visit.user:
            raise Refused(404, "There is no such test, or no longer.")
        return trial

    # ------------------------------------------------------------ parts
    def _entry(self, visit: Visit, number: int) -> Entry:
        entry = next((entry for entry in self._accounts.look().entries if entry.id == number), None)
        if entry is None or not visit.may_see(entry.sip_user):
            raise Refused(404, NOT_THERE)
        return entry

    def _row(self, visit: Visit, number: int) -> Account:
        rows = self._mapping.accounts_between(number, number) if number <= LARGEST_ID else []
        if not rows or not visit.may_see(rows[0].sip_user):
            raise Refused(404, NOT_THERE)
        # a database may give the number of a removed account to the next one, while a form of the first is still open
        if visit.request.given("account") not in ("", rows[0].ext_user):
            raise Refused(404, "That account was removed meanwhile.")
        return rows[0]

    def _saved(self, visit: Visit, number: int, done: str) -> Response:
        if visit.request.given("then") == "test":
            return see_other(f"/tests/{self._start_trial(visit, number)}")
        return see_other(f"/accounts/{number}?done={done}")

    def _show_form(self, visit: Visit, form: Form, name: str = "", row: Account | None = None) -> Response:
        """Of a new account on the network ``name``, or of a stored one."""
        back = f"/accounts/{row.id}" if row else "/"
        return visit.page(
            "form.html",
            status=400 if form.errors else 200,
            here="accounts",
            form=form,
            new=row is None,
            entry=row,
            protocol=name,
            heading=f"Edit {row.ext_user}" if row else f"Add an account on {form.protocol.name}",
            action=f"{back}/edit" if row else "/accounts",
            cancel=back,
        )

    def _known(self, visit: Visit) -> Known:
        """An administrator says whose account it is; anybody else has only his own."""
        return Known() if visit.admin else Known(user=_uri_of(visit.user))

    def _taken(self, visit: Visit, user: SipAddress, protocol: str, ext_user: str) -> str:
        """What is wrong with one more row of this account, in words.

        The gateway signs on once for all rows of an account: with a row of his own a user would read what others get.
        """
        pairs = [(one, ext_user) for one in protocols_of(plugin_of(protocol))]
        rows = [row for found in self._mapping.accounts_for_pairs(pairs).values() for row in found]
        if any(row.sip_user == user.key for row in rows):
            return "This SIP user has this account already."
        if rows and not visit.admin:
            return "Another SIP user has this account: ask the administrator."
        return ""

    def _number_of(self, user: SipAddress, protocol: str, ext_user: str) -> int:
        name = normalize_im_name(protocol, ext_user)
        rows = self._mapping.refresh([user.key])[user.key]
        return next(
            row.id
            for row in reversed(rows)
            if row.protocol == protocol and normalize_im_name(protocol, row.ext_user) == name
        )

    def _changed(self, user: str) -> None:
        """The workers look at the user's rows at once, and so does the next page."""
        self._accounts.ask("rows", users=[user])
        self._accounts.forget()

    def _plots(self, visit: Visit) -> list[Plot]:
        if not visit.admin:
            return []
        samples = history.read(self._settings.state_dir, visit.now)

        def figure(name: str, title: str, points: Sequence[tuple[float, float]], unit: str = "") -> Plot:
            return plot(name, title, [(visit.now - at, value) for at, value in points], unit, history.SECONDS)

        return [
            figure("to-im", "Messages to IM networks", history.rates(samples, "to_im"), "/s"),
            figure("to-phones", "Messages to phones", history.rates(samples, "to_phones"), "/s"),
            figure("queued", "Queued messages", [(one.at, one.queued) for one in samples]),
            figure("online", "Accounts online", [(one.at, one.online) for one in samples]),
        ]

    # ------------------------------------------------------------ protocols
    def _known_protocols(self) -> Sequence[Protocol]:
        """What a worker's libpurple says; this process has none. Asked once."""
        if not self._protocols:
            answers = self._accounts.ask("protocols")
            if not answers:
                raise Refused(503, "No worker of the gateway answers, so the networks are not known. Try again soon.")
            self._protocols = [_protocol(fields) for fields in answers[0]["protocols"]]
        return self._protocols

    def _protocol(self, name: str) -> Protocol:
        if self._settings.protocols and plugin_of(name) not in self._settings.protocols:
            raise Refused(404, "This network is not allowed on this gateway: ask the administrator (purple.protocols).")
        try:
            return account_forms.plugin(self._known_protocols(), name)
        except ValueError:
            raise Refused(404, "There is no such network.") from None

    def names(self, entries: Sequence[Entry] | Sequence[Message]) -> dict[str, str]:
        """The networks' names, where a worker can say them."""
        try:
            known = {one.id: one.name for one in self._known_protocols()}
        except Refused:
            known = {}
        return {one.protocol: known.get(plugin_of(one.protocol), one.protocol) for one in entries}

    def _options_in_words(self, row: Account) -> list[tuple[str, str]]:
        try:
            declared = {one.name: one for one in account_forms.options_of(self._protocol(row.protocol))}
        except Refused:
            declared = {}
        return [(_label(declared, name), _option_in_words(value)) for name, value in row.options]


def _label(declared: dict[str, Option], name: str) -> str:
    return declared[name].text or name if name in declared else name


def _option_in_words(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return forms.CHOICES.get(str(value), str(value))


def _protocol(fields: dict[str, Any]) -> Protocol:
    options = tuple(Option(**{**one, "choices": tuple(one["choices"])}) for one in fields["options"])
    return Protocol(fields["id"], fields["name"], fields["summary"], options)


def _usual_first(protocol: tuple[str, str, str]) -> tuple[bool, bool, str]:
    return protocol[0] != "prpl-jabber", protocol[0] != "prpl-irc", protocol[1]


def _stored(row: Account) -> Known:
    return Known(_uri_of(row.sip_user), row.ext_user, dict(row.options), stored=True, has_password=row.has_password)


def _uri_of(key: str) -> str:
    user, _, host = key.rpartition("@")
    return SipAddress(user, host).uri


def _filter(visit: Visit) -> Filter:
    asked = visit.request.asked
    state = asked("state") if asked("state") in STATES else ""
    return Filter(asked("q").strip()[:200], state, _number(asked("page")) or 1)


def _search(wanted: Filter) -> str:
    return "?" + urlencode({"state": wanted.state, "q": wanted.text, "page": wanted.page})


def _number(text: str) -> int:
    """0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _visible(visit: Visit, snapshot: Snapshot) -> list[Entry]:
    return [entry for entry in snapshot.entries if visit.may_see(entry.sip_user)]


def _warning(snapshot: Snapshot) -> str:
    if snapshot.answering == snapshot.workers:
        return ""
    if snapshot.answering == 0:
        return "No worker of the gateway answers: states are not known."
    missing = snapshot.workers - snapshot.answering
    return f"{missing} of {snapshot.workers} workers do not answer: the states of their accounts are not known."


def _as_json(entry: Entry, now: float) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": entry.ext_user,
        "state": entry.state,
        "state_text": STATE_WORDS.get(entry.state, entry.state),
        "sign": STATE_SIGNS.get(entry.state, ""),
        "error": entry.error,
        "since": iso(entry.since) if entry.since is not None else None,
        "since_title": moment(entry.since) if entry.since is not None else "",
        "since_text": f"{duration(now - entry.since)} ago" if entry.since is not None else "-",
        "worker": str(entry.worker or "-"),
        "queued": str(entry.queued),
        "retries": str(entry.retries),
        "security": entry.security,
    }


def _result_in_words(trial: Trial) -> tuple[str, str]:
    """What is said first, and what to do."""
    if trial.result is None:
        return "", ""
    detail = trial.result.get("detail") or {}
    advice = str(detail.get("advice") or "")
    text = str(trial.result.get("text", "")).removesuffix(f"; {advice}")
    return _sentence(text), ADVICE.get(str(detail.get("reason")), _sentence(advice))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""
