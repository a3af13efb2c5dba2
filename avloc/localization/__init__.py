"""The localization of one clip and its output formats."""
