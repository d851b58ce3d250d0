"""Markup: what IM networks send as phones shall show it, and what phones send as libpurple may have it."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.markup import KEPT, from_html, to_plain
from purple_bridge.libpurple.text import escape

XHTML_IM = (
    "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
    "<p>Hello <span style='color: red; font-weight: bold'>you</span></p></body></html>"
)
OUTLOOK = """<html>
<head>
<style>p.MsoNormal { margin: 0 }</style>
<title>x</title>
</head>
<body>
<!--[if gte mso 9]><xml><o:shapedefaults/></xml><![endif]-->
<p class=MsoNormal>Hello<o:p></o:p></p>

<p class=MsoNormal><o:p>&nbsp;</o:p></p>
</body>
</html>
"""

PLAIN = [
    # no markup at all
    ("", ""),
    ("Hello", "Hello"),
    ("  two  spaces\n\n and lines \t\n", "  two  spaces\n\n and lines \t\n"),
    ("nbsp\xa0as sent", "nbsp\xa0as sent"),
    # what vanishes around its text
    ("<b>bold</b> and <i>italic</i>", "bold and italic"),
    ("<u>a</u><s>b</s><em>c</em><strong>d</strong>", "abcd"),
    ("<FONT COLOR='#ff0000' SIZE=3 FACE=\"a > b\">red</FONT>", "red"),
    ("<span style='x'>a</span><big>b</big><sup>2</sup><code>d</code>", "ab2d"),
    ("<o:p>word</o:p><x-custom a=1>y</x-custom>", "wordy"),
    ("a<!-- comment > -- -->b<!---->c", "abc"),
    ("<!DOCTYPE html><?xml version='1.0'?><![endif]>a", "a"),
    ("a<wbr/>b<input type=text value='x'>c", "abc"),
    # line breaks
    ("a<br>b", "a\nb"),
    ("a<br/>b<BR />c</br>d", "a\nb\nc\nd"),
    ("a<br><br>b", "a\n\nb"),
    ("a<br>", "a\n"),
    ("<br>a", "\na"),
    ("a<br>\nb", "a\nb"),
    ("a<br>\r\nb", "a\nb"),
    ("a<br>\n\nb", "a\n\nb"),
    ("a<br> <br>b", "a\n \nb"),
    ("a\nb<b>c\n</b>d", "a\nbc\nd"),
    ("<p>a</p><p>b</p>", "a\nb"),
    ("<p>a</p>\n\n<p>b</p>", "a\nb"),
    ("<p>a<p>b", "a\nb"),
    ("<p></p><p></p>a<p></p>", "a"),
    ("a<div>b</div>c", "a\nb\nc"),
    ("a\n<div>b</div>\nc", "a\nb\nc"),
    ("<div><div><div>a</div></div></div><div>b</div>", "a\nb"),
    ("<div>a<br></div><div>b</div>", "a\nb"),
    ("<div>a</div><div><br></div><div>b</div>", "a\n\nb"),
    ("<div>a</div><div><br></div>", "a\n"),
    ("<p>a<br><br></p><p>b</p>", "a\n\nb"),
    ("<p>a</p><p>&nbsp;</p><p>b</p>", "a\n \nb"),
    ("<ul>\n <li>a</li>\n <li>b</li>\n</ul>", "a\nb"),
    ("<ol><li>a<ul><li>b</ul></ol>c", "a\nb\nc"),
    ("<blockquote>a</blockquote>b", "a\nb"),
    ("<table>\n<tr><td>a</td><td>b</td></tr>\n<tr><th>c</th> <td>d</td></tr></table>", "a b\nc  d"),
    ("<h1>a</h1>b", "a\nb"),
    ("a<hr>b", "a\n---\nb"),
    ("<hr/>", "---"),
    ("<body>\n  hi\n</body>", "  hi"),
    (XHTML_IM, "Hello you"),
    (OUTLOOK, "Hello\n "),
    # white space as sent
    ("<b>a</b>  <i>b</i>", "a  b"),
    ("<b> </b>", " "),
    ("  <b>a</b>  ", "  a  "),
    ("<pre>  a\n    b</pre>", "  a\n    b"),
    # links
    ("<a href='http://example.org/x'>this</a>", "this <http://example.org/x>"),
    ('<A HREF="http://example.org/x">http://example.org/x</A>', "http://example.org/x"),
    ("<a href='http://example.org/'>http://example.org</a>", "http://example.org"),
    ("<a href='http://example.org'>http://example.org/</a>", "http://example.org/"),
    ("<a href='https://example.org/'>example.org</a>", "example.org"),
    ("<a href=http://example.org/>example.org</a>", "example.org"),
    ("<a href='mailto:bob@example.org'>bob@example.org</a>", "bob@example.org"),
    ("<a href='mailto:bob@example.org'>Bob</a>", "Bob <mailto:bob@example.org>"),
    ("<a href='xmpp:bob@example.org'>bob@example.org</a>", "bob@example.org"),
    ("<a href='http://e.org/?a=1&amp;b=2'>http://e.org/?a=1&amp;b=2</a>", "http://e.org/?a=1&b=2"),
    ("<a href='http://e.org/a'>http://e.org/A</a>", "http://e.org/A <http://e.org/a>"),
    ("<a href='http://e.org'><b>x</b> y</a>!", "x y <http://e.org>!"),
    ("<a href='http://e.org'> x </a>", " x  <http://e.org>"),
    ("<a href='http://e.org'></a>.", "."),
    ("<a href='http://e.org/a\nb'>x</a>", "x <http://e.org/ab>"),
    ("<a href='http://e.org'>x", "x <http://e.org>"),
    ("<a href='http://e.org'>x<a href='http://f.org'>y</a></a>z", "x <http://e.org>y <http://f.org>z"),
    ("<a href='http://e.org'><div>x</div></a>y", "x <http://e.org>\ny"),
    ("<a name='top'>x</a>", "x"),
    ("<a href='#top'>x</a>", "x"),
    ("<a href='JavaScript:alert(1)'>x</a>", "x"),
    ("<a href='data:text/html,x'>x</a>", "x"),
    ("</a>x", "x"),
    # images
    ("<img src='http://e.org/a.png' alt=':-)'>", ":-)"),
    ("a <IMG SRC=https://e.org/a.png> b", "a https://e.org/a.png b"),
    ("a<img alt='' src='http://e.org/a.png'/>", "ahttp://e.org/a.png"),
    ("<img id='3'>", ""),
    ("<img src='file:///etc/passwd'>", ""),
    ("<img src='data:image/png;base64,xx' alt='cow'>", "cow"),
    ("<img data-alt='no' alt='yes'>", "yes"),
    ("<a href='http://e.org/'><img src='http://e.org/a.png'></a>", "http://e.org/a.png <http://e.org/>"),
    # content nobody is to see
    ("<script>if (a<b) alert('</b>')</script>x", "x"),
    ("<STYLE type='text/css'>b { c: d }</STYLE >x", "x"),
    ("<html><head><title>t</title></head><body>x</body></html>", "x"),
    ("<head><meta charset='utf-8'><body>x", "x"),
    ("a<script>never ended", "a<script>never ended"),
    ("<style>a</style>b<style>c", "b<style>c"),
    # references
    ("&lt;tag&gt; &amp; &quot;q&quot; &apos;a&apos;", "<tag> & \"q\" 'a'"),
    ("&#128004;&#x1F404;&#X1f404;", "🐄🐄🐄"),
    ("&eacute;&Eacute;&euro;&hellip;", "éÉ€…"),
    ("a&nbsp;&#160;&#xa0;b", "a   b"),
    ("&amp;lt;", "&lt;"),
    ("&unknown; &notit; &copy &amp &; &#; &#x; &#xg; &", "&unknown; &notit; &copy &amp &; &#; &#x; &#xg; &"),
    ("?a=1&copy=2&lt=3", "?a=1&copy=2&lt=3"),
    ("&#0;&#xD800;&#99999999;&#x110000;", "\ufffd\ufffd&#99999999;\ufffd"),
    # what only looks like markup
    ("a < b & c > d", "a < b & c > d"),
    ("I <3 you", "I <3 you"),
    ("<", "<"),
    ("<>", "<>"),
    ("</>", "</>"),
    ("</ b>", "</ b>"),
    ("< b>", "< b>"),
    ("<notatag", "<notatag"),
    ("<notatag>", "<notatag>"),
    ("<b", "<b"),
    ("<b <i>x</i>", "<b x"),
    ("<b a='>x", "<b a='>x"),
    ("List<int> x<5", "List<int> x<5"),
    ("Bob <bob@example.org> <http://example.org/> <xmpp:bob@example.org>",) * 2,
    ("<!-- not ended", "<!-- not ended"),
    ("<!important>", "<!important>"),
    ("<-- arrow", "<-- arrow"),
]


@pytest.mark.parametrize(("html", "text"), PLAIN)
def test_plain_text(html: str, text: str) -> None:
    assert to_plain(html) == text


MARKUP = [
    ("", "", ""),
    ("Hello", "Hello", "Hello"),
    ("a < b & c", "a &lt; b &amp; c", "a < b & c"),
    ("&lt;b&gt; &eacute;&nbsp;&quot;", '&lt;b&gt; é "', '<b> é "'),
    ("<b class='x' onclick='y()'>a</b>", "<b>a</b>", "a"),
    ("<B><I><U><S>a</S></U></I></B>", "<b><i><u><s>a</s></u></i></b>", "a"),
    ("<STRONG><EM>a</EM></STRONG>", "<strong><em>a</em></strong>", "a"),
    ("a<br>b\nc\r\nd", "a<br/>b<br/>c<br/>d", "a\nb\nc\r\nd"),
    ("<p>a</p><div>b</div>", "a<br/>b", "a\nb"),
    ("<h1><b>a</b></h1>b", "<b>a</b><br/>b", "a\nb"),
    ("<span>a</span><font color=red>b</font>", "ab", "ab"),
    ("<script>x</script><b>a</b>", "<b>a</b>", "a"),
    ("<iframe src='http://e.org'>a</iframe>", "a", "a"),
    # nesting
    ("<b>a", "<b>a</b>", "a"),
    ("a</b>", "a", "a"),
    ("<b><i>x</b>y</i>z", "<b><i>x</i></b><i>y</i>z", "xyz"),
    ("<b>a<b>b</b>c</b>", "<b>ab</b>c", "abc"),
    ("<i><b>a<br>b</i>c", "<i><b>a<br/>b</b></i><b>c</b>", "a\nbc"),
    # links
    ("<a href='http://e.org/?a=1&amp;b=%22' title='t'>x</a>", '<a href="http://e.org/?a=1&amp;b=%22">x</a>', "x <http://e.org/?a=1&b=%22>"),
    ("<a href='mailto:b@e.org'>x</a>", '<a href="mailto:b@e.org">x</a>', "x <mailto:b@e.org>"),
    ("<a href='xmpp:b@e.org'>x</a>", '<a href="xmpp:b@e.org">x</a>', "x <xmpp:b@e.org>"),
    ("<a href='sip:b@e.org'>x</a>", '<a href="sip:b@e.org">x</a>', "x <sip:b@e.org>"),
    ("<a href='HTTPS://e.org/ü'>x</a>", '<a href="HTTPS://e.org/ü">x</a>', "x <HTTPS://e.org/ü>"),
    ("<a href=\"http://e.org/'\">x</a>", '<a href="http://e.org/&#x27;">x</a>', "x <http://e.org/'>"),
    ("<a href='javascript:alert(1)'>x</a>", "x", "x"),
    ("<a href=' java&#10;script:alert(1)'>x</a>", "x", "x"),
    ("<a href='/local'>x</a>", "x", "x </local>"),
    ("<a href='file:///etc/passwd'>x</a>", "x", "x <file:///etc/passwd>"),
    ("<a href='http://e.org/ a'>x</a>", "x", "x <http://e.org/a>"),
    ("<a href='http://e.org/\"onclick='>x</a>", "x", 'x <http://e.org/"onclick=>'),
    ("<a>x</a>", "x", "x"),
    ("<b><a href='http://e.org/'>x</b>y</a>", '<b><a href="http://e.org/">x</a></b>y', "x <http://e.org/>y"),
    ("<a href='http://e.org/'><b>x</a>y</b>", '<a href="http://e.org/"><b>x</b></a><b>y</b>', "x <http://e.org/>y"),
    # what XML cannot write
    ("a\x00b\x0bc\ufffe", "abc", "a\x00b\x0bc\ufffe"),
    ("&#12;a", "a", "\x0ca"),
]  # fmt: skip


@pytest.mark.parametrize(("html", "markup", "text"), MARKUP)
def test_safe_markup(html: str, markup: str, text: str) -> None:
    assert from_html(html) == (markup, text)


# --- properties ---------------------------------------------------------------------------------------------

WRITABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.just("\n"))
SNIPPETS = """
<b> </b> <i> </i> <B> <br> <br/> <p> </p> <div> </div> <a> </a> <li> <td> <tr> <hr> <pre> <script> </script> <head>
</head> <body> <style> <!-- --> <![ ]> <?xml <!doctype < > & " ' = / &amp; &lt; &#x1; &nbsp; <a/href='http://e.org/'>
<a/href='javascript:x'> <img/alt='x'/> <img/src="https://e.org/'"> x y <x> <o:p> <b/style="> text
"""
PIECES = st.sampled_from([*SNIPPETS.split(), " ", "\n", "\t", "\r\n", "\x00", "\ud800"])
SOUP = st.lists(PIECES | st.text(max_size=3)).map("".join)


@settings(deadline=None)
@given(WRITABLE)
def test_every_escaped_text_comes_back(text: str) -> None:
    assert to_plain(escape(text)) == text
    assert from_html(escape(text))[1] == text


@settings(deadline=None)
@given(WRITABLE)
def test_what_is_no_markup_stays(text: str) -> None:
    clean = text.replace("<", "").replace("&", "")
    assert to_plain(clean) == clean


def _elements(markup: str) -> list[ET.Element]:
    """Of a fragment, which must be well-formed and use no entities but those of XML."""
    return list(ET.fromstring(f"<body>{markup}</body>").iter())[1:]


@settings(deadline=None)
@given(SOUP)
def test_markup_is_well_formed_and_harmless_whatever_comes(html: str) -> None:
    markup, text = from_html(html)
    assert text == to_plain(html)
    for element in _elements(markup):
        assert element.tag in KEPT | {"a", "br"}
        assert set(element.attrib) == ({"href"} if element.tag == "a" else set())
        assert element.get("href", "http://").startswith(("http://", "https://", "mailto:", "xmpp:", "sip:"))


@settings(deadline=None)
@given(SOUP)
def test_the_text_of_the_markup_is_the_text(html: str) -> None:
    """But for the targets of links, which only plain text has to spell out."""
    plain = html.replace("<a", "<b")
    markup, text = from_html(plain)
    broken = "".join(
        char for char in text.replace("\r\n", "\n").replace("\r", "\n") if char.isprintable() or char == "\n"
    )
    shown = to_plain(markup)
    assert "".join(char for char in shown if char.isprintable() or char == "\n").split() == broken.split()


HOSTILE = [
    "<", "</", "<!--", "<!-- -", "<![", "<a '", '<a "<a \'', "<a ''", "<b><i>", "<b></i>", "</b>", "<script>", "<head>",
    "<div>", "<br>\n", "<p> \n", " \n", "&", "&#1", "&am", "<a href=x>", "<a =", "<a x", "<a x='", "<td>", "<!-->",
    "<a:", "<a-a",
    "<a href='http://" + "x" * 6000 + "'><b></a></b>",
]  # fmt: skip


@pytest.mark.parametrize("seed", HOSTILE, ids=lambda seed: ascii(seed)[:20])
def test_hostile_markup_takes_linear_time(seed: str) -> None:
    html = (seed * (64_000 // len(seed) + 1))[:64_000]
    start = time.perf_counter()
    markup, _ = from_html(html)
    assert time.perf_counter() - start < 1.0
    assert len(markup) < 10 * len(html)


@pytest.mark.parametrize("html", ["<a " + "b" * 64_000, "<a " + "b" * 64_000 + ">x", "<a " + "b " * 32_000 + ">x"])
def test_long_attributes_take_linear_time(html: str) -> None:
    start = time.perf_counter()
    to_plain(html)
    assert time.perf_counter() - start < 1.0


@settings(deadline=None)
@given(st.text())
def test_nothing_is_raised(html: str) -> None:
    to_plain(html)
    from_html(html)
