"""Several processes of one run: rank, rendezvous, transport, coordination, launch on one machine.

It must not import TensorFlow. Open `coordinator` first.
"""
