"""SIP to instant messaging gateway for Kamailio: see README.md.

``install(KSR)``, called in a KEMI script's mod_init, adds ``KSR.purple``: see purple_bridge.functions.
"""

from __future__ import annotations

from typing import Any

from purple_bridge.addresses import GATEWAY_SENDER

__all__ = ["GATEWAY_SENDER", "__version__", "install"]

__version__ = "0.1.0"


def install(ksr: Any) -> None:
    """Add ``KSR.purple`` to Kamailio's KEMI object. Raises ConfigurationError, which stops Kamailio's start."""
    from purple_bridge.runtime import install as install_runtime  # noqa: PLC0415 - loads libpurple, not for purplectl

    install_runtime(ksr)
