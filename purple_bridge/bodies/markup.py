"""Owns markup: what IM networks and phones send as HTML, as plain text or made safe; must not know who sends it.

The rule for white space: spaces and line breaks of the text stay as they are, because IM clients mean them. Only
what lays out the tags themselves goes: one line break next to a tag that breaks the line, and white space with
nothing else on its line between two tags of blocks.

What is no complete tag of an HTML element (``a < b``, ``<3``, ``List<int>``) is text. Everything takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from html import escape, unescape
from html.entities import html5


def to_plain(html: str) -> str:
    """Markup of an IM network (libpurple's own, XHTML-IM of XEP-0071, HTML) as text for a phone.

    A link keeps its target: ``text <http://…>``, but only the text where that is the target already.
    """
    if "<" not in html and "&" not in html:
        return html
    return _plain(_pieces(html))


def from_html(html: str) -> tuple[str, str]:
    """(markup, text) of a ``text/html`` body.

    The markup is a well-formed XHTML fragment of text, ``<br/>``, ``KEPT`` elements without attributes, and links
    to ``http``, ``https``, ``mailto``, ``xmpp`` and ``sip`` addresses. Other elements are left out around their
    text; blocks become line breaks. Characters XML cannot write are left out of the markup, not of the text.
    """
    pieces = _pieces(html)
    return _markup(pieces), _plain(pieces)


KEPT = frozenset({"b", "em", "i", "s", "strong", "u"})
"""Elements that ``from_html`` keeps, beside links and line breaks."""


# --- tokens: what is a tag, and what is text ---------------------------------------------------------------

_BLOCK_NAMES = """
address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer
form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre section summary table tbody tfoot thead tr
ul
"""
_INLINE_NAMES = """
a abbr acronym audio b base basefont bdi bdo big blink br button canvas cite code col colgroup data del dfn em embed
font i iframe img input ins kbd label link map mark marquee meta nobr noscript object option output param picture q rp
rt ruby s samp select small source span strike strong sub sup svg td textarea th time track tt u var video wbr
"""
_BLOCKS, _INLINE = frozenset(_BLOCK_NAMES.split()), frozenset(_INLINE_NAMES.split())
_UNSEEN_END = {
    "head": re.compile(r"</head\s*>|(?=<body[\s>])", re.IGNORECASE),
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
    "title": re.compile(r"</title\s*>", re.IGNORECASE),
}
"""Elements whose content nobody is to see, and where it ends."""

# No alternative reads over a "<" outside quotes, so hostile text takes linear time. Groups are repeated with "*":
# Python 3.11.2 matches "(?:...)*+" wrongly (CPython issue 106052).
_TAG = re.compile(
    r"""<!--(?:[^<-]|-(?!->)|<(?!!--))*-->
      | <(?:!doctype\s|\?xml|!\[)[^<>]*>
      | <(?P<end>/?)(?P<name>[a-z][a-z0-9]*(?:[:-][a-z][a-z0-9]*)*)
        (?P<rest>(?=[\s/>])(?:[^<>"']|"[^"]*"|'[^']*')*)>""",
    re.VERBOSE | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    r"""(?<![^\s"'/])([a-z][a-z0-9:-]*+)\s*+=\s*+(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Tag:
    """``name``: lower case. ``href``: of a link's start tag, decoded."""

    name: str
    closing: bool = False
    href: str = ""


@dataclass(frozen=True, slots=True)
class _RawTag:
    name: str
    closing: bool
    attributes: str

    def value(self, name: str) -> str:
        """The attribute, decoded, without white space around it; "" if it is not there."""
        for attribute in _ATTRIBUTE.finditer(self.attributes):
            if attribute[1].lower() == name:
                return _decoded(attribute[2] or attribute[3] or attribute[4] or "").strip()
        return ""


def _tokens(html: str) -> Iterator[str | _RawTag]:
    """Tags, and the text between them, not decoded."""
    done = at = 0  # all before ``done`` was told
    endless: set[str] = set()
    while tag := _TAG.search(html, at):
        at = tag.end()
        name = (tag["name"] or "").lower()
        if name in _UNSEEN_END and not tag["end"] and name not in endless:
            end = _UNSEEN_END[name].search(html, at)
            at = end.end() if end else at
            endless |= set() if end else {name}
        if name and (not _is_element(name) or name in endless):
            continue
        if tag.start() > done:
            yield html[done : tag.start()]
        if name:
            yield _RawTag(name, tag["end"] == "/", tag["rest"])
        done = at
    if done < len(html):
        yield html[done:]


def _is_element(name: str) -> bool:
    """An element of HTML, of another XML language (``o:p``), or a custom one, which has a hyphen."""
    return name in _BLOCKS or name in _INLINE or name in _UNSEEN_END or ":" in name or "-" in name


_REFERENCE = re.compile(r"&(?:#(?:[0-9]{1,7}|[xX][0-9a-fA-F]{1,6})|[A-Za-z][A-Za-z0-9]{1,31});")


def _decoded(text: str) -> str:
    """Character references as characters; what is none, or has no semicolon (``?a=1&copy=2``), stays."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(reference: re.Match[str]) -> str:
    text = reference[0]
    if text[1] != "#" and text[1:] not in html5:
        return text
    return unescape(text).replace("\xa0", " ")


# --- layout: lines, and inline tags that nest ---------------------------------------------------------------

_Piece = str | _Tag


class _Line(Enum):
    """What stands on the line that is being written."""

    NOTHING = auto()
    TEXT = auto()
    BREAK = auto()
    """It was ended by ``<br>``: what follows, even an end of the message, is on the next line."""
    EDGE = auto()
    """It was ended by the edge of a block: if text follows, that is on the next line."""


_FIRST_BREAK = re.compile(r"\A\r?\n")
_LAST_BREAK = re.compile(r"\r?\n\Z")


class _Layout:
    """Tokens in, pieces out: decoded text with its line breaks, and tags of ``KEPT`` and links, all closed."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []
        self._line = _Line.NOTHING
        self._after_tag = False  # a tag that breaks the line came last
        self._held = ""  # white space that goes if the edge of a block follows
        self._open: list[_Tag] = []

    def text(self, raw: str) -> None:
        if self._after_tag:
            raw = _FIRST_BREAK.sub("", raw)
        if self._line is not _Line.TEXT and not raw.strip(" \t\r\n"):
            self._held += raw
            return
        kept = _LAST_BREAK.sub("", raw)
        self._write(self._held + _decoded(kept))
        self._held = raw[len(kept) :]

    def tag(self, tag: _RawTag) -> None:
        if tag.name == "br":
            self._break_line()
        elif tag.name == "hr":
            self._rule()
        elif tag.name in _BLOCKS:
            self._edge()
        elif tag.name in {"td", "th"}:
            self._cell(tag)
        elif tag.name == "img":
            self._image(tag)
        elif tag.name == "a" or tag.name in KEPT:
            self._inline(tag)

    def end(self) -> None:
        self._flush()
        if self._line is _Line.BREAK:
            self.pieces.append("\n")
        self._close_down_to(0)

    def _write(self, text: str) -> None:
        if self._line in {_Line.BREAK, _Line.EDGE}:
            self.pieces.append("\n")
        self.pieces.append(text)
        self._line, self._held, self._after_tag = _Line.TEXT, "", False

    def _flush(self) -> None:
        if self._held and self._line is not _Line.EDGE:
            self._write(self._held)
        self._held = ""

    def _break_line(self) -> None:
        self._flush()
        if self._line in {_Line.BREAK, _Line.EDGE}:
            self.pieces.append("\n")
        self._line, self._after_tag = _Line.BREAK, True

    def _edge(self) -> None:
        self._held, self._after_tag = "", True
        if self._line is not _Line.NOTHING:
            self._line = _Line.EDGE

    def _rule(self) -> None:
        self._edge()
        self._write("---")
        self._edge()

    def _cell(self, tag: _RawTag) -> None:
        if not tag.closing and self._line is _Line.TEXT:
            self._write(self._held + " ")

    def _image(self, tag: _RawTag) -> None:
        source = tag.value("src")
        text = tag.value("alt") or (source if re.match("https?:", source, re.IGNORECASE) else "")
        if text:
            self._write(self._held + text)

    def _inline(self, tag: _RawTag) -> None:
        """No element within itself: an inner one adds nothing, and the depth stays below ten."""
        place = next((at for at, open_ in enumerate(self._open) if open_.name == tag.name), None)
        if place is not None and (tag.closing or tag.name == "a"):
            inner = self._close_down_to(place)
            self._reopen(tag for tag in inner[1:] if tag.name != "a")
        if not tag.closing and (place is None or tag.name == "a"):
            self._reopen([_Tag(tag.name, href=tag.value("href") if tag.name == "a" else "")])

    def _close_down_to(self, place: int) -> list[_Tag]:
        closed = self._open[place:]
        self.pieces += [_Tag(tag.name, closing=True) for tag in reversed(closed)]
        del self._open[place:]
        return closed

    def _reopen(self, tags: Iterable[_Tag]) -> None:
        for tag in tags:
            self.pieces.append(tag)
            self._open.append(tag)


def _pieces(html: str) -> list[_Piece]:
    layout = _Layout()
    for token in _tokens(html):
        if isinstance(token, str):
            layout.text(token)
        else:
            layout.tag(token)
    layout.end()
    return layout.pieces


# --- plain text ---------------------------------------------------------------------------------------------

_SCHEME = re.compile(r"\A[a-z][a-z0-9+.-]*:(?://)?", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
# Nothing a person could open from a phone.
_NO_TARGET = re.compile(r"\A(?:#|(?:javascript|vbscript|data|about):|\Z)", re.IGNORECASE)


def _plain(pieces: Iterable[_Piece]) -> str:
    out: list[str] = []
    href, start = "", 0
    for piece in pieces:
        if isinstance(piece, str):
            out.append(piece)
        elif piece.name == "a" and piece.closing:
            out.append(_target("".join(out[start:]).strip(), href))
        elif piece.name == "a":
            href, start = _SPACE.sub("", piece.href), len(out)
    return "".join(out)


def _target(text: str, href: str) -> str:
    if not text or _NO_TARGET.match(href) or text == href or _bare(text) == _bare(href):
        return ""
    return f" <{href}>"


def _bare(uri: str) -> str:
    """What is the same however an address is written: without scheme and the slash at the end."""
    return _SCHEME.sub("", uri).removesuffix("/")


# --- safe markup --------------------------------------------------------------------------------------------

_SAFE_LINK = re.compile(r"""(?:https?://|mailto:|xmpp:|sip:)[^\x00-\x20\x7f-\xa0<>"\s]+""", re.IGNORECASE)
# XML 1.0 §2.2 "Char": everything else cannot be written, not even as a reference.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def _markup(pieces: Iterable[_Piece]) -> str:
    out: list[str] = []
    links = False  # whether the link that is open is written
    for piece in pieces:
        if isinstance(piece, str):
            out.append(_LINE_BREAK.sub("<br/>", escape(_NOT_XML.sub("", piece), quote=False)))
        elif piece.name != "a":
            out.append(f"</{piece.name}>" if piece.closing else f"<{piece.name}>")
        elif piece.closing:
            out.append("</a>" if links else "")
        else:
            links = _SAFE_LINK.fullmatch(piece.href) is not None
            out.append(f'<a href="{escape(_NOT_XML.sub("", piece.href))}">' if links else "")
    return "".join(out)
