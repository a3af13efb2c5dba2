"""Speech networks: WavLM, wav2vec 2.0, XLS-R, HuBERT, and the upstreams of s3prl."""
