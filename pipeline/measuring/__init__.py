"""How artifacts are measured side by side, each in a process of its own, and how one of them is chosen.

orders      what the parent says to a worker, and what it hears
worker      the child: `python -m pipeline.measuring.worker`; for ONNX it imports neither torch nor the rest of the pipeline
process     the parent's end of it
windows     turns, until windows agree
rows        what was measured
policy      which artifact is served, a function of the rows alone
unmade      what quantize rejected, told in the decision
"""
