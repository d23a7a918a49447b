"""Where points are measured: in this machine's worker, or in runners on a cluster. Each engine has one protocol."""
