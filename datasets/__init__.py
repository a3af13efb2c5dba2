"""Datasets: readers, generated sets, and batches for training."""

if __name__ == "datasets":
    raise ImportError("this folder is the package avloc.datasets; do not put the repository's root on the path for it")
