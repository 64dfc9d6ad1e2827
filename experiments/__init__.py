"""What takes longer than a notebook: several seeds, tables of figures. ``python -m experiments.NAME``."""
