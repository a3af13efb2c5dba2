"""Rows before suppression: kept by `avloc predict --raw`, decoded again by `avloc tune`."""
