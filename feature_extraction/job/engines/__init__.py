"""Engines run the shards of a job: `local` in processes of this machine, `ray` as tasks of a cluster."""
