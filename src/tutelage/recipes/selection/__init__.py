"""What recipes share whose teachers choose rows of a pool: options, rows, embeddings, networks."""
