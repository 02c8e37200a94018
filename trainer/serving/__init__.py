"""The published model: signature, export, proof in a clean process, batch inference, holdout predictions.

It must not know how a model was trained. Open `export` first: it calls `signature` and `proof`.
"""
