"""Dataset to Bundle: a network fitted to the training rows, the best weights chosen on the validation rows."""
