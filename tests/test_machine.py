"""The machine's description, from the system's lists."""

import pytest

from tf_dvdgan import machine

INFO = """processor\t: 0
model name\t: A Processor: of 2020
flags\t\t: fpu {}
processor\t: 1
model name\t: Another
"""


@pytest.fixture
def with_flags(tmp_path, monkeypatch):
    def use(flags: str) -> None:
        path = tmp_path / "cpuinfo"
        path.write_text(INFO.format(flags))
        monkeypatch.setattr(machine, "_CPUINFO", str(path))

    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    return use


@pytest.mark.parametrize(
    ("flags", "said", "has_bfloat16"),
    [
        ("sse avx", "no AVX2", False),
        ("avx avx2", "AVX2", False),
        ("avx2 avx512f avx512_vnni", "AVX-512", False),
        ("avx2 avx512f avx512_bf16", "AVX-512 with bfloat16", True),
        ("avx2 avx512f amx_bf16", "AVX-512 with bfloat16", True),
    ],
)
def test_the_widest_instructions_are_named(with_flags, flags, said, has_bfloat16):
    with_flags(flags)
    assert machine.instruction_sets() == said
    assert machine.has_bfloat16() == has_bfloat16
    assert machine.processor() == "A Processor: of 2020"
    assert machine.describe().startswith("A Processor: of 2020, ")


def test_the_limit_in_the_environment_is_respected(with_flags, monkeypatch):
    with_flags("avx2 avx512f avx512_bf16")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert machine.instruction_sets() == "AVX2 (ONEDNN_MAX_CPU_ISA)"
    assert not machine.has_bfloat16()


def test_a_system_without_the_list_is_unknown(monkeypatch):
    monkeypatch.setattr(machine, "_CPUINFO", "/nowhere")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert machine.instruction_sets() == "unknown" and machine.processor()
    assert not machine.has_bfloat16() and machine.num_cores() >= 1
