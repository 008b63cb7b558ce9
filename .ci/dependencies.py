#!/usr/bin/env python3
"""Checks the licence, the name and the source of every dependency against deny.toml.

`cargo deny check licenses bans sources` checks the same from the same file, but takes minutes to compile on a clean
clone. This takes a second, and needs nothing but cargo and Python 3.11. Advisories are left to cargo-deny.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The fuzz targets have a workspace and a Cargo.lock of their own.
MANIFESTS = ("Cargo.toml", "fuzz/Cargo.toml")


def packages() -> list[dict]:
    """Returns every package of both Cargo.lock files once, the project's own included."""
    found = {}
    for manifest in MANIFESTS:
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
        command += ["--manifest-path", str(ROOT / manifest)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            sys.exit(f"error: cargo cannot read {manifest} with its Cargo.lock: bring that up to date with "
                     f"`cargo metadata --manifest-path {manifest}`, and commit it")
        found |= {package["id"]: package for package in json.loads(done.stdout)["packages"]}
    return sorted(found.values(), key=lambda package: (package["name"], package["version"]))


class Licence:
    """An SPDX expression: WITH binds closest, then AND, then OR. Old crates write `/` for OR."""

    def __init__(self, text: str):
        self.tokens = re.findall(r"[()/]|[\w.+-]+", text)

    def take(self, *words: str) -> bool:
        """Removes the next token if it is one of `words`. Returns whether it was."""
        if self.tokens and self.tokens[0] in words:
            self.tokens.pop(0)
            return True
        return False

    def any_of(self, allowed: set[str]) -> bool:
        """Returns whether `allowed` satisfies at least one alternative."""
        satisfied = self.all_of(allowed)
        while self.take("OR", "/"):
            # Evaluated first: the tokens must be consumed whatever the first alternative gave.
            satisfied = self.all_of(allowed) or satisfied
        return satisfied

    def all_of(self, allowed: set[str]) -> bool:
        """Returns whether `allowed` satisfies every part."""
        satisfied = self.one(allowed)
        while self.take("AND"):
            satisfied = self.one(allowed) and satisfied
        return satisfied

    def one(self, allowed: set[str]) -> bool:
        """Returns whether `allowed` has the next licence, or satisfies the next parenthesis."""
        if self.take("("):
            satisfied = self.any_of(allowed)
            if not self.take(")"):
                raise ValueError("a parenthesis is not closed")
            return satisfied
        name = self.name()
        if self.take("WITH"):
            name += f" WITH {self.name()}"
        return name in allowed

    def name(self) -> str:
        """Removes and returns the next name."""
        if not self.tokens or not re.match(r"\w", self.tokens[0]):
            raise ValueError("a licence is missing")
        return self.tokens.pop(0)

    def is_satisfied(self, allowed: set[str]) -> bool:
        """Returns whether `allowed` satisfies the whole expression."""
        satisfied = self.any_of(allowed)
        if self.tokens:
            raise ValueError(f"{self.tokens[0]} is unexpected")
        return satisfied


def check_licences(rules: dict, found: list[dict]) -> tuple[list[str], list[str]]:
    """Returns an error for each package without an allowed licence, and a warning for each rule without use."""
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["exceptions"]}
    allowed = set(rules["allow"])
    errors, mentioned = [], ""
    for package in found:
        label = f"{package['name']} {package['version']}"
        text = package["license"] or ""
        mentioned += f" {text}"
        try:
            accepted = allowed | exceptions.get(package["name"], set())
            if not Licence(text).is_satisfied(accepted):
                errors.append(f"{label}: {text} is not allowed by [licenses]")
        except ValueError as error:
            errors.append(f"{label}: cannot read the licence {text!r}: {error}")
    names = {package["name"] for package in found}
    unused = [name for name in exceptions if name not in names]
    unused += [name for name in allowed if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", mentioned)]
    return errors, [f"[licenses] allows {name}, which nothing needs" for name in sorted(unused)]


def check_names(rules: dict, found: list[dict]) -> tuple[list[str], list[str]]:
    """Returns an error for each refused package or open requirement, and a warning if crates have several versions."""
    refused = {entry["crate"]: entry["reason"] for entry in rules["deny"]}
    errors, versions = [], defaultdict(set)
    for package in found:
        versions[package["name"]].add(package["version"])
        if package["name"] in refused:
            errors.append(f"{package['name']} {package['version']} is refused: {refused[package['name']]}")
        if package["source"] is None:
            # Paths inside the repository need no version.
            open_ended = [d["name"] for d in package["dependencies"] if d["req"] == "*" and "path" not in d]
            errors += [f"{package['name']} takes any version of {name}" for name in open_ended]
    several = [f"{name} ({len(known)})" for name, known in sorted(versions.items()) if len(known) > 1]
    return errors, [f"{len(several)} crates in several versions: {', '.join(several)}"] if several else []


def check_sources(rules: dict, found: list[dict]) -> list[str]:
    """Returns an error for each package that comes from neither an allowed registry nor the repository itself."""
    allowed = {f"registry+{registry}" for registry in rules["allow-registry"]}
    errors = []
    for package in found:
        label = f"{package['name']} {package['version']}"
        inside = Path(package["manifest_path"]).is_relative_to(ROOT)
        if package["source"] is None and not inside:
            errors.append(f"{label} comes from outside the repository: {package['manifest_path']}")
        if package["source"] is not None and package["source"] not in allowed:
            errors.append(f"{label} comes from {package['source']}")
    return errors


def main() -> int:
    """Prints errors and warnings. Returns the exit code."""
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    found = packages()
    errors, warnings = check_licences(rules["licenses"], found)
    more_errors, more_warnings = check_names(rules["bans"], found)
    errors += more_errors + check_sources(rules["sources"], found)
    warnings += more_warnings
    for warning in warnings:
        print(f"warning: {warning}")
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    print(f"{len(found)} packages, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
