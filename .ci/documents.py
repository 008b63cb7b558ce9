#!/usr/bin/env python3
"""Checks every Markdown file of the repository: links, anchors and code blocks.

A relative link must lead to a file of the repository, and its anchor to a heading there. A code block must name its
language, and those in `sh`, `toml`, `json` and `sql` must parse. The book must have every document of docs/, and no
document of docs/ may link out of that folder, where the book has no page. Needs nothing but git, bash and Python 3.11.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
BOOK = PurePosixPath("docs")
LANGUAGES = {"csv", "json", "rust", "sh", "sql", "text", "toml"}

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>.*)$")
HEADING = re.compile(r"^#{1,6}\s+(?P<text>.*?)\s*#*$")
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?(?P<target>[^)\s>]*)>?(?:\s+\"[^\"]*\")?\s*\)|"
                  r"^\s*\[[^\]]+\]:\s+<?(?P<reference>[^\s>]+)", re.MULTILINE)
ANCHOR = re.compile(r"<a\s+(?:id|name)=\"(?P<name>[^\"]+)\"")


def blank(match: re.Match) -> str:
    """Returns as many lines as the match has, without text, so that line numbers stay right."""
    return "\n" * match[0].count("\n")


class Document:
    """A Markdown file, with its code blocks set apart from its text."""

    def __init__(self, path: str, text: str):
        self.path = PurePosixPath(path)
        self.blocks: list[tuple[int, str, str]] = []
        self.errors: list[str] = []
        lines = self.set_blocks_apart(text.splitlines())
        self.headings = [found["text"] for line in lines if (found := HEADING.match(line))]
        prose = COMMENT.sub(blank, "\n".join(lines))
        # A stray backtick must not hide the rest of the file: code ends with its paragraph.
        self.prose = "\n\n".join(CODE.sub(blank, paragraph) for paragraph in prose.split("\n\n"))

    def set_blocks_apart(self, lines: list[str]) -> list[str]:
        """Moves the code blocks to `blocks` (line, language, content). Returns the lines with them left empty."""
        rest, opened = [], None
        for number, line in enumerate(lines, start=1):
            fence = FENCE.match(line)
            if opened is None and fence is None:
                rest.append(line)
                continue
            rest.append("")
            if opened is None:
                opened, content = (number, fence), []
            elif fence and fence["ticks"].startswith(opened[1]["ticks"]) and not fence["info"].strip():
                indent = len(opened[1]["indent"])
                text = "\n".join(line[min(indent, len(line) - len(line.lstrip())):] for line in content)
                self.blocks.append((opened[0], opened[1]["info"].strip(), text))
                opened = None
            else:
                content.append(line)
        if opened is not None:
            self.errors.append(f"{self.path}:{opened[0]}: the code block has no end")
        return rest

    def links(self) -> list[tuple[int, str]]:
        """Returns every link's line and target."""
        links = []
        for found in LINK.finditer(self.prose):
            line = self.prose.count("\n", 0, found.start()) + 1
            links.append((line, found["target"] or found["reference"] or ""))
        return links

    def anchors(self) -> set[str]:
        """Returns the anchors that the file's headings get, as repositories' hosts and books make them."""
        names: set[str] = {found["name"] for found in ANCHOR.finditer(self.prose)}
        for heading in self.headings:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            name, number = slug, 0
            while name in names:
                number += 1
                name = f"{slug}-{number}"
            names.add(name)
        return names


def sql_fault(text: str) -> str | None:
    """Returns what is wrong with the quotes and parentheses of SQL. Its grammar is checked by the planner's tests."""
    without = re.sub(r"'(?:[^']|'')*'|--[^\n]*", "", text)
    if "'" in without:
        return "a quote is not closed"
    depth = 0
    for character in without:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return "a parenthesis is closed that was not opened"
    return "a parenthesis is not closed" if depth else None


def block_fault(language: str, text: str) -> str | None:
    """Returns what is wrong with a code block, if anything."""
    if language not in LANGUAGES:
        return f"name the language, one of {', '.join(sorted(LANGUAGES))}" + (f", not {language!r}" if language else "")
    try:
        if language == "toml":
            tomllib.loads(text)
        elif language == "json":
            json.loads(text)
    except ValueError as error:
        return str(error)
    if language == "sql":
        return sql_fault(text)
    if language == "sh":
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        return done.stderr.strip().splitlines()[0] if done.returncode else None
    return None


def link_fault(document: Document, target: str, places: set[str], documents: dict[str, Document]) -> str | None:
    """Returns what is wrong with a link to `target`, if anything. `places` are the repository's files and folders."""
    if re.match(r"[a-z][a-z+.-]*:", target):
        return None
    path, _, anchor = target.partition("#")
    place = normpath(str(document.path.parent / unquote(path))) if path else str(document.path)
    if place not in places:
        return f"{target} leads to no file of the repository"
    if BOOK in document.path.parents and BOOK not in PurePosixPath(place).parents:
        return f"{target} leads out of the book: write the path as code instead"
    if anchor and place in documents and unquote(anchor) not in documents[place].anchors():
        return f"{target} leads to no heading of {place}"
    return None


def repository_files() -> set[str]:
    """Returns the files that git tracks or would track."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


def main() -> int:
    """Prints what is wrong, with its place. Returns the exit code."""
    files = repository_files()
    documents = {name: Document(name, (ROOT / name).read_text()) for name in sorted(files) if name.endswith(".md")}
    places = files | {str(parent) for file in files for parent in PurePosixPath(file).parents}
    errors, links, blocks = [], 0, 0
    for name, document in documents.items():
        errors += document.errors
        for line, target in document.links():
            links += 1
            if fault := link_fault(document, target, places, documents):
                errors.append(f"{name}:{line}: {fault}")
        for line, language, text in document.blocks:
            blocks += 1
            if fault := block_fault(language, text):
                errors.append(f"{name}:{line}: {fault}")
    summary = str(BOOK / "SUMMARY.md")
    listed = {str(BOOK / target) for _, target in documents[summary].links()}
    missing = {name for name, document in documents.items() if document.path.parent == BOOK} - listed - {summary}
    errors += [f"{summary}: {name} is missing" for name in sorted(missing)]
    for error in errors:
        print(error, file=sys.stderr)
    print(f"{len(documents)} documents, {links} links, {blocks} code blocks, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
