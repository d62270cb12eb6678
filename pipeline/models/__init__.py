"""Networks, by the name that `model.name` gives, and the module that joins one with its preprocessing."""
