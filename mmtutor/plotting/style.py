"""What all figures have in common: colours that colour-blind readers can tell apart, markers, matplotlib's settings."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's palette, without yellow and black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
# Ten, for the digits 0 to 9.
TEN_COLOURS = (*COLOURS, "#000000", "#882255", "#4B0092", "#999933")
MARKERS = "os^DvPX"
# A figure is made within ``plt.rc_context(STYLE)``, so that the reader's own settings stay as they are.
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "font.size": 10.0,
    "figure.dpi": 100.0,
    "figure.constrained_layout.use": True,
}
