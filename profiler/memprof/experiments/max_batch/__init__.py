"""Find the largest batch size that trains."""
