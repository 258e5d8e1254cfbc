"""Every picture that the package draws, in one style. Needs matplotlib (extra `plot`); no display, no pyplot."""
