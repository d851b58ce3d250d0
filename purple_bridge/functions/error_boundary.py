"""Where an error of a function becomes its return code, a line of the log, and the answer of ``reply_error``."""

from __future__ import annotations

import logging
from collections.abc import Callable

from purple_bridge.bodies import content
from purple_bridge.errors import (
    BadRequest,
    GatewayError,
    IntervalTooBrief,
    NoAccount,
    NoContact,
    UnsupportedBody,
    UnsupportedEncoding,
)
from purple_bridge.functions.process import Process
from purple_bridge.functions.publish import MIN_EXPIRES, PIDF_TYPE
from purple_bridge.functions.request import Request
from purple_bridge.live import LiveSettings
from purple_bridge.metrics import REFUSALS

logger = logging.getLogger(__name__)

TAKEN = 1
REQUEST_NUMBER = "$mi"


class ErrorBoundary:
    """Around every function that can be refused; owns the error of the one that failed last."""

    def __init__(self, request: Request, live: LiveSettings, process: Process) -> None:
        self._request, self._live, self._process = request, live, process
        self._error: GatewayError | None = None
        self._failed_for = ""  # the request of that function, by Kamailio's number

    def guarded(self, function: Callable[[], object]) -> int:
        """A GatewayError is an answer; anything else is logged with the Call-ID and answered 500."""
        self._error = None
        self._live.look()
        try:
            function()
        except UnicodeDecodeError:  # RFC 3261 §7.3.1
            return self.refused(BadRequest("Headers are not UTF-8"))
        except GatewayError as error:
            return self.refused(error)
        except Exception:
            own = GatewayError("Server Internal Error")
            self.failed(own)
            self._process.meter.count(REFUSALS, str(own.status))
            logger.exception("[%s] a request failed", self._request.for_log("$ci"))
            return -own.status
        return TAKEN

    def refused(self, error: GatewayError) -> int:
        self._process.meter.count(REFUSALS, str(error.status))
        self._log_refusal(error)
        return self.failed(error)

    def no(self, error: GatewayError) -> int:
        """The answer to a question of the script: what failed before it, for the same request, is still what failed."""
        if self._error is None or self._failed_for != self._request.text(REQUEST_NUMBER):
            self.failed(error)
        return -error.status

    def failed(self, error: GatewayError) -> int:
        """What ``reply`` sends from now on; the code for the script."""
        self._error, self._failed_for = error, self._request.text(REQUEST_NUMBER)
        return -error.status

    def reply(self) -> None:
        """See ``PurpleFunctions.reply_error``."""
        error = self._error or GatewayError("Server Internal Error")
        if error.retry_after is not None:
            self._request.add_to_reply(f"Retry-After: {error.retry_after}")
        if isinstance(error, IntervalTooBrief):  # RFC 3903 §6
            self._request.add_to_reply(f"Min-Expires: {MIN_EXPIRES}")
        if isinstance(error, UnsupportedEncoding):
            self._request.add_to_reply(f"Accept-Encoding: {', '.join(self._encodings())}")
        elif isinstance(error, UnsupportedBody):
            # RFC 3428 §7, RFC 3261 §21.4.13: 415 lists what is understood
            self._request.add_to_reply(f"Accept: {', '.join(self._media_types())}")
        self._log_refusal(error, answered=True)
        self._request.reply(error.status, error.reason)

    def _media_types(self) -> tuple[str, ...]:
        return (PIDF_TYPE,) if self._request.text("$rm") == "PUBLISH" else content.ACCEPTED

    def _encodings(self) -> tuple[str, ...]:
        return ("identity",) if self._request.text("$rm") == "PUBLISH" else content.ENCODINGS

    def _log_refusal(self, error: GatewayError, answered: bool = False) -> None:
        """Once for each refusal. That something is not for the gateway becomes one when the script answers with it."""
        routine = isinstance(error, (NoAccount, NoContact)) or self._request.for_log("$rm") == "OPTIONS"
        if answered and not routine:
            return
        level = logging.DEBUG if routine and not answered else logging.WARNING if error.status >= 500 else logging.INFO
        if logger.isEnabledFor(level):
            words = (self._request.for_log(variable) for variable in ("$ci", "$rm", "$fu", "$ru"))
            became = "not taken" if routine and not answered else "refused"
            logger.log(level, "[%s] %s from %s to %s %s: %d %s", *words, became, error.status, error.reason)
