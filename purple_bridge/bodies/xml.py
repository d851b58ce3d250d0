"""Owns small XML bodies of messages, read from strangers and written; must not know what they mean."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from purple_bridge.bodies import content
from purple_bridge.errors import BadRequest

# XML 1.0 §2.2 "Char": everything else cannot be written, not even as a reference.
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def root_of(body: bytes, tag: str, charset: str | None = None) -> Element:
    """The root element of a document, which must be ``{namespace}name`` as in ``tag``.

    ``charset``: the Content-Type parameter, which RFC 7303 §3.1 puts before the XML declaration.
    Raises BodyTooLarge above ``content.MAX_BODY`` octets, BadRequest for everything that is no such document,
    and for a DTD or entities.
    """
    content.check_size(body)
    root = parse(body, charset)
    if root.tag != tag:
        raise BadRequest(f"the XML body is {root.tag[:60]!a} and not {tag}")
    return root


def parse(body: bytes, charset: str | None = None) -> Element:
    """The root element of any document; BadRequest for what is none, and for a DTD or entities."""
    parser = DefusedXMLParser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(content.decode(body, charset) if charset else body)
        root: Element = parser.close()
    except DefusedXmlException:
        raise BadRequest("an XML body must not have a DTD or entities") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        raise BadRequest(f"the body is not well-formed XML: {error}") from None
    return root


def text_of(root: Element, tag: str) -> str:
    """The text of the first child with this tag, without white space around it; "" without one."""
    return (root.findtext(tag) or "").strip()


def document(root: Element) -> bytes:
    """A document in UTF-8. Raises BadRequest for a text that XML cannot carry."""
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if NOT_XML.search(text):
                raise BadRequest(f"a character that XML cannot carry: {text[:60]!a}")
    written: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written
