"""The feature store: HDF5 shards of features, their layout, checks, and import and export."""
