"""Markdown, HTML and figures."""
