"""The extraction job: many clips > a store, surviving failures of clips, workers and machines."""
