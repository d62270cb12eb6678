"""Trained networks made smaller: without some of their channels or weights, or as another network that learns from them."""
