"""`python -m node ...`: the command line, as `qct-node up` calls it for its parts."""

from node.cli import main

main()
