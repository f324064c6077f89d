"""The report of a run: one self-contained HTML file with tables, curves and pictures; and its lists of label errors."""

from .export import export_suspects as export_suspects
from .page import write as write
