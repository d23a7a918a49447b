"""Pictures of results: what is drawn (`series`), in which colours (`colours`), and the two that draw it.

`draw` is the only door to matplotlib, `terminal` the only one to plotext.
"""
