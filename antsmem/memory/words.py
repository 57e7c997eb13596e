"""The words of a text, as every text index keeps and looks for them: letters and digits, no syntax."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Han and kana are written without spaces: each character counts as a word.
_ALONE: Final = "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_find_words = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+").findall
_LONGEST: Final = 100
_MOST_ASKED: Final = 64

# The commonest English words: those of the Snowball project's list, without what an apostrophe cuts off.
_COMMON: Final = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves what which who whom this that these those am is are was were be
been being have has had having do does did doing a an the and but if or because as until while of at by for with
about against between into through during before after above below to from up down in out on off over under
again further then once here there when where why how all any both each few more most other some such no nor not
only own same so than too very s t can will just don should now
"""
STOP_WORDS: Final = frozenset(_COMMON.split())


def words(text: str) -> list[str]:
    """The words of `text` in order, folded: no capitals, no accents; the first hundred characters of each."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in parts if not unicodedata.combining(each))
    return [word[:_LONGEST] for word in _find_words(text.casefold())]


def asked_words(query: str) -> list[str]:
    """The words to look for: the first 64 different ones of a person's `query`."""
    return list(dict.fromkeys(words(query)))[:_MOST_ASKED]
