"""Parsing of arguments that the verbs share: a file per duty."""
