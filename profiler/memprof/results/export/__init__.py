"""Write the rows of a saved result for other tools; each package is imported when it is used."""

from memprof.results.export.destinations import DESTINATIONS, Destination, export

__all__ = ["DESTINATIONS", "Destination", "export"]
