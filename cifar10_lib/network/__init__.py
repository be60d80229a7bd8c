"""Fast layers, probabilities, 16-bit arithmetic and the Muon optimizer."""
