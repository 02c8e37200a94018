"""`python -m k8s` is `kfit`."""

from k8s.cli import main

main()
