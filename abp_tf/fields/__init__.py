"""Fields on a grid with real gaps: a linear model with correlated residuals, and its choice by moved gaps."""
