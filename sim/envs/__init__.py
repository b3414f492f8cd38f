"""The simulator as Gymnasium and PettingZoo environments.

The columns of the vector observation are defined once, in ``roadloop/features.py`` (NumPy reference, which a
policy also uses as a Driver); the kernel here gives the same numbers for a batch.
"""
