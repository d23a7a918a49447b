"""Compare phantoms with published figures of real GPUs and with other tools; writes docs/fidelity.md."""
