"""A web page that localizes uploaded clips (extra `web`)."""
