"""Tells how training and evaluation go: scores, tables, summaries and drawings."""
import logging

# It reports its cache of fonts, and where it keeps it.
logging.getLogger('matplotlib').setLevel(logging.ERROR)
