from __future__ import annotations

from collections import Counter

import pytest

from r2n_kernels.compiled import sass
from r2n_kernels.errors import KernelError

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


@pytest.fixture(scope="module")
def found():
    return sass.opcodes(TEXT)


def test_opcodes(found):
    assert found.total() == 12
    assert found["LDG.E.128"] == 1


def test_widths(found):
    """A prefetch size (LTC128B) is not the width."""
    assert sass.widths(found, sass.LOADS) == {4: 1, 8: 2, 16: 1}
    assert sass.widths(found, sass.STORES) == {2: 1}


def test_spills_and_barriers(found):
    assert sass.spills(found) == {"STL": 1, "LDL": 1}
    assert sass.barriers(found) == 1


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
    assert sass.tensor_cores(Counter({opcode: 3})) == ({expected: 3} if expected else {})


def test_no_cubin():
    with pytest.raises(KernelError, match="cuobjdump failed: "):
        sass.disassemble(b"not an ELF file")
