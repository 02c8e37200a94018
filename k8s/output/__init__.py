"""What is written to the terminal: tables, documents for scripts.

It must not speak to a cluster. Open `tables` first.
"""
