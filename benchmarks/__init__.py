"""Time and memory of memprof, as ratios to unavoidable costs and to other tools."""
