"""Scores, tables and drawings; what TensorBoard shows."""
