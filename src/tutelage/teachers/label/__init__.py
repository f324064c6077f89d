"""Teachers that say what the student is told about an example."""
