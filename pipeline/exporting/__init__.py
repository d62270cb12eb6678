"""From a PyTorch module to files that other runtimes load, and the proof that they answer alike."""
