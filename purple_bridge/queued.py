"""How a message becomes a row of ``purple_queue``, is written by a SIP worker, and comes back from the row."""

from __future__ import annotations

import logging
import time

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import logs
from purple_bridge.commands import SendMessage
from purple_bridge.db.queue import QueueConnection, QueueRow
from purple_bridge.db.words import in_words
from purple_bridge.errors import GatewayError
from purple_bridge.ownership import account_digest

logger = logging.getLogger(__name__)

LONGEST = 255  # characters of the columns that are there for people

PAUSE = 5.0  # seconds without a try after one failed: a dead database must not hold every request up

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(SendMessage)


def row_of(message: SendMessage) -> QueueRow:
    """The message itself is JSON, which an operator can read; the other columns are what queries need."""
    return QueueRow(
        id=message.id,
        account=account_key(message.protocol, message.ext_user),
        ext_prot=message.protocol,
        ext_user=message.ext_user,
        sip_user=message.sip_user,
        contact=message.contact[:LONGEST],
        call_id=message.call_id[:LONGEST],
        fingerprint=message.fingerprint.hex(),
        created=int(time.time()),
        expires=int(message.expires_at),
        crashes=0,
        held=0,
        message=_encoder.encode(message),
    )


def message_of(row: QueueRow) -> SendMessage | None:
    """None, logged, for a row that another version wrote or somebody changed."""
    try:
        message = _decoder.decode(row.message)
    except msgspec.MsgspecError as error:
        logger.error("[%s] purple_queue: row %d cannot be read: %s", row.call_id, row.id, error)
        return None
    return msgspec.structs.replace(message, id=row.id, stored=True)


def account_key(protocol: str, ext_user: str) -> str:
    """The column ``account``: the same for every spelling of one external account."""
    return account_digest(protocol, ext_user).hex()


class QueueUnavailable(GatewayError):
    """The message has to wait, and cannot be written down."""

    status = 503
    retry_after = 5


class QueueWriter:
    """Belongs to one SIP worker, who answers 202 only after ``write``; ``engine``: with a short time limit."""

    def __init__(self, engine: Engine) -> None:
        self._connection = QueueConnection(engine)
        self._not_before = 0.0

    def write(self, message: SendMessage) -> None:
        """Raises QueueUnavailable."""
        if time.monotonic() < self._not_before:
            raise QueueUnavailable("The message queue cannot be written")
        try:
            self._connection.insert([row_of(message)])
        except SQLAlchemyError as error:
            self._not_before = time.monotonic() + PAUSE
            logger.error("%s purple_queue: %s", logs.of(message), in_words(error))
            raise QueueUnavailable("The message queue cannot be written") from error
