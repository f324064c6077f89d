"""The report of a run: one self-contained HTML file with tables, curves and pictures."""

from .page import write as write
