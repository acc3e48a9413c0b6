"""Fit, predict, probe, save: the work of trials, by families of methods and never by a method's name."""
