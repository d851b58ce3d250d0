"""Pictures of contacts that lie somewhere on the web (XEP-0084 §4.2.2): owns that libpurple never fetches one.

The contact chooses the address, so it could have the gateway ask whatever it likes, and learn where the gateway is.
"""

from __future__ import annotations

from . import xmlnode

EVENT = b"http://jabber.org/protocol/pubsub#event"
METADATA = b"urn:xmpp:avatar:metadata"


def forget_urls(event: int) -> None:
    """``event``: the element of XEP-0060 in a <message/>. A picture that is kept on the contact's server stays."""
    for _namespace, _name, items in list(xmlnode.children(event)):
        for _namespace, _name, item in list(xmlnode.children(items)):
            for namespace, _name, metadata in list(xmlnode.children(item)):
                if namespace == METADATA:
                    _forget(metadata)


def _forget(metadata: int) -> None:
    for _namespace, _name, info in list(xmlnode.children(metadata)):
        if xmlnode.attribute(info, b"url"):
            xmlnode.free(info)
