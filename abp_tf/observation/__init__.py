"""Observations of signals: through masks, or through linear operators."""
