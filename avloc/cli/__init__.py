"""The command line: one file or folder per verb; each is imported only when it is called."""
