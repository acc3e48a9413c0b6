"""Trackers: the figures of a study in TensorBoard, Weights & Biases, MLflow or Trackio as well as in its records.

Each tracker's library runs in a process of its own. It cannot bring down or hang a trial there, its prints, threads,
environment variables and memory are not the study's. What is waited for stands in a trial's `other` and wall time.
"""
