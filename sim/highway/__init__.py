"""Driving tasks of highway-env as worlds of ours: their roads and traffic, our drivers and scores.

highway-env (Farama Foundation, https://highway-env.farama.org) is not imported before it is needed;
it comes with the extra ``roadloop[highway]``. Its world has x to the right and y down the screen,
headings clockwise; ours is that mirrored at the x axis: ``(x, -y, -heading)``.
"""
