"""The TensorFlow side of a run: the session around `model.fit`, callbacks, state, resume, preemption.

It must not know reports, publication or production. Open `session` first.
"""
