"""`python -m avloc` is `avloc`."""

from avloc.cli.main import entry

entry()
