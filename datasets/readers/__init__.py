"""Readers of published layouts: metadata > `RecordTable`."""
