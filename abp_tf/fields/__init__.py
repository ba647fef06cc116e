"""Fields on a grid with real gaps: a linear model, and the choice of its settings by moved gaps."""
