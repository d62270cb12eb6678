"""bench-artifacts: what pruning, 8 bits and ONNX Runtime give on two networks, against targets."""
