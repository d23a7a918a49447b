"""The generator of the documentation site: tables from the code, and the commands' real output.

`mkdocs.yml` loads `hooks`, which fills the markers of a page when the site is built. `python -m docsite.outputs` runs
the commands that README.md and docs/ show, and writes their output into the pages.
"""
