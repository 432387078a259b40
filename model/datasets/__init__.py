"""Data sets: one file for each, all of them giving one `base.Dataset`."""
