"""What a run does and leaves: fit, callbacks, checkpoints, export, report, ledger."""
