"""Refuses the worst of the language: words of plain_english.toml, sentences that begin with
"Who …", and class names that are no nouns.

Rules: checks the prose of every tracked file whose kind is known: comments, strings, class and
test names of Python; the whole text of other files; the source texts of catalogues. A question
may begin with "Who". Prints `file:line: word: what to write instead`; exit status 1 on any.
"""

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
_WHOLE = {".lua", ".js", ".css", ".html", ".md", ".toml", ".yaml", ".service", ".cfg"}
_MARKS = re.compile(r"^[ \t]*(?:--+|//+|/?\*+/?|#+:?|>+)", re.MULTILINE)
_STRING = re.compile(r"^[a-zA-Z]*(\"\"\"|'''|\"|')(.*)\1$", re.DOTALL)
_TEST = re.compile(r"\bdef (test_\w+)")
_CLASS = re.compile(r"\bclass ([A-Z_]\w*)(?=[ (:{\[])")
_WHO = re.compile(r"\bWho (?=[a-z])[^.?!|<]*([.?!|<]?)")
_INSTEAD_OF_WHO = "name the actor: The visitor that …"

Problem = tuple[int, str, str]  # line, what stands there, what to write instead
Prose = tuple[int, str]  # the line on which it begins, and the text with its line breaks


class WordList:
    """The word list, read once."""

    def __init__(self, path: Path) -> None:
        read = tomllib.loads(path.read_text("utf-8"))
        self.skip = frozenset(read["skip"])
        self.records: str = read["records"]
        self.kept = frozenset(read["kept"])
        self.words: dict[str, str] = read["words"]
        self.types: dict[str, list[str]] = read["types"]
        spelled = (re.escape(word).replace(r"\ ", r"\s+") for word in self.words)
        self.pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(spelled)})(?![\w-])", re.IGNORECASE)

    def is_noun(self, name: str) -> bool:
        """Whether a class name can be a noun, by its last word."""
        last = re.findall(r"[A-Z][a-z0-9]*|[a-z0-9]+", name)[-1]
        if name in self.types["allowed"] or last in self.types["nouns"]:
            return True
        is_participle = last.endswith(tuple(self.types["suffixes"]))
        return not is_participle and name.lstrip("_") not in self.types["words"]


def prose_of_python(text: str) -> Iterator[Prose]:
    """Comments and strings; those that follow each other are one text."""
    began, parts, end, kind_before = 0, "", 0, -1
    for kind, string, start, stop, _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        if kind == tokenize.COMMENT:
            said = string.lstrip("#: ")
        elif kind == tokenize.STRING:
            match = _STRING.match(string)
            said = match[2] if match else string
        elif tokenize.tok_name[kind] == "FSTRING_MIDDLE":
            kind, said = tokenize.STRING, string
        else:
            if kind == tokenize.OP or kind == tokenize.NEWLINE:
                kind_before = -1
            continue
        if kind != kind_before or start[0] > end + 1:
            if parts:
                yield began, parts
            began, parts, end = start[0], "", start[0]
        parts += "\n" * (start[0] - end) + said
        end, kind_before = stop[0], kind
    if parts:
        yield began, parts


def prose(path: str, text: str) -> Iterator[Prose]:
    """What of a file is read by people."""
    if path.endswith(".py"):
        yield from prose_of_python(text)
        for match in _TEST.finditer(text):
            name = match[1].removeprefix("test_").replace("_", " ")
            yield text.count("\n", 0, match.start()) + 1, name[:1].upper() + name[1:]
    elif path.endswith(".po"):
        for match in re.finditer(r'^msgid(?:_plural)? ((?:"[^\n]*"\n)+)', text, re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            yield line, match[1].replace('"\n"', "\n").strip('"')
    else:
        yield 1, _MARKS.sub("", text)


def problems(path: str, text: str, listed: WordList) -> list[Problem]:
    """Every problem of one file, by line."""
    found: list[Problem] = []
    for began, said in prose(path, text):
        for match in listed.pattern.finditer(said):
            word = " ".join(match[0].split())
            if path.startswith(listed.records) and word.lower() in listed.kept:
                continue
            line = began + said.count("\n", 0, match.start())
            found.append((line, word, listed.words[word.lower()]))
        for match in _WHO.finditer(said):
            if match[1] != "?":
                line = began + said.count("\n", 0, match.start())
                found.append((line, "Who", _INSTEAD_OF_WHO))
    if path.endswith((".py", ".js")):
        for match in _CLASS.finditer(text):
            if not listed.is_noun(match[1]):
                line = text.count("\n", 0, match.start()) + 1
                found.append((line, match[1], "a class name is a noun"))
    return sorted(set(found))


def main(arguments: list[str]) -> int:
    """Check the tracked files, or the ones named; the exit status."""
    listed = WordList(HERE / "plain_english.toml")
    command = ["git", "ls-files", "-z", "--", *arguments]
    names = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout  # noqa: S603
    count = 0
    for path in names.decode().split("\0"):
        kind = Path(path).suffix
        if path in listed.skip or not Path(path).is_file():
            continue
        if kind in _WHOLE or kind in (".py", ".po") or path in ("Makefile", "Dockerfile"):
            for line, word, instead in problems(path, Path(path).read_text("utf-8"), listed):
                print(f"{path}:{line}: {word}: {instead}")  # noqa: T201
                count += 1
    print(f"{count} problems of language", file=sys.stderr)  # noqa: T201
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
