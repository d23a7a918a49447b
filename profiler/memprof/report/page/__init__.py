"""The report: one page about the saved results of one config, as HTML or Markdown."""

from memprof.report.page.collect import ReportInputs, collect
from memprof.report.page.html import to_html, tracked_to_html
from memprof.report.page.markdown import to_markdown

__all__ = ["ReportInputs", "collect", "to_html", "to_markdown", "tracked_to_html"]
