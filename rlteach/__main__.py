"""`python -m rlteach`."""

from rlteach.cli import main

main()
