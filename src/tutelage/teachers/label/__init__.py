"""Teachers that decide what the student is told about an example."""
