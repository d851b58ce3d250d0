"""An IRC server that means harm: owns its side of each connection and the attacks, by the nick of who connects."""

# ruff: noqa: E501 - a stanza or a line as it is sent

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.servers.threaded import ThreadedServer

PIECE = 1 << 16
SERVER = b":irc.test "
EVIL = b":evil!e@elsewhere.test "
LAST = EVIL + b"PRIVMSG NICK :that was all\r\n"

NUMBERS = tuple(b"%03d" % number for number in range(1, 1000))
ODD = (
    *(SERVER + number + b"\r\n" for number in NUMBERS),
    *(SERVER + number + b" NICK\r\n" for number in NUMBERS),
    *(SERVER + number + b" NICK a b c d :e\r\n" for number in NUMBERS),
    *(number + b" \r\n" for number in NUMBERS),
)
COMMANDS = (
    *(
        b"PRIVMSG",
        b"NOTICE",
        b"JOIN",
        b"PART",
        b"QUIT",
        b"KICK",
        b"NICK",
        b"MODE",
        b"TOPIC",
        b"INVITE",
        b"WALLOPS",
        b"KILL",
    ),
    *(
        b"PING",
        b"PONG",
        b"ERROR",
        b"AUTHENTICATE",
        b"CAP",
        b"ACCOUNT",
        b"303",
        b"302",
        b"301",
        b"311",
        b"319",
        b"322",
        b"353",
    ),
)

ATTACKS: dict[str, Sequence[bytes]] = {
    "endless": (b"x" * 20_000_000,),
    "long": (b"PRIVMSG NICK :" + b"x" * 60_000 + b"\r\n",),
    "odd": ODD,
    "prefixes": tuple(
        prefix + b" " + command + b" NICK :x\r\n"
        for command in COMMANDS
        for prefix in (b":", b":!", b":@", b":a!", b":a@", b": ", b":" + b"a" * 5000, b":!@", b":\xff", b":a!b@c")
    ),
    "missing": tuple(
        prefix + command + end
        for command in COMMANDS
        for prefix in (b"", EVIL)
        for end in (b"\r\n", b" :\r\n", b" \r\n")
    ),
    "bytes": tuple(
        EVIL + b"PRIVMSG NICK :" + bytes([octet]) * 300 + b"\r\n" for octet in range(256) if octet not in b"\r\n"
    ),
    "ctcp": tuple(
        EVIL + b"PRIVMSG NICK :\x01" + request + b"\x01\r\n"
        for request in (
            *(
                b"DCC SEND x 2130706433 9 5",
                b"DCC SEND ../../x 1 65536 -1",
                b"DCC CHAT chat 2130706433 9",
                b"DCC",
                b"DCC RESUME x 1 2",
            ),
            *(
                b"VERSION",
                b"PING " + b"1" * 400,
                b"TIME",
                b"FINGER",
                b"USERINFO",
                b"CLIENTINFO",
                b"",
                b"\x01\x01",
                b"ACTION",
            ),
        )
    ),
    "notices": tuple(
        EVIL + b"NOTICE NICK :\x01%s x\x01\r\n" % command for command in (b"VERSION", b"PING", b"DCC", b"")
    ),
    "messages": tuple(EVIL + b"PRIVMSG NICK :%d\r\n" % number for number in range(1500)),
    "nicks": tuple(b":n%d!u@h NICK n%d\r\n" % (number, number + 1) for number in range(20_000)),
    "own-nick": tuple(
        b":NICK!u@h NICK %s\r\n" % nick for nick in (b"", b":", b"a b", b"x" * 400, b"\xff", b"NICK", b":NICK")
    )
    * 50,
    "channel": (
        b":NICK!u@h JOIN #c\r\n",
        *(
            SERVER + b"353 NICK = #c :" + b" ".join(b"@u%d-%d" % (line, nick) for nick in range(40)) + b"\r\n"
            for line in range(300)
        ),
        SERVER + b"366 NICK #c :End\r\n",
        *(b":u%d-1!u@h PART #c\r\n" % line for line in range(300)),
        b":NICK!u@h KICK #c NICK :out\r\n:x!y@z MODE #c +ooooooooo\r\n:x!y@z MODE #c +o-v a b c\r\n:NICK!u@h PART #c\r\n",
    ),
    "list": (
        SERVER + b"321\r\n",
        *(SERVER + b"322 NICK #c%d 99999999999 :x\r\n" % number for number in range(9000)),
        SERVER + b"323\r\n",
    ),
    "isupport": (
        SERVER + b"005 NICK PREFIX=(((( CHANTYPES= NICKLEN=-1 MODES=x NETWORK=%s PREFIX= :are\r\n" % (b"y" * 4000),
        SERVER + b"005 NICK :\r\n",
        SERVER + b"005\r\n",
    ),
    "whois": tuple(
        SERVER + number + b" NICK someone " + rest + b"\r\n"
        for number in (b"311", b"312", b"313", b"317", b"318", b"319", b"330", b"338", b"320", b"314", b"369")
        for rest in (b"", b"x", b"-1 -1 :x", b"99999999999999999999 x :" + b"y" * 300)
    )
    * 20,
    "pings": tuple(b"PING :%d\r\n" % number for number in range(3000)),
    "pongs": tuple(SERVER + b"PONG irc.test :purple-%d\r\n" % (number % 50) for number in range(5000)),
    "error": (b"ERROR :Closing Link: \x02\x1b[2J" + b"x" * 300 + b"\r\n",),
    "kill": (EVIL + b"KILL NICK :bye\r\n", b":NICK!u@h QUIT :killed\r\n"),
    "nul": (b"PRIV\0MSG NICK :\0\0\0\r\n" * 500, b"\0" * 20_000 + b"\r\n"),
    "ends": (b"\r" * 20_000, b"\n" * 20_000, b"\r\r\n\n\r\n" * 2000, b" \r\n" * 2000, b":\r\n" * 2000),
    "motd": (SERVER + b"375 NICK :-\r\n", *(SERVER + b"372 NICK :- %s\r\n" % (b"m" * 400),) * 10_000, LAST),
    "names": (*(SERVER + b"353 NICK = #c :%s\r\n" % (b"n" * 400),) * 10_000, LAST),
    "joins": (*(b":NICK!u@h JOIN #c%d\r\n" % number for number in range(5_000)), LAST),
}
# 60,000 octets of combining marks in place of a nick: bringing them into normal form takes the square of the time
_ROW = "\u0301".encode() * 15_000 + "\u0316".encode() * 15_000
MARKED: dict[str, Sequence[bytes]] = {
    "marks": (
        *(b":%s!u@h PRIVMSG NICK :hi\r\n" % _ROW,) * 20,
        *(b":evil!u@h %s :x\r\n" % command.replace(b"ROW", _ROW) for command in (b"NICK ROW", b"PRIVMSG ROW")),
        *(SERVER + number + b" NICK %s :x\r\n" % _ROW for number in (b"301", b"303", b"311", b"318", b"401", b"433")),
        LAST,
    )
}
BEFORE = {
    "motd-first": ATTACKS["motd"],
    "sasl": (b"CAP * LS :sasl\r\n", b"CAP * ACK :sasl\r\n", b"AUTHENTICATE " + b"x" * 400 + b"\r\n") * 50,
    "nick-in-use": (SERVER + b"433 * NICK :in use\r\n",) * 300,
}
WELCOME = b":irc.test 001 %s :hi\r\n:irc.test 376 %s :end\r\n"


class HostileIrc(ThreadedServer):
    """``finished``, ``connections``, ``heard``: by the attack's name, its nick.

    A nick that is taken is asked for with more at its end: the attack is what stands before the first digit.
    """

    def __init__(self) -> None:
        super().__init__("hostile-irc")
        self.finished: set[str] = set()
        self.connections: dict[str, int] = {}
        self.heard: dict[str, bytes] = {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        try:
            while not name:
                line = await reader.readline()
                if not line:
                    return
                if line.upper().startswith(b"NICK "):
                    name = line.split()[1].decode().lstrip(":").rstrip("0123456789")
            self.connections[name] = self.connections.get(name, 0) + 1
            await self._attack(name, writer)
            while data := await reader.read(PIECE):
                self.heard[name] = (self.heard.get(name, b"") + data)[-PIECE:]
        except (OSError, ValueError, asyncio.CancelledError):
            pass
        finally:
            if name:
                self.finished.add(name)
            writer.close()

    async def _attack(self, name: str, writer: asyncio.StreamWriter) -> None:
        nick = name.encode()
        lines = {**ATTACKS, **MARKED, **BEFORE}[name]
        if name not in BEFORE:
            writer.write(WELCOME % (nick, nick))
        for line in lines:
            data = line.replace(b"NICK", nick)
            for start in range(0, len(data), PIECE):
                writer.write(data[start : start + PIECE])
                await writer.drain()
        self.finished.add(name)
