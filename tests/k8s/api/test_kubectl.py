"""kfit sends what the real kubectl sends, for every way in which a kubeconfig says which cluster and who asks."""

from __future__ import annotations

import pytest

from tests.k8s.api.kubectl_cases import CASES, DIFFERENT, by_kfit, by_kubectl, play


@pytest.mark.parametrize("name", CASES)
def test_kfit_sends_what_kubectl_sends(name, authority, recorder):
    theirs = play(name, by_kubectl, authority, recorder)
    ours = play(name, by_kfit, authority, recorder)
    if name in DIFFERENT:
        assert theirs.request is None
        assert ours.request.authorization == ""
        return
    assert ours == theirs, f"kubectl: {theirs.said}\nkfit: {ours.said}"
