"""Files of results have integers of at most 64 bits, so that Hypothesis generates no larger ones."""

from hypothesis import strategies as st

st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
