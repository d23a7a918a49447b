"""What a session with a real GPU records, in one command of at most 12 minutes."""
