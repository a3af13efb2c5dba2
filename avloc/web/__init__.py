"""A web page on which anyone can have a clip localized (extra `web`)."""
