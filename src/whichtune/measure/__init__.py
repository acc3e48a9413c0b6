"""What a trial costs: clocks, memory, operations, energy, and the machine it ran on."""
