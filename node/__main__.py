"""`python -m node ...`: the front door, as `qct-node up` calls it for its parts."""

from node.cli import main

main()
