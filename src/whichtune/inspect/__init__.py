"""Looking at things without training: what this machine has and lacks."""
