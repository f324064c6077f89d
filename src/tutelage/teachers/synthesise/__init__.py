"""Teachers that make the examples."""
