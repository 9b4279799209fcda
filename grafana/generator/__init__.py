"""The dashboards as code: one module each, all from the panels in `panels.py`."""
