"""Records made readable. Everything here returns what to show; nothing here prints."""
