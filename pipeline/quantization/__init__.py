"""Integers of 8 bits in the place of floats, within what the headline metric may lose.

judge = Judge(float_predictor, inputs, targets, schema=schema, max_drop=0.01, …)
with OnnxStatic.opened(payload, rows, arithmetic, ("minmax", "entropy")) as subject:
    found = bounded(subject, judge, sample, max_float_share=0.5)      # node by node back to float until the budget holds
"""
