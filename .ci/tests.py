#!/usr/bin/env python3
"""Checks that every test in the sources ran: reads from stdin what `cargo test` said, and shows it.

A test behind a feature that is off, or in a file that nothing includes, does not fail: it is not there.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ATTRIBUTE = re.compile(r"^\s*#\[(?:tokio::)?test\b", re.MULTILINE)
RESULT = re.compile(r"^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored;")


def written() -> int:
    """Returns how many tests the sources have. Fuzz targets are no tests."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"]
    files = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split("\0")
    paths = [ROOT / file for file in files if file and not file.startswith("fuzz/")]
    return sum(len(ATTRIBUTE.findall(path.read_text())) for path in paths if path.exists())


def main() -> int:
    """Prints what comes, and how many tests ran. Returns the exit code."""
    ran, ignored, is_doc = 0, 0, False
    for line in sys.stdin:
        sys.stdout.write(line)
        sys.stdout.flush()
        if re.match(r"^\s+(Running|Doc-tests) ", line):
            is_doc = "Doc-tests" in line
        elif (result := RESULT.match(line)) and not is_doc:
            passed, failed, left = map(int, result.groups())
            ran += passed + failed
            ignored += left
    expected = written()
    if ran == 0:
        print("error: cargo test ran nothing: give its output, with stderr, to this script", file=sys.stderr)
        return 1
    if ran != expected or ignored:
        print(f"error: {expected} tests are written, {ran} ran, {ignored} are ignored: is one behind a feature that "
              f"`full` lacks, or in a file that no module includes?", file=sys.stderr)
        return 1
    print(f"all {ran} tests ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
