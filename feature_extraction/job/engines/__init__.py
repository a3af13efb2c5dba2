"""Engines run the shards of a job: `local` in processes of this machine."""
