"""python .ci/words.py [--count]: looks for words that we don't use in docs, pages, comments, docstrings and messages.

Ends with 1 if one is found. With --count it prints how many every room has. A line that quotes
others, such as a title that people paste, or that uses a name of the code, ends in the comment `words: quoted`.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# What is read besides Python, whose comments and texts are read. CHANGELOG.md may quote what a page said.
TEXT = {".md", ".html", ".txt", ".toml", ".yaml", ".sh", ""}
SKIPPED = {"CHANGELOG.md", "LICENSE", ".ci/words.py", "static/shell/fonts/OFL.txt"}
QUOTED = "# words: quoted"

WORDS = {
    r"mails(?! per minute)": "emails (pages, docs), messages (code)",
    r"e-mails?": "email",
    r"mend(s|ed|ing)?": "fix",
    r"shall": "should, will",
    r"anew": "again",
    r"by (it|them)sel(f|ves)": "automatically, on its own",
    r"whoever": "you, the person who",
    r"somebody": "you, a person, another member",
    r"stands (here|there|in (the|its|a)|on an?)": "is shown",
    r"user names?": "username",
    r"(logg(ed|ing) (in|out)|log in to)": "sign in, sign out",
    r"(time|times) (is|was|were|has been) over": "has expired, is in the past",
    r"whitelist(s|ed)?": "allow-list",
    r"blacklist(s|ed)?": "deny-list",
}
# Not in a name of the code, such as `{depth.mails}` in a text.
_BETTER = {re.compile(rf"(?<![\w.{{`]){word}\b(?![-`])", re.IGNORECASE): better for word, better in WORDS.items()}
# A text that is one name is a key in code, such as a column; "mails" there is another sweep's.
_NAME = re.compile(r"[a-zA-Z]*(['\"])\w*\1$")
_TEXT_TOKENS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


class Finding(NamedTuple):
    file: str
    line: int
    word: str
    better: str

    @property
    def room(self) -> str:
        return self.file.partition("/")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", action="store_true", help="how many there are in each room")
    findings = [finding for file in _files() for finding in _findings(file)]
    if parser.parse_args().count:
        for room, count in sorted(Counter(finding.room for finding in findings).items()):
            print(f"{count:5} {room}")
        print(f"{len(findings):5} in all")
        return 0
    for finding in findings:
        print(f"{finding.file}:{finding.line}: “{finding.word}” → {finding.better}")
    return 1 if findings else 0


def _files() -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S607
    for file in listed:
        path = Path(file)
        if file not in SKIPPED and "migrations" not in path.parts and path.suffix in {".py", *TEXT} and (ROOT / path).is_file():
            yield file


def _findings(file: str) -> Iterator[Finding]:
    text = (ROOT / file).read_text(encoding="utf-8")
    lines = text.splitlines()
    for first_line, part in _python_texts(text) if file.endswith(".py") else [(1, text)]:
        for pattern, better in _BETTER.items():
            for match in pattern.finditer(part):
                number = first_line + part.count("\n", 0, match.start())
                if not lines[number - 1].endswith(QUOTED):
                    yield Finding(file, number, match[0], better)


def _python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Comments, docstrings and other texts, each with the number of its first line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TEXT_TOKENS and not _NAME.match(token.string):
            yield token.start[0], token.string


if __name__ == "__main__":
    sys.exit(main())
