"""Teachers that decide which examples are shown."""
