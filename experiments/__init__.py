"""What takes longer than a notebook: several seeds, tables of numbers. ``python -m experiments.NAME``."""
