"""The words of this project: one word for one thing, and the field's word. `python -m tests.test_vocabulary PATH...`"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Pattern of a word or phrase, and what to write instead.
BANNED = {
    # `"pictures"` in quotes is a column name that users write.
    r"(?<!\")[Pp]ictures?|PICTURE": "image",
    r"(?<!\bIP )(?<!\bip )(?<![\w-])[Aa]ddress(es)?(?![\w-])": "URL, or `IP address` in full",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\banew\b": "again",
    r"\bworthless\b": "revoked",
    r"\bstrangers?\b": "untrusted client, unknown file",
    r"\bwhoever\b": "name the actor",
    r"\bdeeds?\b": "action",
    r"\bdut(y|ies)\b": "periodic task",
    r"\bhouses?\b": "application state",
    r"\bdoors?\b": "endpoint, route, transport",
    r"\bverdicts?\b": "result",
    r"\btold\b": "logged, returned, reported",
    r"\b(is|are|not|stays?|stay|good) good\b|\bgood (for|until)\b": "valid",
    r"\b(is|are|was) over\b": "expired, finished",
    r"\bof ours\b": "our, internal",
    r"\bbeside\b": "besides, next to",
    r"\bfor ?ever\b": "without end, forever is rarely meant",
    r"\bhand(s|ed|ing)? (out|on|over)\b": "issue, pass",
    r"\blook(s|ed|ing)?[ -]after\b": "maintain",
    r"\b(bring(s|ing)?|brought) about\b": "cause",
    r"\b(goes|go|going|went) on\b": "continue",
    r"\bput(s|ting)? off\b": "postpone, retry later",
    r"\b(take|takes|taking|took|taken) up\b": "start",
    r"\b(see|sees|saw|seen) to\b": "handle",
    r"\bby (itself|themselves)\b": "automatically",
    r"\bfaults? of\b": "error",
    r"\bhence\b": "so",
    r"\bat the (most|least)\b": "at most, at least",
    # "this port does not speak TLS" is a message that issue 20 fixes.
    r"\bspeaks?\b(?! TLS)": "uses, accepts",
    r"\bbeliev(e|es|ed|ing)\b": "accept, verify",
}
#: Generated files, binary files, and texts that are fixed elsewhere.
SKIPPED = re.compile(
    r"(^|/)(LICENSE|.*\.lock|package-lock\.json|.*\.(png|svg|ico)|contract\.graphql|test_vocabulary\.py)$"
)


def tracked_texts(*paths: str) -> Iterator[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *paths],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in listed.splitlines():
        if not SKIPPED.search(name) and (ROOT / name).is_file():
            yield ROOT / name


def banned_words(paths: Sequence[str] = ()) -> list[str]:
    """`file:line: word -> what to write instead`, for every use of a banned word."""
    found = []
    for path in tracked_texts(*paths):
        text = path.read_text(encoding="utf-8")
        for pattern, instead in BANNED.items():
            for match in re.finditer(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(ROOT)}:{line}: {match[0]} -> {instead}")
    return found


def test_texts_use_the_words_of_the_project() -> None:
    assert banned_words() == []


if __name__ == "__main__":
    uses = banned_words(sys.argv[1:])
    print("\n".join(uses))  # noqa: T201 - a command
    print(f"{len(uses)} uses of banned words")  # noqa: T201 - a command
