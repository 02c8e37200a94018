"""What a run's objects say: pods, job state, training progress, the run in storage.

Pure functions of documents; only `stored_run` reads storage. Open `job_state` first.
"""
