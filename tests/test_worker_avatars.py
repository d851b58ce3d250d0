"""Pictures of contacts: which are shown, how, and what happens where they cannot be."""

from __future__ import annotations

import base64
from hashlib import sha1
from pathlib import Path

import pytest

from purple_bridge.worker.avatars import LARGEST_FILE, LARGEST_INLINE, Avatars

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
GIF = b"GIF89a\1\0\1\0"
URL = "https://sip.example.org/avatars"

KINDS = [
    (PNG, "png", "image/png"),
    (JPEG, "jpg", "image/jpeg"),
    (GIF, "gif", "image/gif"),
    (b"GIF87a", "gif", "image/gif"),
]
OTHERS = [
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    b"<!DOCTYPE html>",
    b"\x89PNG",
    b"RIFF\0\0\0\0WEBP",
    b" " + PNG,
    b"\0",
]


def _sized(octets: int) -> bytes:
    return PNG.ljust(octets, b"\0")


@pytest.mark.parametrize("octets", [PNG, b""])
def test_off_shows_nothing(tmp_path: Path, octets: bytes) -> None:
    assert Avatars("off", tmp_path / "a").url(octets) == ""
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("octets", "_suffix", "kind"), KINDS)
def test_inline_is_a_data_uri(tmp_path: Path, octets: bytes, _suffix: str, kind: str) -> None:
    """RFC 2397"""
    start, _, encoded = Avatars("inline", tmp_path).url(octets).partition(",")
    assert start == f"data:{kind};base64"
    assert base64.b64decode(encoded, validate=True) == octets
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("octets", "suffix", "_kind"), KINDS)
@pytest.mark.parametrize("mode", [URL, f"{URL}/"])
def test_a_file_is_named_by_its_content(tmp_path: Path, mode: str, octets: bytes, suffix: str, _kind: str) -> None:
    directory = tmp_path / "state" / "avatars"
    name = f"{sha1(octets, usedforsecurity=False).hexdigest()}.{suffix}"
    assert Avatars(mode, directory).url(octets) == f"{URL}/{name}"
    assert [path.name for path in directory.iterdir()] == [name], "no part of a file beside it"
    assert (directory / name).read_bytes() == octets


def test_a_web_server_can_read_it(tmp_path: Path) -> None:
    directory = tmp_path / "avatars"
    Avatars(URL, directory).url(PNG)
    (path,) = directory.iterdir()
    assert directory.stat().st_mode & 0o055 == 0o055
    assert path.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("mode", ["inline", URL])
@pytest.mark.parametrize("octets", OTHERS)
def test_what_a_browser_might_run_is_not_shown(tmp_path: Path, mode: str, octets: bytes) -> None:
    assert Avatars(mode, tmp_path).url(octets) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "most"), [("inline", LARGEST_INLINE), (URL, LARGEST_FILE)])
def test_large_pictures_are_left_out(tmp_path: Path, mode: str, most: int) -> None:
    avatars = Avatars(mode, tmp_path)
    assert avatars.url(_sized(most)) != ""
    assert avatars.url(_sized(most + 1)) == ""


def test_a_file_is_written_once(tmp_path: Path) -> None:
    one, other = Avatars(URL, tmp_path), Avatars(URL, tmp_path)
    url = one.url(PNG)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"as it was")
    assert one.url(PNG) == other.url(PNG) == url
    assert path.read_bytes() == b"as it was"


def test_a_directory_that_cannot_be_written_is_logged_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "avatars"
    directory.write_text("a file in its place")
    avatars = Avatars(URL, directory)
    assert avatars.url(PNG) == ""
    assert str(directory) in caplog.text
    directory.unlink()
    assert avatars.url(PNG) != ""
