"""One page about one config, as HTML or as Markdown: what is saved of it, gathered, judged and laid out as text."""

from profiler.page.gather import Gathered, gather
from profiler.page.html import to_html
from profiler.page.markdown import to_markdown

__all__ = ["Gathered", "gather", "to_html", "to_markdown"]
