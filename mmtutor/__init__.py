"""mmtutor: learn multimodal machine learning by running it.

Nothing is imported here, so that ``import mmtutor`` costs nothing; import the module you need::

    from mmtutor.data import digits
    from mmtutor.fusion import LateFusion
"""

__version__ = "0.1.0"
