from hypothesis import given, settings
from hypothesis import strategies as st

from memprof.records import Breakdown, Reading, RunRecord
from memprof.results import COLUMNS, VARIANT_COLUMNS, row
from memprof.results.dataframe import frame

sizes = st.integers(0, 2**60)
breakdowns = st.builds(
    Breakdown,
    parameters_bytes=sizes,
    buffers_bytes=sizes,
    gradients_bytes=sizes,
    optimizer_state_bytes=st.none() | sizes,
    input_bytes=sizes,
    activations_bytes=st.none() | sizes,
)
readings = st.builds(
    Reading,
    steps=st.just(()),
    peak_allocated_bytes=sizes,
    peak_requested_bytes=sizes,
    peak_reserved_bytes=sizes,
    nvml_used_bytes=st.none() | sizes,
    context_bytes=st.none() | sizes,
)
records = st.builds(
    RunRecord,
    batch_size=st.integers(1, 10**6),
    breakdown=st.none() | breakdowns,
    reading=st.none() | readings,
)


@settings(max_examples=25)
@given(st.lists(records, max_size=3))
def test_frame_cells_equal_rows_to_the_byte(several: list[RunRecord]) -> None:
    table = frame(several)
    assert tuple(table.columns) == COLUMNS
    assert table.astype(object).to_dict("records") == [row(record) for record in several]


def test_frame_bytes_are_nullable_integers() -> None:
    dtypes = frame([]).dtypes
    assert {str(dtypes[column]) for column in COLUMNS if column.endswith("_bytes")} == {"Int64"}
    assert str(dtypes["workspace_known"]) == "boolean"
    assert str(dtypes["difference_percent"]) == "Float64"


compared = st.builds(
    RunRecord,
    batch_size=st.integers(1, 10**6),
    breakdown=st.none(),
    reading=st.none(),
    variant=st.just("base"),
    largest_batch_size=st.none() | sizes,
)


@settings(max_examples=5)
@given(st.lists(compared, min_size=1, max_size=2))
def test_frame_of_comparison_has_variant_columns(several: list[RunRecord]) -> None:
    table = frame(several)
    assert tuple(table.columns) == (*COLUMNS, *VARIANT_COLUMNS)
    assert table.astype(object).to_dict("records") == [row(record) for record in several]
