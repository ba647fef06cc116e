"""Markov chains: samplers of densities known by an energy. Nothing here knows a model."""
