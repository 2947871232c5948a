"""Documents of the workspace as Markdown."""
