"""Every mode of a room can be selected in the control room, with a description of its effect."""

import re

from gatekeeper.policy.phase import Mode
from tests.repository import ROOT, text_of

BUTTONS = text_of(ROOT / "templates" / "dashboard.html")
SCRIPT = text_of(ROOT / "static" / "actions.js")


def test_every_mode_has_a_button() -> None:
    assert sorted(re.findall(r'data-mode="(\w+)"', BUTTONS)) == sorted(Mode)


def test_every_mode_has_words() -> None:
    words = SCRIPT.partition("const MODES = {")[2].partition("};")[0]
    assert sorted(re.findall(r"^ +(\w+):", words, re.MULTILINE)) == sorted(Mode)


def test_every_mode_is_confirmed_in_its_own_words() -> None:
    dialogs = SCRIPT.partition("switch (values.mode) {")[2].partition("default:")[0]
    assert sorted(re.findall(r'case "(\w+)": return dialog\(', dialogs)) == sorted(Mode)
