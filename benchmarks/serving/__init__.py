"""How fast the service is, beside other model servers: `python -m benchmarks.serving`, see docs/serving-speed.md."""
