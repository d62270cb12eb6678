"""The first step with your own data: look at it, and write a config that trains on it.

init(Path("sales.csv"), target="price", name=None, force=False, say=print)     # configs/sales.yaml
"""
