"""Everything that memprof shows: on the terminal, as plots and as a page. Nothing here prints."""
