"""What is measured, each by a command that prints one table."""
