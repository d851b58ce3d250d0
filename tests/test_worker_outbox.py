"""The outbox: order, what is in flight, and the rows of what does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from purple_bridge.board import Way
from purple_bridge.commands import SendMessage
from purple_bridge.worker.outbox import (
    COMMAND_SWEEPS,
    MOST_IN_FLIGHT,
    MOST_WHEN_STEADY,
    MOST_WHEN_SWIFT,
    SETTLED_SECONDS,
    STALL_SECONDS,
    STEADY_SECONDS,
    STUCK_SECONDS,
    SWIFT_SECONDS,
    WINDOW,
    WRITE_DOWN_SECONDS,
    Outbox,
)

PAGE = 100


def _message(number: int, stored: bool = False) -> SendMessage:
    return SendMessage(
        id=number,
        protocol="prpl-jabber",
        ext_user="alice@example.org",
        contact="bob@example.org",
        text=f"text {number}",
        sip_user="alice@example.org",
        call_id=f"call-{number}",
        stored=stored,
    )


class Table:
    """The rows, with answers given when the test wants them."""

    def __init__(self, *messages: SendMessage) -> None:
        self.rows = {message.id: message for message in messages}
        self.fails = False
        self.marks = False
        self._answers: list[Callable[[], None]] = []

    def write(self, message: SendMessage, done: Callable[[bool], None]) -> None:
        well = not self.fails
        if well:
            self.rows[message.id] = message
        self._answers.append(lambda: done(well))

    def erase(self, number: int, done: Callable[[], None]) -> bool:
        self.rows.pop(number, None)
        if not self.marks:
            self._answers.append(done)
        return self.marks

    def load(self, after: int, done: Callable[[list[SendMessage] | None], None]) -> None:
        page = [self.rows[number] for number in sorted(self.rows) if number > after][:PAGE]  # as they are now
        self._answers.append(lambda: done(None if self.fails else page))

    def answer(self) -> None:
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()


class Line:
    """An outbox, its table and what has been handed over; the network acknowledges when the test says so."""

    def __init__(self, *rows: SendMessage, backlog: int = 0, always: bool = False) -> None:
        self.now = 1000.0
        self.table = Table(*rows)
        self.outbox = Outbox(self.table, backlog, always, lambda: self.now)
        self.handed: list[int] = []

    def pump(self) -> None:
        while message := self.outbox.next():
            self.outbox.take()
            self.handed.append(message.id)

    def run(self) -> None:
        """Until nothing moves any more, with a network that acknowledges at once."""
        for _ in range(10_000):
            self.pump()
            done = [number for number in self.handed if self.outbox.acknowledged(_message(number).ident)]
            self.table.answer()
            if not done and not self.outbox:
                return

    def arrive(self, number: int, stored: bool = False) -> None:
        """A command from a SIP worker, who has written the row if there is one."""
        message = _message(number, stored)
        if stored:
            self.table.rows[number] = message
        self.outbox.add(message)


def test_order_and_acknowledgement() -> None:
    line = Line()
    for number in (1, 2, 3):
        line.arrive(number)
    line.pump()
    assert line.handed == [1, 2, 3]
    assert len(line.outbox) == 3
    for number in (1, 2, 3):
        message = line.outbox.acknowledged(_message(number).ident)
        assert message is not None
        assert message.id == number
    assert not line.outbox
    assert line.outbox.acknowledged(_message(1).ident) is None


def test_only_some_are_in_flight() -> None:
    line = Line()
    for number in range(1, 2 * MOST_IN_FLIGHT + 1):
        line.arrive(number)
    line.pump()
    assert len(line.handed) == MOST_IN_FLIGHT
    line.outbox.acknowledged(_message(1).ident)
    line.pump()
    assert len(line.handed) == MOST_IN_FLIGHT + 1


def test_more_are_in_flight_on_a_connection_that_has_lasted() -> None:
    line = Line()
    line.now += STEADY_SECONDS
    line.arrive(1)
    line.pump()
    line.now += 2 * SWIFT_SECONDS
    for number in range(2, 30):
        line.arrive(number)
    line.pump()
    assert len(line.handed) == MOST_WHEN_STEADY
    line.outbox.connection_lost()
    line.handed.clear()
    line.pump()
    assert len(line.handed) == MOST_IN_FLIGHT, "it may be lost again"


def test_still_more_are_in_flight_while_the_network_acknowledges_at_once() -> None:
    line = Line()
    line.now += STEADY_SECONDS
    for number in range(1, 40):
        line.arrive(number)
    line.pump()
    assert len(line.handed) == MOST_WHEN_SWIFT
    line.now += 2 * SWIFT_SECONDS
    for number in range(1, 5):
        line.outbox.acknowledged(_message(number).ident)
    line.pump()
    assert len(line.handed) == MOST_WHEN_SWIFT, "the fifth was handed over long ago"
    for number in range(5, MOST_WHEN_SWIFT + 1):
        line.outbox.acknowledged(_message(number).ident)
    line.pump()
    assert len(line.handed) == 2 * MOST_WHEN_SWIFT


def test_a_lost_connection_puts_back_in_order_and_writes_down() -> None:
    line = Line()
    for number in range(1, 6):
        line.arrive(number)
    line.pump()
    line.outbox.acknowledged(_message(1).ident)
    line.arrive(6)
    line.outbox.connection_lost()
    assert sorted(line.table.rows) == [2, 3, 4, 5, 6]
    line.handed.clear()
    line.run()
    assert line.handed == [2, 3, 4, 5, 6]
    assert line.table.rows == {}


def test_where_every_message_has_a_row_few_are_in_flight_until_their_rows_are_gone() -> None:
    line = Line(always=True)
    for number in range(1, 10):
        line.arrive(number, stored=True)
    line.pump()
    assert line.handed == list(range(1, MOST_IN_FLIGHT + 1))
    line.outbox.acknowledged(_message(1).ident)
    line.pump()
    assert len(line.handed) == MOST_IN_FLIGHT, "its row is not gone yet"
    line.table.answer()
    line.pump()
    assert len(line.handed) == MOST_IN_FLIGHT + 1
    line.run()
    assert line.handed == list(range(1, 10))


def test_a_marked_message_makes_room_before_its_row_is_gone() -> None:
    line = Line(always=True)
    line.table.marks = True
    for number in range(1, 10):
        line.arrive(number, stored=True)
    for number in range(1, 7):
        line.pump()
        assert line.handed == list(range(1, MOST_IN_FLIGHT + number))
        line.outbox.acknowledged(_message(number).ident)
    line.table.marks = False  # the file is full
    line.pump()
    line.outbox.acknowledged(_message(7).ident)
    line.pump()
    assert line.handed == list(range(1, 10))
    line.run()
    assert not line.outbox


def test_an_acknowledgement_read_after_the_connection_was_lost_still_counts() -> None:
    line = Line()
    for number in (1, 2, 3):
        line.arrive(number)
    line.pump()
    line.outbox.connection_lost()
    assert line.outbox.acknowledged(_message(1).ident) is not None
    line.handed.clear()
    line.pump()
    assert line.handed == [2, 3]
    line.outbox.connection_lost()
    assert line.outbox.acknowledged(_message(1).ident) is None
    line.run()
    assert line.table.rows == {}


def test_a_connection_lost_while_sending_keeps_the_message_once() -> None:
    line = Line()
    line.arrive(1)
    message = line.outbox.next()
    assert message is not None
    line.outbox.take()
    line.outbox.connection_lost()  # libpurple reports it from within the call
    line.outbox.connection_lost()
    assert len(line.outbox) == 1
    line.run()
    assert line.handed == [1]


def test_what_stays_is_written_down_and_what_the_database_refused_is_tried_again() -> None:
    line = Line()
    line.arrive(1)
    line.pump()
    line.outbox.sweep()
    assert line.table.rows == {}  # just handed over
    line.now += WRITE_DOWN_SECONDS + 0.1
    line.table.fails = True
    line.outbox.sweep()
    line.table.answer()
    assert line.table.rows == {}
    line.table.fails = False
    line.outbox.sweep()
    line.table.answer()
    assert list(line.table.rows) == [1]
    line.outbox.acknowledged(_message(1).ident)
    assert line.table.rows == {}


def test_rows_of_the_start_go_first() -> None:
    rows = [_message(number, stored=True) for number in range(1, 3 * PAGE)]
    line = Line(*rows, backlog=len(rows))
    line.arrive(5000)
    line.pump()
    assert line.handed == []
    line.run()
    assert line.handed == [*range(1, 3 * PAGE), 5000]
    assert line.table.rows == {}


def test_an_unknown_backlog_may_be_empty() -> None:
    line = Line(backlog=1)
    line.arrive(7)
    line.run()
    assert line.handed == [7]


@pytest.mark.parametrize("count", [WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 17])
def test_more_than_memory_holds(count: int) -> None:
    line = Line()
    for number in range(1, count + 1):
        line.arrive(number, stored=True)
    assert len(line.outbox._waiting) <= WINDOW
    assert len(line.outbox) == count
    line.run()
    assert line.handed == list(range(1, count + 1))
    assert line.table.rows == {}


def test_messages_that_come_while_rows_are_read() -> None:
    line = Line()
    total = 2 * WINDOW
    for number in range(1, WINDOW + 100):
        line.arrive(number, stored=True)
    for number in range(WINDOW + 100, total + 1):
        line.pump()
        for known in list(line.outbox._in_flight):
            line.outbox.acknowledged(known)
        line.arrive(number, stored=True)
        line.table.answer()
    line.run()
    assert line.handed == list(range(1, total + 1))


def test_a_row_read_before_its_command_comes_is_one_message() -> None:
    line = Line(_message(1, stored=True), backlog=1)
    line.table.rows[2] = _message(2, stored=True)  # committed, the command still on its way
    line.pump()
    line.table.answer()
    line.pump()
    line.outbox.add(_message(2, stored=True))
    line.run()
    assert line.handed == [1, 2]


def test_a_command_may_come_after_the_page_behind_the_one_that_had_its_row() -> None:
    line = Line(_message(1, stored=True), backlog=1)
    line.table.rows[2] = _message(2, stored=True)  # committed, the command still on its way
    for _ in range(3):
        line.pump()
        line.table.answer()
    line.outbox.add(_message(2, stored=True))
    line.run()
    assert line.handed == [1, 2]
    line.outbox.learn_of_rows(1)
    line.outbox.add(_message(2, stored=True))
    line.run()
    assert line.handed == [1, 2], "nor after the message has arrived"


@pytest.mark.parametrize("always", [False, True])
def test_commands_that_come_late_take_no_room(always: bool) -> None:
    line = Line(backlog=1, always=always)
    for number in range(1, 4 * MOST_WHEN_STEADY):
        line.table.rows[number] = _message(number, stored=True)
        line.outbox.learn_of_rows(1)
        line.pump()
        line.table.answer()
        line.pump()
        line.table.answer()
        line.outbox.add(_message(number, stored=True))
        line.run()
    assert line.handed == list(range(1, 4 * MOST_WHEN_STEADY))


def test_what_is_handed_over_twice_is_awaited_once() -> None:
    line = Line()
    for number in range(1, MOST_IN_FLIGHT + 1):
        for _ in range(2):
            line.outbox.add(_message(number, stored=True))
        line.pump()
        line.outbox.acknowledged(_message(number).ident)
        line.outbox.acknowledged(_message(number).ident)
    line.handed.clear()
    for number in range(11, 11 + MOST_IN_FLIGHT):
        line.arrive(number)
    line.pump()
    assert line.handed == list(range(11, 11 + MOST_IN_FLIGHT))


def test_pages_are_forgotten_when_no_command_can_come_any_more() -> None:
    line = Line(_message(1, stored=True), backlog=1)
    line.run()
    assert not line.outbox
    assert not line.outbox.at_rest, "a command may come"
    for _ in range(COMMAND_SWEEPS):
        line.outbox.sweep()
    assert line.outbox.at_rest


def test_a_row_that_passes_by_while_the_last_page_is_read_is_not_forgotten() -> None:
    line = Line(backlog=1)
    line.pump()  # asks for a page: the database finds none
    line.arrive(3, stored=True)
    line.table.answer()
    line.run()
    assert line.handed == [3]


def test_a_row_with_a_lower_id_that_comes_too_late_for_the_page_is_not_forgotten() -> None:
    line = Line(_message(1, stored=True), _message(3, stored=True), backlog=2)
    line.pump()  # asks for a page
    line.arrive(2, stored=True)  # two SIP workers wrote 2 and 3 at the same time
    line.table.answer()
    line.run()
    assert line.handed == [1, 2, 3]


def test_a_database_that_fails_is_asked_again() -> None:
    line = Line(_message(1, stored=True), backlog=1)
    line.table.fails = True
    line.pump()
    line.table.answer()
    assert line.handed == []
    line.table.fails = False
    line.run()
    assert line.handed == [1]


def test_retried_rows_are_read() -> None:
    line = Line()
    line.arrive(10)
    line.table.rows[4] = _message(4, stored=True)
    line.outbox.learn_of_rows(1)
    line.run()
    assert sorted(line.handed) == [4, 10]


def test_an_acknowledgement_while_rows_are_read_again() -> None:
    line = Line(always=True)
    for number in (1, 2):
        line.arrive(number, stored=True)
    line.pump()
    line.outbox.learn_of_rows(2)
    line.pump()  # asks for a page: the database finds both
    line.outbox.acknowledged(_message(1).ident)
    line.table.answer()
    line.run()
    assert line.handed == [1, 2]
    assert line.table.rows == {}


def test_a_message_is_removed_while_rows_are_read() -> None:
    line = Line(*(_message(number, stored=True) for number in (1, 2, 3)), backlog=3)
    line.pump()  # asks for a page
    del line.table.rows[2]  # purplectl queue drop
    assert line.outbox.remove(2)
    line.table.answer()
    line.run()
    assert line.handed == [1, 3]


def test_a_waiting_message_is_removed_while_rows_are_read_again() -> None:
    line = Line()
    line.arrive(1, stored=True)
    line.outbox.learn_of_rows(1)
    line.pump()  # asks for a page
    del line.table.rows[1]
    assert line.outbox.remove(1)
    line.table.answer()
    line.run()
    assert line.handed == []


def test_what_was_in_flight_is_sent_again_while_rows_are_read_again() -> None:
    line = Line(always=True)
    for number in (1, 2):
        line.arrive(number, stored=True)
    line.pump()
    line.outbox.learn_of_rows(2)
    line.pump()  # asks for a page
    line.outbox.connection_lost()
    line.table.answer()
    line.handed.clear()
    line.run()
    assert line.handed == [1, 2]


def test_a_row_that_is_taken_back_from_those_set_aside_is_sent() -> None:
    """Whatever is remembered of its id: the row says that it is to be sent."""
    line = Line(_message(1, stored=True), backlog=1)
    line.run()
    line.table.rows[1] = _message(1, stored=True)
    line.outbox.learn_of_rows(1)
    line.run()
    assert line.handed == [1, 1]


def test_rows_learned_of_while_much_waits() -> None:
    line = Line()
    for number in range(100, 100 + WINDOW):
        line.arrive(number, stored=True)
    line.table.rows[4] = _message(4, stored=True)
    line.outbox.learn_of_rows(WINDOW + 1)
    line.run()
    assert line.handed == [4, *range(100, 100 + WINDOW)]
    assert line.table.rows == {}


def test_way() -> None:
    line = Line()
    seen = [line.outbox.way]
    line.arrive(1)
    line.pump()
    seen.append(line.outbox.way)
    line.now += STALL_SECONDS + 0.1  # the server does not answer
    seen.append(line.outbox.way)
    line.outbox.acknowledged(_message(1).ident)
    seen.append(line.outbox.way)
    line.outbox.learn_of_rows(1)
    seen.append(line.outbox.way)
    assert seen == [Way.DIRECT, Way.DIRECT, Way.QUEUE, Way.DIRECT, Way.QUEUE]


def test_without_acknowledgements_time_settles_it() -> None:
    line = Line()
    line.arrive(1)
    line.pump()
    line.outbox.unconfirmed(_message(1).ident)
    line.now += STALL_SECONDS + 0.1
    assert line.outbox.way is Way.DIRECT
    assert line.outbox.sweep() == []
    line.now += SETTLED_SECONDS
    assert line.outbox.sweep() == [_message(1).ident]


def test_without_acknowledgements_nothing_waits_for_them() -> None:
    line = Line()
    for number in range(1, 50):
        line.arrive(number)
    while message := line.outbox.next():
        line.outbox.take()
        line.outbox.unconfirmed(message.ident)
        line.handed.append(message.id)
    assert line.handed == list(range(1, 50))


def test_remove() -> None:
    line = Line()
    for number in range(1, MOST_IN_FLIGHT + 3):
        line.arrive(number)
    line.pump()
    assert not line.outbox.remove(1)  # in flight: nobody can say
    assert line.outbox.remove(MOST_IN_FLIGHT + 1)
    assert line.outbox.remove(999_999)
    line.run()
    assert MOST_IN_FLIGHT + 1 not in line.handed
    assert MOST_IN_FLIGHT + 2 in line.handed


def test_a_connection_without_any_acknowledgement_is_stuck() -> None:
    line = Line()
    line.arrive(1)
    line.pump()
    line.now += STUCK_SECONDS - 1
    assert not line.outbox.stuck
    line.now += 2
    assert line.outbox.stuck


def test_what_waits_for_room_is_written_down_after_a_while() -> None:
    line = Line()
    for number in range(1, MOST_IN_FLIGHT + 2):
        line.arrive(number)
    line.pump()
    line.outbox.sweep()
    assert line.table.rows == {}
    line.now += WRITE_DOWN_SECONDS + 0.1
    line.outbox.sweep()
    assert sorted(line.table.rows) == list(range(1, MOST_IN_FLIGHT + 2))
