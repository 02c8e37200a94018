"""kfit, the launcher: job files to Kubernetes Jobs, and what became of them."""
