"""What a captioner of photographs says about a portrait in the public domain: ``python -m experiments.portrait FILE``.

FILE is the ``captioner.safetensors`` of ``python -m experiments.photographs``. The portrait is that of Grace Hopper, of
the United States Navy, which comes with matplotlib. Words and attention weights go to ``mmtutor/results/portrait.npz``,
the figure to ``docs/assets/portrait.webp``: no photograph of the data set may be shown there. No verdict rests on one
picture.
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib import cbook

from experiments.results import RESULTS, ROOT
from mmtutor.photographs import PhotoCaptioner, draw


def main() -> None:
    """Caption the portrait and keep what came out."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m experiments.portrait runs/photographs/captioner.safetensors")
    found = PhotoCaptioner.load(sys.argv[1]).caption(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    if found.alpha is None:
        sys.exit("portrait: the model has no attention")
    np.savez_compressed(RESULTS / "portrait.npz", words=np.array(found.words), alpha=found.alpha.half().numpy())
    figure = draw(found)
    figure.suptitle("")  # the page says it
    figure.savefig(ROOT / "docs" / "assets" / "portrait.webp", dpi=100)
    print(" ".join(found.words))


if __name__ == "__main__":
    main()
