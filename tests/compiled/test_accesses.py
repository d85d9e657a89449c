from __future__ import annotations

import pytest

from r2n_kernels.compiled.accesses import Access, accesses

SOURCE = """\
def tile(x_ptr, b_ptr):
    x_tile = x_ptr + offs
    x = tl.load(
        x_tile + k, mask=k < K)
    x += tl.load(b_ptr + offs)
    tl.store(out_ptr + offs, x)
"""


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
def test_widths(line, kind, size):
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
