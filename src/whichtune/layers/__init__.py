"""The modules methods put into or onto a backbone: LoRA banks, heads, keyed dropout."""
