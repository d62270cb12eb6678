"""How fast the training loop is, beside other loops: `python -m benchmarks.training`, see docs/training-speed.md."""
