"""`python -m pitl` is `pitl`."""

from pitl.cli import main

main()
