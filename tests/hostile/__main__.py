"""Runs all hostile inputs and prints a table: `python -m tests.hostile [--only SUBJECT] [--limit N]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.hostile.cases import all_cases
from tests.hostile.harness import play


def main() -> int:
    """Returns 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="subjects that begin so")
    parser.add_argument("--every", type=int, default=1, help="each n-th case")
    chosen = parser.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in [c for c in all_cases() if c.subject.startswith(chosen.only)][:: chosen.every]:
        with tempfile.TemporaryDirectory(prefix="kfit-hostile-") as folder:
            try:
                answer = play(case, Path(folder))
            except BaseException as error:  # what leaves `run` would have been a crash of the command
                code, faults = "crash", (repr(error)[:300],)
            else:
                code, faults = str(answer.code), answer.faults
        counts[case.subject].update(["inputs", f"exit {code}", *(["ok"] if not faults else [])])
        for fault in faults:
            print(f"WRONG {case.id}: {fault}", file=sys.stderr, flush=True)
    print("| subject | inputs | ok | by exit code |\n| --- | ---: | ---: | --- |")
    for subject, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        codes = ", ".join(f"{k.removeprefix('exit ')}: {n}" for k, n in sorted(count.items()) if k.startswith("exit "))
        print(f"| {subject} | {count['inputs']} | {count['ok']} | {codes} |")
    return int(any(count["ok"] != count["inputs"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
