"""Ends the Jobs of a cluster in memory, as their containers would."""

from __future__ import annotations

from datetime import date

JOBS = "/apis/batch/v1/namespaces/ml/jobs"


class Ends:
    """Ends the oldest run at every look, with the exit code of its day."""

    def __init__(self, server, codes=None):
        self.server, self.codes, self.most = server, codes or {}, 0

    def __call__(self, _):
        jobs = [j for p, j in self.server.behind.objects.items() if p.startswith(JOBS)]
        going = [j for j in jobs if not j.get("status", {}).get("conditions")]
        self.most = max(self.most, len(going))
        if not going:
            return
        oldest = min(going, key=of_day)
        code = self.codes.get(of_day(oldest), 0)
        failed = {"type": "Failed", "reason": "PodFailurePolicy", "message": f"failed with exit code {code} matching"}
        condition = failed if code else {"type": "Complete"}
        oldest["status"] = {"conditions": [{"status": "True", **condition}]}


def of_day(job):
    return date.fromisoformat(job["spec"]["template"]["metadata"]["annotations"]["kfit.dev/date"])
