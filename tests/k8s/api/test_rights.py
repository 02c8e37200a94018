"""docs/rights.md grants what the verbs need, no less and no more."""

from __future__ import annotations

from pathlib import Path

import yaml

from k8s.api.rights import role

PAGE = Path(__file__).parents[3] / "docs" / "rights.md"


def test_the_page_has_the_role_the_verbs_need():
    text = PAGE.read_text()
    documented = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    rules = [(r["apiGroups"][0], r["resources"][0], r["verbs"]) for r in documented["rules"]]
    assert rules == role()
