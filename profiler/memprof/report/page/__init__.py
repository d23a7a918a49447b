"""One page about one config, as HTML or as Markdown: what is saved of it, inputs, judged and laid out as text."""

from memprof.report.page.collect import ReportInputs, collect
from memprof.report.page.html import to_html
from memprof.report.page.markdown import to_markdown

__all__ = ["ReportInputs", "collect", "to_html", "to_markdown"]
