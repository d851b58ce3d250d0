"""Owns the page of the queue, and what an administrator does there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from purple_bridge.web.http import Refused, Response, see_other
from purple_bridge.web.messages import Message, Messages, ids_of
from purple_bridge.web.visits import Visit

HELD = {"held": True, "waiting": False}


class QueuePages:
    """``names``: the networks' names of protocols."""

    def __init__(self, messages: Messages, names: Callable[[Sequence[Message]], dict[str, str]]) -> None:
        self._messages, self._names = messages, names

    def queue(self, visit: Visit) -> Response:
        state, number = visit.request.asked("state"), visit.request.asked("page")
        state = state if state in HELD else ""
        place = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 1
        page = self._messages.page(None if visit.admin else visit.user, HELD.get(state), place)
        return visit.page(
            "queue.html",
            here="queue",
            page=page,
            state=state,
            names=self._names(page.messages),
            notice=_notice(visit),
        )

    def retry(self, visit: Visit) -> Response:
        count = self._messages.retry(_chosen(visit))
        return see_other(f"/queue?retried={count}")

    def drop(self, visit: Visit) -> Response:
        """Asks first."""
        ids = _chosen(visit)
        if visit.request.given("sure") != "yes":
            return visit.page("drop.html", here="queue", ids=ids)
        return see_other(f"/queue?dropped={self._messages.drop(ids)}")


def _chosen(visit: Visit) -> list[int]:
    ids = ids_of(visit.request.form.get("id", ()))
    if not ids:
        raise Refused(400, "No message was chosen: go back and mark at least one.")
    return ids


def _notice(visit: Visit) -> str:
    for name, words in (("retried", "to be sent again"), ("dropped", "dropped")):
        count = visit.request.asked(name)
        if count.isascii() and count.isdigit() and len(count) < 8:
            return f"{int(count)} message{'' if int(count) == 1 else 's'} {words}."
    return ""
