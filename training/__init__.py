"""Training turns logs and rollouts into weights, in scripts that can be read from top to bottom.

It may use perception, planning and the simulator, and never deploy.
"""
