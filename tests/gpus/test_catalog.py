"""The catalog against independent sources: data sheets, NVIDIA's own headers, published runs."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memprof.errors import ConfigError, DeviceError
from memprof.gpus.catalog import DEFAULT_GPU, find_gpu, load_catalog, own_catalog
from memprof.units import GIB, KIB, MIB

KINDS = ("GeForce", "workstation", "data center")
# Marketing size, SMs and GB/s of the data sheets, written down independently of the catalog.
DATA_SHEETS = {
    "gtx-1080-ti": (11 * GIB, 28, 484),
    "rtx-2080-ti": (11 * GIB, 68, 616),
    "rtx-3060": (12 * GIB, 28, 360),
    "rtx-3070": (8 * GIB, 46, 448),
    "rtx-3080": (10 * GIB, 68, 760),
    "rtx-3090": (24 * GIB, 82, 936),
    "rtx-3090-ti": (24 * GIB, 84, 1008),
    "rtx-4060": (8 * GIB, 24, 272),
    "rtx-4060-ti": (16 * GIB, 34, 288),
    "rtx-4070": (12 * GIB, 46, 504),
    "rtx-4070-ti-super": (16 * GIB, 66, 672),
    "rtx-4080": (16 * GIB, 76, 717),
    "rtx-4090": (24 * GIB, 128, 1008),
    "rtx-5060-ti": (16 * GIB, 36, 448),
    "rtx-5080": (16 * GIB, 84, 960),
    "rtx-5090": (32 * GIB, 170, 1792),
    "rtx-a4000": (16 * GIB, 48, 448),
    "rtx-a5000": (24 * GIB, 64, 768),
    "rtx-a6000": (48 * GIB, 84, 768),
    "rtx-2000-ada": (16 * GIB, 22, 224),
    "rtx-4000-ada": (20 * GIB, 48, 360),
    "rtx-6000-ada": (48 * GIB, 142, 960),
    "rtx-pro-6000-server": (96 * GIB, 188, 1792),
    "p100": (16 * GIB, 56, 732),
    "v100-16gb": (16 * GIB, 80, 900),
    "v100-32gb": (32 * GIB, 80, 900),
    "t4": (16 * GIB, 40, 320),
    "a10": (24 * GIB, 72, 600),
    "a10g": (24 * GIB, 80, 600),
    "a30": (24 * GIB, 56, 933),
    "a40": (48 * GIB, 84, 696),
    "l4": (24 * GIB, 58, 300),
    "l40s": (48 * GIB, 142, 864),
    "a100-40gb": (40 * GIB, 108, 1555),
    "a100-pcie-40gb": (40 * GIB, 108, 1555),
    "a100-80gb": (80 * GIB, 108, 2039),
    "a100-pcie-80gb": (80 * GIB, 108, 1935),
    "h100-80gb": (80 * GIB, 132, 3352),
    "h100-pcie": (80 * GIB, 114, 2039),
    "h100-nvl": (94 * GIB, 132, 3938),
    "h200": (141 * GIB, 132, 4800),
    "gh200": (96 * GIB, 132, 4000),
    "b200": (192 * 10**9, 148, 7700),
    "gb200": (186 * GIB, 152, 8000),
    "gb300": (279 * GIB, 152, 8000),
}
# The multiprocessors of the largest chip of each compute capability, from NVIDIA's papers on its architectures.
LARGEST_CHIPS = {
    "6.0": 60, "6.1": 30, "7.0": 84, "7.5": 72, "8.0": 128, "8.6": 84, "8.9": 144, "9.0": 144, "10.0": 160,
    "10.3": 160, "12.0": 192,
}  # fmt: skip
SPECS = load_catalog()
KEYS = sorted(SPECS)
NEW_GPU = """
[gpus.rtx-9090]
name = "NVIDIA GeForce RTX 9090"
compute_capability = "12.0"
multiprocessors = 200
total_bytes = 68000000000
l2_cache_bytes = 134217728
clock_khz = 2500000
memory_clock_khz = 16000000
memory_bus_bits = 512
context_bytes = 500000000
sources = ["a test"]
assumed = []
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_catalog(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_catalog


def header_limits(capability: str) -> dict[str, int]:
    """The limits of a compute capability in the header of NVIDIA's in the package nvidia-cuda-cccl."""
    package = importlib.util.find_spec("nvidia")
    roots = package.submodule_search_locations if package else None
    found = [path for root in roots or [] for path in Path(root).rglob("cuda/__device/arch_traits.h")]
    if not found:
        pytest.skip("the package nvidia-cuda-cccl, which has NVIDIA's limits, is not installed")
    text, number = found[0].read_text(encoding="utf-8"), capability.replace(".", "")
    body = text.split(f"arch_traits<arch_id::sm_{number}>() noexcept")[1].split("return __traits")[0]
    as_another = re.search(r"arch_traits<arch_id::sm_(\d+)>\(\);", body)
    if as_another:
        body = text.split(f"arch_traits<arch_id::sm_{as_another[1]}>() noexcept")[1].split("return __traits")[0]
    assigned = re.findall(r"__traits\.(\w+)\s*= (\d+)( \* 1024)?;", body)
    return {name: int(value) * (1024 if kib else 1) for name, value, kib in assigned}


def test_every_gpu_has_a_data_sheet_to_be_compared_with() -> None:
    assert set(DATA_SHEETS) == set(KEYS)
    assert len(KEYS) >= 30


@pytest.mark.parametrize("key", KEYS)
def test_a_name_is_one_that_the_driver_gives(key: str) -> None:
    assert re.fullmatch(r"(NVIDIA|Tesla) [A-Z][A-Za-z0-9 -]+", SPECS[key].name)


def test_no_two_gpus_have_the_same_name() -> None:
    assert len({spec.name for spec in SPECS.values()}) == len(SPECS)


@pytest.mark.parametrize("key", KEYS)
def test_multiprocessors_are_at_most_those_of_the_largest_chip(key: str) -> None:
    spec = SPECS[key]
    assert spec.multiprocessors <= LARGEST_CHIPS[spec.compute_capability]


@pytest.mark.parametrize("key", KEYS)
def test_l2_cache_is_in_slices_and_far_smaller_than_the_memory(key: str) -> None:
    spec = SPECS[key]
    assert spec.l2_cache_bytes % (256 * KIB) == 0
    assert MIB < spec.l2_cache_bytes < spec.total_bytes / 100


@pytest.mark.parametrize("key", KEYS)
def test_the_memory_is_below_the_marketing_size_but_not_by_much(key: str) -> None:
    size_bytes = DATA_SHEETS[key][0]
    # Error correction without separate memory (A10G, L4, L40S) takes a sixteenth, the driver 2 % more.
    assert 0.91 * size_bytes < SPECS[key].total_bytes < size_bytes


@pytest.mark.parametrize("key", KEYS)
def test_total_memory_is_a_multiple_of_64_kib(key: str) -> None:
    assert SPECS[key].total_bytes % (64 * KIB) == 0


@pytest.mark.parametrize("key", KEYS)
def test_multiprocessors_and_bandwidth_match_the_data_sheet(key: str) -> None:
    _, multiprocessors, gigabytes_per_second = DATA_SHEETS[key]
    spec = SPECS[key]
    bandwidth = 2 * spec.memory_clock_khz * 1e3 * spec.memory_bus_bits / 8 / 1e9
    assert spec.multiprocessors == multiprocessors
    # The H100 NVL's data sheet is 2 % below the clock that its driver gives.
    assert bandwidth == pytest.approx(gigabytes_per_second, rel=0.025)


@pytest.mark.parametrize("key", KEYS)
def test_the_driver_keeps_less_than_a_gibibyte_for_itself(key: str) -> None:
    reserved_bytes = SPECS[key].driver_reserved_bytes
    assert (reserved_bytes is None) == (SPECS[key].nvml_total_bytes is None)
    assert reserved_bytes is None or 0 < reserved_bytes < GIB


def test_totals_are_those_of_published_out_of_memory_messages() -> None:
    printed = {"t4": 14.74, "a10g": 22.06, "a100-40gb": 39.39, "h100-80gb": 79.11}
    assert {key: round(SPECS[key].total_bytes / GIB, 2) for key in printed} == printed


@pytest.mark.parametrize("key", KEYS)
def test_assumed_context_follows_the_rule_in_the_catalog(key: str) -> None:
    spec = SPECS[key]
    stack_bytes = spec.multiprocessors * spec.max_threads_per_multiprocessor * KIB
    if "context_bytes" in spec.assumed:
        assert spec.context_bytes == 213 * MIB + stack_bytes


def test_context_leaves_room_for_the_published_rtx_4060_run() -> None:
    assert SPECS["rtx-4060"].context_bytes <= 296_747_008


@pytest.mark.parametrize("capability", sorted({spec.compute_capability for spec in SPECS.values()}))
def test_architecture_limits_match_nvidias_header(capability: str) -> None:
    spec = next(spec for spec in SPECS.values() if spec.compute_capability == capability)
    limits = header_limits(capability)
    reserved_bytes = KIB if spec.capability >= (8, 0) else 0
    assert spec.shared_memory_per_multiprocessor_bytes == limits["max_shared_memory_per_multiprocessor"]
    assert spec.max_blocks_per_multiprocessor == limits["max_blocks_per_multiprocessor"]
    assert spec.max_threads_per_multiprocessor == limits["max_threads_per_multiprocessor"]
    assert spec.reserved_shared_memory_per_block_bytes == reserved_bytes
    largest_bytes = spec.shared_memory_per_multiprocessor_bytes - reserved_bytes
    assert spec.shared_memory_per_block_optin_bytes == limits.get("max_shared_memory_per_block_optin", largest_bytes)


@pytest.mark.parametrize("key", KEYS)
def test_every_gpu_names_its_sources_and_its_architectures(key: str) -> None:
    sources = SPECS[key].sources
    assert any("CUDA Programming Guide" in source for source in sources)
    assert any("CUDA Programming Guide" not in source and "CCCL" not in source for source in sources)


@pytest.mark.parametrize("key", KEYS)
def test_memory_and_multiprocessors_are_never_assumed(key: str) -> None:
    certain = {"name", "compute_capability", "multiprocessors", "total_bytes", "l2_cache_bytes"}
    assert not certain & set(SPECS[key].assumed)


def test_the_default_gpu_is_in_the_catalog() -> None:
    assert find_gpu(DEFAULT_GPU).name == "NVIDIA H100 80GB HBM3"


def test_the_compute_capability_is_also_a_pair_of_numbers() -> None:
    assert find_gpu("b200").capability == (10, 0)


@pytest.mark.parametrize("name", ["RTX 4090", "rtx_4090", "rtx4090", "NVIDIA GeForce RTX 4090", " Rtx-4090 "])
def test_case_spaces_and_the_makers_name_do_not_matter(name: str) -> None:
    assert find_gpu(name).key == "rtx-4090"


@settings(deadline=None, max_examples=40)
@given(key=st.sampled_from(KEYS), data=st.data())
def test_gpu_name_ignores_case_and_separators(key: str, data: st.DataObject) -> None:
    letters = [
        data.draw(st.sampled_from(["", " ", "_", "-", "--"]))
        if letter == "-"
        else data.draw(st.sampled_from([letter, letter.upper()]))
        for letter in key
    ]
    assert find_gpu("".join(letters)).key == key


@pytest.mark.parametrize("key", KEYS)
def test_the_name_that_the_driver_gives_finds_the_gpu(key: str) -> None:
    assert find_gpu(SPECS[key].name) == SPECS[key]


@pytest.mark.parametrize(
    ("typed", "meant"), [("rtx-409", "rtx-4090"), ("h100", "h100-80gb"), ("l4os", "l40s"), ("b20o", "b200")]
)
def test_a_typo_is_answered_with_the_nearest_name(typed: str, meant: str) -> None:
    with pytest.raises(DeviceError, match=rf"no GPU '{typed}'.*did you mean .*\b{meant}\b"):
        find_gpu(typed)


def test_gpu_name_without_memory_size_suggests_all_sizes() -> None:
    with pytest.raises(
        DeviceError, match=r"did you mean a100-40gb or a100-pcie-40gb or a100-80gb or a100-pcie-80gb\?$"
    ):
        find_gpu("A100")


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=30))
def test_unknown_gpu_name_is_refused_with_suggestions(name: str) -> None:
    with pytest.raises(DeviceError) as refused:
        find_gpu(f"x{name}")
    assert len(str(refused.value).splitlines()) == 1
    assert any(key in str(refused.value) for key in KEYS)


def test_a_file_of_the_users_adds_a_gpu(write: Write) -> None:
    extra = write(NEW_GPU)
    spec = find_gpu("rtx 9090", extra)
    assert (spec.total_bytes, spec.max_blocks_per_multiprocessor) == (68_000_000_000, 24)
    assert list(load_catalog(extra)) == [*SPECS, "rtx-9090"]


def test_user_figure_replaces_the_shipped_one_and_is_not_assumed(write: Write) -> None:
    extra = write('[gpus.a100-80gb]\ncontext_bytes = 549453824\nsources = ["measured on my GPU"]\n')
    before, after = SPECS["a100-80gb"], find_gpu("a100-80gb", extra)
    assert "context_bytes" in before.assumed
    assert after == replace(
        before, context_bytes=549453824, assumed=(), sources=("measured on my GPU", *before.sources)
    )


def test_a_figure_that_the_user_assumes_stays_assumed(write: Write) -> None:
    extra = write('[gpus.t4]\ncontext_bytes = 110100480\nassumed = ["context_bytes"]\n')
    assert find_gpu("t4", extra).assumed == ("context_bytes",)


def test_own_catalog_overrides_shipped_and_named_file_both(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write('[gpus.t4]\ncontext_bytes = 110100480\ncublas_bytes = 8388608\ncalibrated = ["context_bytes"]\n')
    own.rename(tmp_path / "gpus.toml")
    monkeypatch.setenv("MEMPROF_CONFIG_DIR", str(tmp_path))
    assert own_catalog() == tmp_path / "gpus.toml"
    calibrated = find_gpu("t4")
    assert (calibrated.context_bytes, calibrated.cublas_bytes, calibrated.cudnn_bytes) == (110100480, 8388608, None)
    assert (calibrated.calibrated, calibrated.assumed) == (("context_bytes",), ())
    over = find_gpu("t4", write('[gpus.t4]\ncontext_bytes = 1048576\nassumed = ["context_bytes"]\n'))
    assert (over.context_bytes, over.calibrated, over.assumed) == (1048576, (), ("context_bytes",))


def test_a_file_is_parsed_once_and_again_when_it_has_changed(write: Write) -> None:
    extra = write("[gpus.t4]\ncontext_bytes = 110100480\n")
    assert load_catalog(extra) is load_catalog(extra)
    extra.write_text("[gpus.t4]\ncontext_bytes = text\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match="is not TOML"):
            load_catalog(extra)
    extra.write_text("[gpus.t4]\ncontext_bytes = 1048576\n")
    assert find_gpu("t4", extra).context_bytes == 1048576
    extra.unlink()
    with pytest.raises(ConfigError, match="cannot read this catalog"):
        load_catalog(extra)


def test_nothing_that_is_shipped_is_calibrated() -> None:
    assert not any(spec.calibrated for spec in SPECS.values())


@pytest.mark.parametrize("key", tomllib.loads(NEW_GPU)["gpus"]["rtx-9090"])
def test_an_entry_that_lacks_a_key_is_refused_with_its_name(key: str, write: Write) -> None:
    extra = write("\n".join(line for line in NEW_GPU.splitlines() if not line.startswith(f"{key} =")))
    with pytest.raises(ConfigError, match=rf"mine\.toml: \[gpus\.rtx-9090\] lacks {key}$"):
        load_catalog(extra)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("total_bytes", "totl_bytes", "has the unknown key 'totl_bytes'; did you mean total_bytes?"),
        ("= 68000000000", '= "64 GiB"', ": total_bytes must be a whole number of at least 1, not '64 GiB'"),
        ("= 200", "= 0", ": multiprocessors must be a whole number of at least 1, not 0"),
        ("= 200", "= true", ": multiprocessors must be a whole number of at least 1, not True"),
        ('"12.0"', '"12.9"', ": compute_capability '12.9' is not one of 6.0, "),
        ('"NVIDIA GeForce RTX 9090"', '" "', ": name must be a string in quotes, not ' '"),
        ('["a test"]', '"a test"', ": sources must be a list of strings, not 'a test'"),
        ('["a test"]', "[]", ": sources is empty"),
        ("= []", '= ["clock"]', ": assumed has the unknown key 'clock'; did you mean clock_khz?"),
        ("= 500000000", "= 68000000000", ": context_bytes must be below total_bytes (68000000000)"),
        ("= []", '= []\ncalibrated = ["clock"]', ": calibrated has the unknown key 'clock'; did you mean clock_khz?"),
        (
            "= []",
            '= ["clock_khz"]\ncalibrated = ["clock_khz"]',
            ": clock_khz cannot be both assumed and calibrated",
        ),
        ("assumed", "cublas_bytes = -1\nassumed", ": cublas_bytes must be a whole number of at least 0, not -1"),
        ("assumed", "nvml_total_bytes = 1\nassumed", ": nvml_total_bytes must be total_bytes (68000000000)"),
    ],
)
def test_a_wrong_entry_is_refused_with_file_entry_and_key(old: str, new: str, complaint: str, write: Write) -> None:
    extra = write(NEW_GPU.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        load_catalog(extra)
    assert "mine.toml: [gpus.rtx-9090]" in str(refused.value)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[gpu.t4]", "has the unknown key 'gpu'; did you mean gpus?"),
        ("gpus = 3", "gpus must be a table, as in [gpus.NAME]"),
        ("[gpus]\nt4 = 3", "[gpus.t4] must be a table of keys and values"),
        ("[gpus.T4]\nclock_khz = 1\n", "a catalog name has only small letters"),
        ("[gpus.t4\n", "this catalog is not TOML"),
        (
            '[architectures."9.9"]\nregisters = 1',
            "unknown key 'registers'; did you mean registers_per_block?",
        ),
        (
            '[architectures."7.5"]\nregisters_per_block = 1',
            "[architectures.7.5] lacks shared_memory_per_block",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_path(text: str, complaint: str, write: Write) -> None:
    with pytest.raises(ConfigError) as refused:
        load_catalog(write(text))
    assert str(refused.value).startswith(str(write(text)))
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot read this catalog: No such file"):
        load_catalog(tmp_path / "absent.toml")


def test_the_catalog_cannot_be_changed_by_who_reads_it() -> None:
    with pytest.raises(TypeError):
        load_catalog()["t4"] = SPECS["h200"]  # type: ignore[index]


def test_catalog_names_kind_and_year_of_every_gpu() -> None:
    catalog = load_catalog()
    assert {spec.kind for spec in catalog.values()} == set(KINDS)
    assert all(spec.kind == "GeForce" for spec in catalog.values() if "GeForce" in spec.name)
    known = {"v100-16gb": 2017, "t4": 2018, "a100-40gb": 2020, "h100-80gb": 2022, "rtx-4090": 2022, "rtx-5090": 2025}
    assert {key: catalog[key].year for key in known} == known
    assert all(2016 <= (spec.year or 0) <= 2026 for spec in catalog.values())
