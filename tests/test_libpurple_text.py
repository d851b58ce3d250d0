"""Plain text to libpurple's markup and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.libpurple.text import escape, strip

# what XML can carry (content.text_of lets nothing else through), without the two that HTML folds
_TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff\xa0"))


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("", ""),
        ("Hello", "Hello"),
        ("x < y & z > 1", "x &lt; y &amp; z &gt; 1"),
        ("<b>bold</b>", "&lt;b&gt;bold&lt;/b&gt;"),
        ("x &lt;tag&gt;", "x &amp;lt;tag&amp;gt;"),
        ("<script>alert('x')</script>", "&lt;script&gt;alert('x')&lt;/script&gt;"),
        ('say "hi" it\'s', 'say "hi" it\'s'),
        ("one\ntwo", "one<br/>two"),
        ("one\r\ntwo\rthree", "one<br/>two<br/>three"),
        ("http://example.org/?a=1&b=2", "http://example.org/?a=1&amp;b=2"),
        ("Grüße 🐄", "Grüße 🐄"),
    ],
)
def test_escape_and_back(text: str, markup: str) -> None:
    assert escape(text) == markup
    assert strip(markup) == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<b>bold</b> and <i>italic</i>", "bold and italic"),
        ("one<br>two<BR/>three", "one\ntwo\nthree"),
        ("<html xmlns='http://jabber.org/protocol/xhtml-im'><body>x</body></html>", "x"),
        ("&lt;tag&gt; &amp; &quot;q&quot; &apos;a&apos;", "<tag> & \"q\" 'a'"),
        ("&#128004;", "🐄"),
        ("a & b", "a & b"),
        ("1 < 2", "1 < 2"),
        ('<a href="http://example.org/">example</a>', "example (http://example.org/)"),
    ],
)
def test_markup_of_networks_becomes_text(markup: str, text: str) -> None:
    assert strip(markup) == text


@given(_TEXT)
def test_any_text_comes_back(text: str) -> None:
    assert strip(escape(text)) == text
