"""Facts read from texts by hand; test_build.py reads those of kernels that were compiled."""

from __future__ import annotations

import pytest

from r2n_kernels.compiled.facts import Access, Facts, accesses, amd_facts, nvidia_facts

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
SOURCE = """\
def tile(x_ptr, b_ptr):
    x_tile = x_ptr + offs
    x = tl.load(
        x_tile + k, mask=k < K)
    x += tl.load(b_ptr + offs)
    tl.store(out_ptr + offs, x)
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


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "op.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(
    ("line", "kind", "size"),
    [
        ("ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];", "load", 16),
        ("@%p1 ld.global.L1::evict_last.b16 { %rs1 }, [ %rd1 + 0 ];", "load", 2),
        ("@%p2 st.global.v2.b32 [ %rd1 + 0 ], { %r1, %r2 };", "store", 8),
        ("st.global.v8.b32 [ %rd1 + 0 ], { %r1 };", "store", 32),
        ("cp.async.cg.shared.global [ %r59 + 0 ], [ %rd47 + 0 ], 0x10, %r60;", "load", 16),
        ("cp.async.ca.shared.global [ %r59 + 0 ], [ %rd47 + 0 ], 8;", "load", 8),
        ("buffer_load_dwordx4 v[2:5], v78, s[20:23], 0 offen", "load", 16),
        ("global_load_ushort v2, v[4:5], off", "load", 2),
        ("global_load_short_d16_hi v2, v[4:5], off", "load", 2),
        ("buffer_store_dwordx2 v[4:5], v0, s[8:11], 0 offen", "store", 8),
        ("global_store_dword v[4:5], v0, off", "store", 4),
    ],
)
def test_widths_of_accesses(line, kind, size):
    (found,) = accesses(f"\t{line}\n")
    assert (found.kind, found.bytes, found.count) == (kind, size, 1)
    assert found.narrow == (size < 16)


@pytest.mark.parametrize(
    "line",
    [
        "ld.shared.v4.b32 {%r1, %r2, %r3, %r4}, [%r5];",
        "ld.param.b64 %rd1, [conv_param_0];",
        "cp.async.wait_group 0x2;",
        "ds_read_b64 v[0:1], v2",
        "s_load_dwordx4 s[0:3], s[4:5], 0x0",
    ],
)
def test_other_memory_does_not_count(line):
    assert accesses(f"\t{line}\n") == ()


def test_lines_of_source(source):
    ptx = f"""\
	.loc	1 4 9                          // op.py:4:9
	ld.global.v4.b32 {{ %r1, %r2, %r3, %r4 }}, [ %rd1 + 0 ];
	ld.global.v4.b32 {{ %r1, %r2, %r3, %r4 }}, [ %rd1 + 64 ];
	.loc	1 0 9                          // op.py:0:9
	st.global.b32 [ %rd1 + 0 ], {{ %r1 }};
	.loc	1 6 5                          // op.py:6:5
	st.global.b32 [ %rd1 + 0 ], {{ %r1 }};
	.file	1 "{source}"
"""
    assert accesses(ptx) == (
        Access("load", 16, "tile:x_tile", "op.py:4", 2),
        Access("store", 4, "?", "op.py:4", 1),  # no store there
        Access("store", 4, "tile:out_ptr", "op.py:6", 1),
    )


def test_lines_within_inline_assembly_are_not_lines_of_source(source):
    block = """\
	// begin inline asm
	.loc	1 5 10                          // op.py:5:10
	mov.u32 %r126, 0x0;
	.loc	1 6 10                          // op.py:6:10
	ld.global.b32 { %r126 }, [ %rd87 + 0 ];
	// end inline asm
"""
    assert accesses(f'{block}{block}\t.file\t1 "{source}"\n') == (
        Access("load", 4, "tile:b_ptr", "op.py:5", 2),
    )


def test_amd_names_folder_and_file_apart(source):
    text = f'\t.file\t1 "{source.parent}" "op.py"\n\t.loc\t1 6 5\n\tbuffer_store_dword v4, v0\n'
    assert accesses(text) == (Access("store", 4, "tile:out_ptr", "op.py:6", 1),)
