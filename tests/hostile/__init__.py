"""Hostile inputs, each a row of a table: `python -m tests.hostile` runs all of them, the tests a sample.

Open `cases` first. A case says which exit codes are right; `harness` runs it in a folder of its own and checks what
holds for all: one clear error, no traceback, no control character on the terminal, nothing foreign touched.
"""
