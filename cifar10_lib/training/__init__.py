"""Recipes, hooks, checkpoints, one run from start to end, clusters, export."""
