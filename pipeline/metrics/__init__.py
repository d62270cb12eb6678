"""Numbers that say how good answers are, and how sure that is; the same functions in training, evaluation and export."""
