from __future__ import annotations

from html.parser import HTMLParser

import pytest

VOID_TAGS = ("meta", "link", "input", "path", "use", "rect", "br")


class HtmlPage(HTMLParser):
    """Checks that tags are closed, and collects tags and links of an html page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.targets, self.tags = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID_TAGS:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag


@pytest.fixture
def parse_page():
    """A function: text of an html page → `HtmlPage`; fails where tags are not closed."""
    return HtmlPage
