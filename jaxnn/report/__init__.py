"""What a run looked like: the summary of a model, figures, and one self-contained HTML page.

Matplotlib and Jinja2 (`pip install jaxnn[report]`) load when a figure is drawn or a page is written.
"""

from jaxnn.report.calibration import reliability_diagram
from jaxnn.report.classes import confusion, per_class
from jaxnn.report.curves import learning_curves, optimizer_curves
from jaxnn.report.environment import environment
from jaxnn.report.landscape import loss_landscape
from jaxnn.report.learning_rates import learning_rates
from jaxnn.report.page import Page, Section, render_page, write_page, write_report
from jaxnn.report.pictures import first_layer_weights, mistakes
from jaxnn.report.summary import Summary, SummaryRow, summary
from jaxnn.report.table import Table, key_values, records
from jaxnn.report.theme import save_png, style

__all__ = [
    "Page",
    "Section",
    "Summary",
    "SummaryRow",
    "Table",
    "confusion",
    "environment",
    "first_layer_weights",
    "key_values",
    "learning_curves",
    "learning_rates",
    "loss_landscape",
    "mistakes",
    "optimizer_curves",
    "per_class",
    "records",
    "reliability_diagram",
    "render_page",
    "save_png",
    "style",
    "summary",
    "write_page",
    "write_report",
]
