"""The simulator as Gymnasium and PettingZoo environments."""
