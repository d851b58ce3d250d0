"""Owns what is checked of a page for people who do not see it well, or have no mouse: WCAG 2.1 in small assertions."""

from __future__ import annotations

from typing import Any

from tests.agents.browser import Browser

LEAST_CONTRAST = 4.5  # WCAG 2.1, 1.4.3

# each gives a list of what is wrong, in words
_STRUCTURE = """
const wrong = [];
const name = (element) => element.outerHTML.slice(0, 100);
for (const input of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
  if (!input.labels.length && !input.getAttribute("aria-label")) wrong.push("no label: " + name(input));
}
for (const element of document.querySelectorAll("a[href], button")) {
  if (!element.textContent.trim() && !element.getAttribute("aria-label")) wrong.push("no words: " + name(element));
}
let level = 0;
for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
  const next = Number(heading.tagName[1]);
  if (next > level + 1) wrong.push("heading out of order: " + name(heading));
  level = next;
}
if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
for (const landmark of ["header", "main", "footer"]) {
  if (document.querySelectorAll("body > " + landmark).length !== 1) wrong.push("not one " + landmark);
}
for (const nav of document.querySelectorAll("nav, table")) {
  if (!nav.getAttribute("aria-label") && !nav.querySelector("caption")) wrong.push("no name: " + name(nav));
}
for (const head of document.querySelectorAll("th")) {
  if (!head.getAttribute("scope")) wrong.push("no scope: " + name(head));
}
for (const image of document.querySelectorAll("img, svg")) {
  if (image.getAttribute("aria-hidden") === "true") continue;
  if (!image.getAttribute("aria-label")) wrong.push("no text: " + name(image));
}
for (const attribute of ["aria-describedby", "aria-labelledby", "for"]) {
  for (const element of document.querySelectorAll(`[${attribute}]`)) {
    for (const id of element.getAttribute(attribute).split(" ")) {
      if (!document.getElementById(id)) wrong.push(attribute + " to nothing: " + name(element));
    }
  }
}
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
if (new Set(ids).size !== ids.length) wrong.push("an id twice");
if (!document.documentElement.lang) wrong.push("no language");
if (!document.title) wrong.push("no title");
return wrong;
"""

# of each text that is shown: its words, its colour and the colours behind it
_TEXTS = """
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
  if (element.closest(".hidden, noscript, script, option")) continue;
  const behind = [];
  for (let at = element; at; at = at.parentElement) behind.push(getComputedStyle(at).backgroundColor);
  found.push([walker.currentNode.textContent.trim().slice(0, 40), getComputedStyle(element).color, behind]);
}
for (const input of document.querySelectorAll("input:not([type=hidden], [type=checkbox], [type=radio]), select")) {
  if (!input.checkVisibility()) continue;
  const style = getComputedStyle(input);
  found.push([input.id, style.color, [style.backgroundColor]]);
}
return found;
"""


def structure_problems(browser: Browser) -> list[str]:
    """Labels, headings, landmarks, names of regions and pictures."""
    return list(browser.run(_STRUCTURE))


def contrast_problems(browser: Browser) -> list[str]:
    """Each text whose contrast with what is behind it is less than 4.5:1."""
    texts: list[Any] = browser.run(_TEXTS)
    assert texts, "an empty page"
    ratios = [(words, _contrast(_rgb(colour)[:3], _behind(behind))) for words, colour, behind in texts]
    return [f"{words}: {ratio:.2f}" for words, ratio in ratios if ratio < LEAST_CONTRAST]


def _behind(colours: list[str]) -> tuple[float, ...]:
    """The first that is not transparent; the page itself has one."""
    opaque = [rgb for rgb in map(_rgb, colours) if len(rgb) == 3 or rgb[3] == 1]
    return opaque[0][:3] if opaque else (255, 255, 255)


def _rgb(text: str) -> tuple[float, ...]:
    """``rgb(1, 2, 3)`` or ``rgba(1, 2, 3, 0)``."""
    return tuple(float(number) for number in text.partition("(")[2].rstrip(")").split(","))


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.1, contrast ratio."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(rgb: tuple[float, ...]) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [value / 255 / 12.92 if value / 255 <= 0.04045 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
