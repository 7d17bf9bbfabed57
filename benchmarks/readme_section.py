"""Writes the results of a benchmark into its own section of `benchmarks/README.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

README = Path(__file__).with_name("README.md")


def conclude(section: str, text: str, problems: Sequence[str], *, is_whole: bool) -> None:
    """Print the figures, and write them after a complete run. Exits with 1 for problems."""
    if problems:
        text += "\n\nProblems: " + "; ".join(problems)
    print(text)
    if is_whole:
        write_section(section, text)
    if problems:
        raise SystemExit("\n".join(problems))


def write_section(name: str, text: str) -> None:
    """Replace the text between the markers of section `name`; append the section if it is new."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole = README.read_text("utf-8") if README.exists() else "# Benchmarks\n"
    section = f"{begin}\n\n{text}\n\n{end}"
    if begin in whole:
        before, _, rest = whole.partition(begin)
        whole = before + section + rest.partition(end)[2]
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    README.write_text(whole, "utf-8")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [" | ".join(head), " | ".join(["---", *["---:"] * (len(head) - 1)])]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
