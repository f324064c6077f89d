"""Teachers that decide how much each example counts."""
