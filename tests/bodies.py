"""The one table of message texts: owns each text and what it is at the other end; knows no server and no agent.

XMPP and SIP keep a text, but for the ends of its lines (XML 1.0 §2.11). What IRC cannot carry (RFC 2812 §2.3.1):
line breaks, so that each line is a message of its own; a line without text (412 ERR_NOTEXTTOSEND); NUL; \\x01, which
makes a request of it (CTCP); more than 512 octets in a line (§2.3).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from purple_bridge.functions.request import MAX_NOT_UTF_8

NICK = "peer"  # of the IRC contact in READ_IN_IRC
WHITE_SPACE = " \t"


@dataclass(frozen=True, slots=True)
class Body:
    """``text``, and how it arrives where that is not the text itself.

    ``im``: over XMPP. ``lines``: the texts of IRC's PRIVMSGs that say it; none: IRC has no way to. ``long``: longer
    than a line of IRC, so that it comes in pieces.
    """

    name: str
    text: str
    im: str | None = None
    lines: tuple[str, ...] | None = None
    long: bool = False

    @property
    def in_im(self) -> str:
        return self.text if self.im is None else self.im

    @property
    def in_irc(self) -> tuple[str, ...]:
        return (self.text,) if self.lines is None else self.lines


def trimmed(line: str) -> str:
    """ngIRCd takes the white space off the end of every line."""
    return line.rstrip(WHITE_SPACE)


def are_pieces(lines: list[str], text: str) -> bool:
    """Whether ``lines``, at whose ends ngIRCd trims, are ``text``, cut at least once."""
    white_space = f"[{WHITE_SPACE}]*"
    pattern = white_space.join(map(re.escape, lines)) + white_space
    return len(lines) > 1 and re.fullmatch(pattern, text) is not None


WORDS = "".join(f"{number} " for number in range(1000))[:4000]
SIP = "MESSAGE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi"
JSON = json.dumps({"text": 'a "quoted" \\ <word>', "numbers": [1, -2.5, None], "nested": {"&": "é\n"}})
MARKDOWN = "# Title\n\n* *one*\n* **two**\n\n```\n  code <b>\n```\n> [link](http://example.org/?a&b)"

PLAIN = (
    Body("plain", "Hello"),
    Body("one letter", "x"),
    Body("zero", "0"),
    Body("numbers", "-1 3.14 1e9 0x1F 1,000 NaN"),
    Body("words of programs", "null None undefined true False"),
    Body("yes", "yes"),  # nobody has asked
    Body("no", "no"),
    Body("a lone dot", "."),
    Body("a dot in a line", "a\n.\nb", lines=("a", ".", "b")),
    Body("quotes", "\"double\" 'single' `back` „low“ “high”"),
    Body("one quote", '"'),
    Body("backslashes", "C:\\new\\table \\n \\0 \\"),
    Body("smileys", ":-) ;) :( <3 >:-) :D :'("),
    Body("a heart", "<3"),
    Body("markdown", MARKDOWN, lines=tuple(line for line in MARKDOWN.split("\n") if line)),
)

WHITE = (
    Body("one space", " ", lines=()),
    Body("spaces around", "  two before, two after  "),
    Body("spaces within", "a  b   c    d"),
    Body("tabs", "\ta\tb\t\tc\t"),
    Body("tabs and spaces", " \t x \t y \t "),
    Body("line feed", "one\ntwo", lines=("one", "two")),
    Body("empty lines", "one\n\n\n\nfive", lines=("one", "five")),
    Body("line feeds around", "\n\nmiddle\n\n", lines=("middle",)),
    Body("only a line feed", "\n", lines=()),
    Body("white space of every kind", " \t \n \t\n ", lines=()),
    Body("a line of white space", "one\n \t\ntwo", lines=("one", "two")),
    Body("indented lines", "  indented\n    more\n\ttab", lines=("  indented", "    more", "\ttab")),
    Body("CR LF", "one\r\ntwo\r\n", im="one\ntwo\n", lines=("one", "two")),
    Body("CR", "one\rtwo", im="one\ntwo", lines=("one", "two")),
    Body("every line end", "1\r\n2\n3\r4\r\n\r\n\n5", im="1\n2\n3\n4\n\n\n5", lines=("1", "2", "3", "4", "5")),
    Body("CR LF around", "\r\nfirst\r\n", im="\nfirst\n", lines=("first",)),
    Body("a hundred lines", "\n".join(map(str, range(100))), lines=tuple(map(str, range(100)))),
    Body("no-break space", "\u00a0"),
    Body("no-break spaces", "\u00a0a\u00a0b\u202fc\u2060d\u00ade\u00a0"),
    Body("exotic spaces", "\u2003em\u2009thin\u3000ideographic\u3000"),
    Body("line separators", "a\u2028b\u2029c\u0085d"),
    Body("C1 controls", "\u007f\u0080\u009f"),
)

MARKUP = (
    Body("every sign", "x < y & z > 'w' \"v\""),
    Body("less than", "<"),
    Body("ampersand", "&"),
    Body("ampersands", "a && b & c &"),
    Body("bold", "<b>bold</b> <i>and</i>"),
    Body("a break", "one<br>two<br/>three"),
    Body("open tag", "a < b"),
    Body("both signs", "1 < 2 > 0"),
    Body("tag that does not end", "<a href='"),
    Body("comment", "<!-- nothing -->"),
    Body("CDATA", "<![CDATA[ x ]]>"),
    Body("end of CDATA", "]]>"),
    Body("XML declaration", "<?xml version='1.0' encoding='utf-16'?>"),
    Body("doctype", "<!DOCTYPE html>"),
    Body("entity declaration", "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"),
    Body("script", "<script>alert('x')</script>"),
    Body("whole document", "<html><body><p>text</p></body></html>"),
    Body("stanza", "<message to='x'><body>y</body></message>"),
    Body("end of the stream", "</stream:stream>"),
    Body("image", "<img src='cid:x' alt='smiley'>"),
    Body("link element", "<a href='http://example.org'>link</a>"),
    Body("entity", "&amp;"),
    Body("entities", "&lt;b&gt; &amp; &nbsp; &#65; &quot; &apos;"),
    Body("entity of an entity", "&amp;lt;"),
    Body("less than as an entity", "&lt;"),
    Body("number entities", "&#60; &#65; &#x41; &#0;"),
    Body("unknown entity", "&nosuch; &nbsp; &"),
)

LINKS = (
    Body("bare link", "http://example.org/"),
    Body("link with a query", "https://example.org/?a=1&b=2#c"),
    Body("link as an entity", "http://example.org/?a=1&amp;b=2"),
    Body("links", "http://example.org/?a=b&c=d#e <mailto:bob@example.org> www.example.org"),
    Body("link in angle brackets", "<https://example.org/>"),
    Body("link in brackets", "(see http://example.org/a_(b)), [http://example.org]."),
    Body("mailto", "mailto:a@b.example, <c@d.example>"),
    Body("other links", "sip:bob@example.org;transport=tcp xmpp:bob@example.org?message tel:+1-201-555-0123"),
)

COMMANDS = (
    Body("say", "/say /me"),
    Body("me alone", "/me"),
    Body("me and a space", "/me "),
    Body("another me", "/mean"),
    Body("loud me", "/ME shouts"),
    Body("two slashes", "//me"),
    Body("slash", "/"),
    # CTCP's ACTION
    Body("me", "/me waves", lines=("\x01ACTION waves\x01",)),
    Body("me with spaces", "/me  <b>dances</b> & ", lines=("\x01ACTION  <b>dances</b> & \x01",)),
    Body("me in the second line", "Hello\n/me dances", lines=("Hello", "/me dances")),
    Body("quit", "/quit"),
    Body("quit with a text", "/quit now"),
    Body("nick", "/nick other"),
    Body("join", "/join #x"),
    Body("msg", "/msg bob hi"),
    Body("QUIT", "QUIT :bye"),
    Body("PRIVMSG", "PRIVMSG x :y"),
    Body("PING", "PING purple-1"),
    Body(
        "lines of IRC", "hi\r\nQUIT :bye\r\nJOIN #x", im="hi\nQUIT :bye\nJOIN #x", lines=("hi", "QUIT :bye", "JOIN #x")
    ),
    Body("QUIT in the second line", "\r\nQUIT", im="\nQUIT", lines=("QUIT",)),
    Body("colon", ":colon"),
    Body("one colon", ":"),
    Body("two colons", "::two colons"),
    Body("colon and space", ": colon and space"),
    Body("colons within", "a :b :c"),
    Body("names of IRC", "#channel @nick +v"),
    Body("off the record", "?OTRv23?"),
    Body("shell templates", "${x} $HOME $(id) `id` ; rm -rf /"),
    Body("other templates", "{{x}} {% x %} {0} <%= x %> #{x}"),
    Body("percent", "100% %s %n %d %25 %% %(name)s"),
    Body("Kamailio's variables", "$rU $(ru) $hdr(From) $$ #!define X $(rb{s.len}) $sht(a=>b)"),
    Body("SQL", "'; DROP TABLE purple_queue; -- \\' OR 1=1 /* x */ ? :name"),
    Body("JSON", JSON),
    Body("SIP", SIP, im=SIP.replace("\r\n", "\n"), lines=tuple(line for line in SIP.split("\r\n") if line)),
    Body("end of headers", "a\r\n\r\nb", im="a\n\nb", lines=("a", "b")),
)

SCRIPTS = (
    Body("umlauts", "äöüß ÄÖÜ éèê ñ"),
    Body("decomposed", "e\u0301 a\u0308 n\u0303 o\u0302\u0323"),
    Body("many marks", "Z\u0351\u036b\u0343\u036a\u0302a\u0334\u0355\u0329\u0321\u0353"),
    Body("mark at the start", "\u0301x"),
    Body("Greek and Cyrillic", "Καλημέρα доброе утро Привет, мир"),
    Body("letters with odd cases", "ı İ ß ſ K ẞ ﬁ"),  # noqa: RUF001
    Body("Hebrew", "שלום עולם"),
    Body("Arabic", "مرحبا بالعالم"),
    Body("Arabic with marks", "مرحبا \u200fبالعالم\u200e!"),  # noqa: RUF001
    Body("directions", "\u202eright\u202c \u200flr\u200e \u2066iso\u2069 \u061c"),
    Body("Chinese", "你好,世界。"),
    Body("Japanese", "こんにちは 世界 ガ 日本語のテキスト"),
    Body("Korean", "안녕하세요 \u1112\u1161\u11ab"),
    Body("Thai", "สวัสดีชาวโลก"),
    Body("Devanagari", "नमस्ते दुनिया क्ष"),
    Body("emoji", "🐄🍵😀"),
    Body("emoji with joiners", "👩‍👩‍👧‍👦 🏳️‍🌈 👩🏽‍💻 ❤️ ❤"),
    Body("flags", "🇩🇪🇫🇷 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f 🇩"),
    Body("skin tones", "👍🏻👍🏽👍🏿 🏽"),
    Body("keycaps", "1\ufe0f\u20e3 #\ufe0f\u20e3"),
    Body("zero width", "a\u200bb\u200cc\u200dd\ufeffe"),
    Body("zero width alone", "\u200b"),
    Body("outside the BMP", "𠀀 \U0001d11e \U0010fffd"),
    Body("private use", "\ue000\uf8ff"),
    Body("replacement", "\ufffd"),
    Body("no characters", "\ufdd0 \U0001ffff"),
)

LONG = (
    Body("300 digits", "1" * 300),
    Body("words of 4,000 characters", WORDS, long=True),
    Body("4,000 characters", "0123456789" * 400, long=True),
    Body("4,000 to be escaped", "<&>\"' " * 667, long=True),
    Body("a word of 3,000 letters", "abcdefghij" * 300, long=True),
    Body("4,000 wide characters", "日本語テ" * 1000, long=True),
    Body("families", "👩‍👩‍👧‍👦" * 60, long=True),
    Body("a long me", f"/me {WORDS}", long=True),
    Body("60,000 characters", "lorem ipsum " * 5000, long=True),
    Body("60,000 characters without a space", "0123456789" * 6000, long=True),
    Body("64,000 octets", "é日🐄 " * 6400, long=True),
)

BODIES = (*PLAIN, *WHITE, *MARKUP, *LINKS, *COMMANDS, *SCRIPTS, *LONG)
"""What a phone and a contact can write."""

OF_CONTACTS = (
    Body("byte order mark", "\ufeffstart"),  # RFC 3629 §6: in UTF-8 that says so, it is no part of the text
    Body("60,000 of other scripts", "你好🐄" * 20000, long=True),  # more octets than a MESSAGE may have
)
"""What a phone cannot write, but a contact can."""

CONTROLS = (
    Body("NUL", "nul\x00 gone", lines=("nul gone",)),
    Body("NUL and \\x01", "\x00\x01x", lines=("x",)),
    Body("only \\x01", "\x01", lines=()),
    Body("CTCP", "\x01VERSION\x01", lines=("VERSION",)),
    Body("CTCP's ACTION", "\x01ACTION \x01waves\x01", lines=("ACTION waves",)),
    Body("me with \\x01", "/me d\x01o\nand\n/me too", lines=("\x01ACTION do\x01", "and", "/me too")),
    Body("IRC's formatting", "\x02bold\x0f \x034,5red\x03 \x1ditalic"),  # the writer's own choice
    Body("bell and escape", "\x07 bell \x1b[31m escape \x7f"),
    Body("white space of old", "\x0b vertical \x0c form"),
    Body("no character", "\ufffe"),
    Body("the last of the BMP", "x\uffff"),
)
"""What XML cannot carry (XML 1.0 §2.2), so that it is refused everywhere but on IRC."""

CHARSETS = (  # the parameter charset, Python's codec, what it writes
    ("UTF-8", "utf-8", "Grüße 🐄"),
    ("utf-8", "utf-8-sig", "with a byte order mark"),
    ("us-ascii", "ascii", "plain <&>"),
    ("ISO-8859-1", "latin-1", "Grüße, 5 ½ £"),
    ('"iso-8859-1"', "latin-1", "ÿ"),
    ("ISO-8859-1", "latin-1", "Ã¤ is UTF-8 as well"),
    ("ISO-8859-1", "latin-1", "ü" * MAX_NOT_UTF_8),
    ("ISO-8859-15", "iso-8859-15", "5 €"),
    ("windows-1252", "cp1252", "“5 €” – ok"),  # noqa: RUF001
    ("UTF-16", "utf-16", "Grüße\n你好 🐄"),
    ("UTF-16", "utf-16", "with letters of ASCII alone"),
    ("UTF-16LE", "utf-16-le", "with letters of ASCII alone"),
    ("UTF-16BE", "utf-16-be", "with letters of ASCII alone"),
    ("UTF-16BE", "utf-16-be", "你好 🐄 Ā"),
    ("UTF-16LE", "utf-16-le", "日" * (MAX_NOT_UTF_8 // 2)),
    ("UTF-16", "utf-16", "letters of ASCII " * 1400),
    ("UTF-32", "utf-32", "Grüße 🐄"),
    ("Shift_JIS", "shift_jis", "日本語のテキスト ｶﾅ \\ ソ表"),
    ("EUC-JP", "euc-jp", "日本語"),
    ("ISO-2022-JP", "iso-2022-jp", "日本語 and ASCII"),
    ("GB18030", "gb18030", "你好 🐄"),
    ("Big5", "big5", "你好"),
    ("EUC-KR", "euc-kr", "안녕"),
    ("KOI8-R", "koi8-r", "Привет"),
)

READ_IN_IRC = (  # a line of the IRC contact NICK, what the phone shows
    *((line, line) for body in BODIES if not body.long for line in body.in_irc if not line.startswith("\x01")),
    ("\ufeffmark", "\ufeffmark"),
    ("\x0b vertical \x0c form", "\x0b vertical \x0c form"),
    (
        "\x02bold\x02 \x1ditalic\x1d \x1funder\x1f \x1estruck\x1e \x11mono\x11 \x0fplain",
        "bold italic under struck mono plain",
    ),
    ("a \x16reverse\x16 word", "a reverse word"),
    ("\x034red\x03 \x0304,12both\x03 \x03,5 comma \x0312", "red both ,5 comma "),
    ("\x04ff0000red\x04 \x04FF0000,00ff00both\x04", "red both"),
    ("\x0312345", "345"),
    ("\x031,2,3", ",3"),
    ("\x01ACTION dances\x01", f"* {NICK} dances"),
    ("\x01ACTION  <b>dances</b> & \x02waves\x02 \x01", f"* {NICK}  <b>dances</b> & waves "),
    ("\x01ACTION dances", f"* {NICK} dances"),
    ("in the \x01middle\x01", "in the middle"),
)

NOTHING_IN_IRC = (  # lines of an IRC contact that say nothing to a person
    "\x01VERSION\x01",
    "\x01PING 1234\x01",
    "\x01ACTIONS\x01",
    "\x01DCC SEND file 2130706433 5000 10\x01",
    "\x01\x01",
    "\x02\x03\x0f",
)
