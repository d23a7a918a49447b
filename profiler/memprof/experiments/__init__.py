"""What each command runs, and in what order."""
