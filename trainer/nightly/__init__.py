"""What makes a run a nightly one: its dates, its checks, the gate to production. No TensorFlow in here."""
