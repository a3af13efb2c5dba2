from __future__ import annotations

from avloc.localization.pages.document import html_document, page_footers


def test_a_page_loads_nothing_and_is_whole(read_html):
    text = html_document("a <b>", "<p>x</p>", style="p { margin: 0 }", script="clip_page.js")
    document = read_html(text)
    assert document.open == []
    assert "<title>a &lt;b&gt;</title>" in text[:100]  # is_summary looks for a title near the start
    assert document.find("link") == [{"rel": "icon", "href": "data:,"}]
    assert "default-src 'none'" in document.find("meta")[1]["content"]
    assert not [attributes for _, attributes in document.tags if str(attributes.get("src", "")).startswith("http")]


def test_footers_cannot_end_the_style():
    assert page_footers("</style>", "a\\b") == (r'@page { @bottom-left { content: "\3c /style\3e " "\A" "a\5c b"; } }')
