"""One rank of many: the process group whose other ranks are absent, and the model's part on this rank."""
