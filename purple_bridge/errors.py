"""Every error this package raises on purpose; each knows the SIP status that answers it.

``GatewayError``            something a SIP request asked for cannot be done
``├─ BadRequest``           400, the request cannot be understood
``├─ NoAccount``            403, the sender has no account on the network
``├─ NoContact``            404, the recipient is not a known IM contact
``├─ NotOnline``            480, the sender's account is not signed on
``├─ ConditionFailed``       412, a publication to be changed that is not there
``├─ UnsupportedBody``      415, a content type this gateway cannot carry
``│  └─ UnsupportedEncoding``  415, a Content-Encoding
``├─ NoDialog``             481, a subscription that is not there, or is somebody else's
``├─ IntervalTooBrief``     423, a publication that would end at once
``├─ BodyTooLarge``         413
``└─ Overloaded``           503 with Retry-After, a worker's queue is full or its libpurple is down
``   └─ TooFast``           503 with Retry-After, more than a parameter allows
``ConfigurationError``      a parameter is wrong: stops the start, names the parameter
"""

from __future__ import annotations

import math
import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})  # controls, formats (bidi overrides, zero width), surrogates


class GatewayError(Exception):
    """``status``: SIP status code; ``str(error)``: the reason phrase, in words a person can act on."""

    status = 500
    retry_after: int | None = None

    @property
    def reason(self) -> str:
        """One line of visible text, for the reason phrase of a SIP response: names in it come from strangers."""
        visible = "".join(one for one in str(self) if one.isspace() or unicodedata.category(one) not in _INVISIBLE)
        return " ".join(visible.split()) or "Server Internal Error"


class BadRequest(GatewayError):
    status = 400


class NoAccount(GatewayError):
    status = 403


class NoContact(GatewayError):
    status = 404


class ConditionFailed(GatewayError):
    status = 412


class BodyTooLarge(GatewayError):
    status = 413


class UnsupportedBody(GatewayError):
    status = 415


class UnsupportedEncoding(UnsupportedBody):
    """The answer lists what is understood in Accept-Encoding (RFC 3261 §21.4.13)."""


class IntervalTooBrief(GatewayError):
    status = 423


class NotOnline(GatewayError):
    status = 480
    retry_after = 10


class NoDialog(GatewayError):
    status = 481


class Overloaded(GatewayError):
    status = 503
    retry_after = 2


class TooFast(Overloaded):
    """RFC 3261 §21.5.4; not 429, which in SIP asks for the identity of a referrer (RFC 3892 §5)."""

    def __init__(self, text: str, seconds: float) -> None:
        """``seconds``: until the next one may come."""
        super().__init__(text)
        self.retry_after = max(1, math.ceil(seconds))


class ConfigurationError(Exception):
    """A wrong or missing setting; the message names the parameter and says what to do."""
