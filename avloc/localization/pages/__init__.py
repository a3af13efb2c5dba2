"""Pages for people: of one clip with its timeline, and of a folder of clips. They load nothing from elsewhere."""
