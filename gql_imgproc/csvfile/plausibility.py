"""Whether text that was decoded as Windows-1252 can be in that encoding.

Every byte sequence is some text in Windows-1252, so a file in another encoding decodes to garbage without an error.
Garbage shows: letters of several alphabets together, or letters and signs in places where no language has them.
"""

from __future__ import annotations

import re

# ruff: noqa: RUF001 (the confusable characters are the subject of this file)

_LETTERS = "À-ÖØ-öø-ÿŒœŠšŽžŸƒ"
_UPPER = "À-ÖØ-ÞŒŠŽŸ"
#: Signs that text has; the others, such as `Ž` or `¤`, stand for common letters in other encodings.
_SIGNS = "€‚„…‘’“”•–—™\xa0¡¢£¥§©ª«®°±²³´µ·º»¼½¾¿×\xad"

#: The non-ASCII letters of languages that are often mixed. All letters of a file must be in one of these sets.
_ALPHABETS = tuple(
    frozenset(letters)
    for letters in (
        "àâçéèêëîïôûùüœæöäåøßñ",  # English, French, German, Dutch, Danish, Norwegian, Swedish, Finnish
        "áàâãçéèêëíïìñóòôõúùü",  # Spanish, Portuguese, Catalan, Galician, Italian
        "áðéíóúýþæö",  # Icelandic
    )
)
#: Without one of these, `ð`, `ý` and `þ` are the Turkish letters of Windows-1254.
_ICELANDIC_VOWELS = frozenset("áíóúæ")

_ALTERNATIVES = (
    f"[^\x00-\x7f{_LETTERS}{_SIGNS}]",
    "[ŠšŽžŸƒ]",
    # Cyrillic, Greek, Hebrew, Arabic, Chinese, Korean
    f"[{_LETTERS}]{{3}}|(?<=\\W)[{_LETTERS}]{{2}}(?=\\W)",
    f"(?<=[a-zß-öø-ÿ])[{_UPPER}]",
    # UTF-8
    "[ÂÃ](?=[€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ\xa0-\xbf])",
    # Signs within and after a word, and the signs that end none.
    f"(?<=[A-Za-z{_LETTERS}])[€‚„¡¢£¥§ª«±µ¼½¾¿]",
    f"(?<=[{_LETTERS}])´|×(?=[{_LETTERS}])|[€®¼½¾](?=[a-z{_LETTERS}])|¡(?=[CF]\\b)",
    "(?<=[^\\WmtnMTN\\d])[²³]|(?<=[^\\WnNmM\\d])[º¹]",
    f"(?<=[A-Za-z{_LETTERS}])[…“”•™©®²³º¹‘](?=[a-z{_LETTERS}])",
    "(?<=[a-zß-öø-ÿ])[–—](?=[a-zß-öø-ÿ])",
    "(?<=\\w\\w\\w)(?<!ourd)(?<!ll|qu|un|st|nd)’(?=[a-zß-öø-ÿ])(?!(?:s|t|d|m|re|ve|ll)\\b)",
    "(?<=\\w)[¡¿]",
    # Letters in places where they have another meaning: Polish, Czech, Hungarian, Romanian, Latvian.
    "[ìùÌÙ](?=\\w)|[çÇ](?=[b-df-hj-np-tv-xz])|[ãÃ](?=[a-df-hj-nprt-z])|[õÕ](?=[^eEsS])|û(?=\\W)",
    "œ(?=[^uidn])",
)
#: Every alternative starts with a non-ASCII character; the lookahead skips the others quickly.
_ODD = re.compile(f"(?=[^\x00-\x7f])(?:{'|'.join(_ALTERNATIVES)})")


class Windows1252Check:
    """Checks the text of one file, block by block."""

    def __init__(self) -> None:
        self._letters: set[str] = set()

    def find_implausible(self, text: str) -> int | None:
        """Returns where the text cannot be Windows-1252, given the blocks before it; None if it can."""
        if odd := _ODD.search(text):
            return odd.start()
        letters = {char for char in set(text.lower()) if "ß" <= char <= "ÿ" or char == "œ"}
        self._letters |= letters
        if self._is_one_alphabet():
            return None
        return next(index for index, char in enumerate(text.lower()) if char in letters)

    def _is_one_alphabet(self) -> bool:
        *others, icelandic = _ALPHABETS
        if any(self._letters <= alphabet for alphabet in others):
            return True
        return self._letters <= icelandic and not self._letters.isdisjoint(_ICELANDIC_VOWELS)
