"""What makes a run a nightly one: windows of dates, drift, the gate, production, retention.

It must not import TensorFlow or know how a model is trained. Open `gate` first.
"""
