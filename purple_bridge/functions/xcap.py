"""Documents that the XCAP server serves: contact lists and presence rules, which the workers follow."""

from __future__ import annotations

from purple_bridge.commands import ListChanged, RulesChanged, spec_of
from purple_bridge.functions.accounts import Accounts
from purple_bridge.functions.request import parsed
from purple_bridge.functions.workers import Workers


class Documents:
    """The XCAP server keeps them; the workers hear who has read or changed one."""

    def __init__(self, accounts: Accounts, workers: Workers) -> None:
        self._accounts, self._workers = accounts, workers

    def handle(self, auid: str, uri: str, method: str, conditional: int) -> None:
        """See ``PurpleFunctions.handle_xcap``."""
        user = parsed(uri)
        if auid == "resource-lists":
            if self._accounts.rows(user):
                changed = ListChanged(user.uri, method != "GET", conditional > 0)
                self._workers.tell_keeper(user.key, changed)
        elif auid.endswith("pres-rules") and method != "GET":
            for row in self._accounts.rows(user):
                self._workers.hand_over(row, RulesChanged(spec_of(row), user.uri))
