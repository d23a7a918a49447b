"""How fast and how light memprof is, as ratios against what cannot be avoided and against its peers."""
