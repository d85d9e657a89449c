"""Facts read from texts by hand; test_build.py reads those of kernels that were compiled."""

from __future__ import annotations

import pytest

from r2n_kernels.compiled.facts import Facts, amd_facts, nvidia_facts

USAGE = {"REG": 40, "STACK": 8, "SHARED": 0, "LOCAL": 0}
TEXT = """\
.text.conv1_kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P6 LDG.E.128 R4, desc[UR40][R2.64] ;
        /*0020*/                   LDG.E.64.CONSTANT R8, desc[UR40][R2.64] ;
        /*0030*/               @P0 LDG.E R9, desc[UR40][R2.64] ;
        /*0040*/                   LDGSTS.E.BYPASS.LTC128B.64 [R4], desc[UR4][R2.64] ;
        /*0050*/              @UP0 HMMA.16816.F32 R4, R8, R10, R4 ;
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0070*/                   STG.E.U16 desc[UR40][R2.64], R4 ;
        /*0080*/                   STL [R1], R4 ;
        /*0090*/                   LDL.LU R4, [R1] ;
        /*00a0*/                   STS.128 [R1], R4 ;
.L_x_0:
        /*00b0*/                   BRA `(.L_x_0);
"""


AMD = """\
\tglobal_load_dword v2, v[4:5], off
\tv_mfma_f32_32x32x8f16 a[0:15], v[0:1], v[2:3], a[0:15]
\ts_barrier
\tbuffer_store_dwordx4 v[2:5], v0, s[8:11], 0 offen
.Lfunc_end0:
\ts_barrier
amdhsa.kernels:
  - .vgpr_count:     96
    .sgpr_count: 30
    .private_segment_fixed_size: 16
    .vgpr_spill_count: 4
"""


def of(sass: str) -> Facts:
    return nvidia_facts("", sass, USAGE, 1024)


@pytest.fixture(scope="module")
def found() -> Facts:
    return of(TEXT)


def test_resources(found):
    assert (found.registers, found.spill, found.shared, found.instructions) == (40, 8, 1024, 12)


def test_widths(found):
    """A prefetch size (LTC128B) is not the width."""
    assert found.loads == {4: 1, 8: 2, 16: 1}
    assert found.stores == {2: 1}


def test_spills_and_barriers(found):
    assert found.extra == {"STL": 1, "LDL": 1}
    assert found.spilled == 2
    assert found.barriers == 1


@pytest.mark.parametrize(
    ("opcode", "expected"),
    [
        ("HMMA.16816.F32", "HMMA"),
        ("HGMMA.64x128x16.F32", "HGMMA"),
        ("UTCHMMA", "UTCHMMA"),
        ("UTCQMMA.2CTA", "UTCQMMA"),
        ("IMMA.16832.S8.S8", "IMMA"),
        ("FFMA", None),
        ("UTCATOMSWS.AND", None),
        ("WARPGROUP.ARRIVE", None),
    ],
)
def test_tensor_cores(opcode, expected):
    text = f"        /*0000*/                   {opcode} R1 ;\n" * 3
    assert of(text).tensor_cores == ({expected: 3} if expected else {})


def test_amd():
    found = amd_facts(AMD, 64)
    assert (found.registers, found.spill, found.shared, found.spilled) == (96, 16, 64, 4)
    assert (found.instructions, found.barriers) == (4, 1)  # of the kernel alone
    assert found.tensor_cores == {"v_mfma_f32_32x32x8f16": 1}
    assert (found.loads, found.stores) == ({4: 1}, {16: 1})
    assert found.extra["sgpr_count"] == 30
