"""The phantom against published figures of real GPUs, beside other tools: `make fidelity` writes docs/fidelity.md."""
