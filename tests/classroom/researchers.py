"""Researchers who are logged in, and what their pages say, for the tests of these pages."""

import re
from html import unescape

from tutelage.classroom import admission

from .web import Browser

PASSWORD = "hornbeam or beech?"
EVIL = "<script>alert(1)</script>"


def logged_in(room):
    browser = Browser(room)
    browser.get(f"/admin/enter/{admission.make_link(room.folder)}")
    browser.go("enter")
    assert browser.heading == "Overview"
    return browser


def token(browser):
    return browser.form("logout").fields["token"]


def text_of(browser, path=None):
    """What a page says; None: the one that is shown."""
    if path is not None:
        browser.get(path)
    return _text(browser.html)


def table(browser, name):
    """The rows of a table by the name of its region, as lists of what their cells say; the head is the first one."""
    html = browser.html.split(f'aria-label="{name}"')[1].split("</table>")[0]
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in html.split("<tr>")[1:])
    return [[_text(cell) for cell in row] for row in cells]


def _text(html):
    return " ".join(unescape(re.sub(r"<.*?>", " ", html)).split())
