"""One page about one config, as HTML or as Markdown: what is saved of it, gathered, judged and laid out as text."""

from memprof.report.page.collect import Gathered, gather
from memprof.report.page.html import to_html
from memprof.report.page.markdown import to_markdown

__all__ = ["Gathered", "gather", "to_html", "to_markdown"]
