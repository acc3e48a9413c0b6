"""The benchmark that ships: whole studies against Hugging Face Trainer + PEFT, side by side, with equal results."""
