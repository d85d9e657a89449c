from __future__ import annotations

import dataclasses
from math import ceil

import pytest
import torch

from r2n_kernels.config import HEADLINE, VARIANTS, Res2NetConfig
from r2n_kernels.errors import ConfigError
from r2n_kernels.kernels.call import MAX_ROWS
from r2n_kernels.kernels.targets import TARGETS
from r2n_kernels.kernels.tiles import POOL_BAND, TileConfig, TileTable, pool_programs
from r2n_kernels.plan import SCHEDULES, build_plan

ODD = Res2NetConfig(layers=(1, 2), planes=(9, 14), scale=3, in_chans=5, num_classes=3)
HALF = torch.float16
HEAD = VARIANTS[HEADLINE]
SM90, TILED = TARGETS["sm_90"], TARGETS["sm_100"]  # whose chains are never resident


def triton(config, *shape, dtype=HALF, **options):
    return build_plan(config, *shape, dtype, "triton", **options)


def test_the_headline_model_meets_its_limits():
    plan = triton(HEAD, 256, 224, 224, schedule="throughput")
    assert plan.launches == 103  # the limit is 104
    assert (plan.bytes_read + plan.bytes_written) / 256 <= 86e6
    assert plan.executed_macs / 256 <= 8.89e9
    assert plan.bytes_l2 / 256 <= 244e6
    assert plan.macs == 256 * 8_066_974_464
    one = triton(HEAD, 1, 224, 224, schedule="latency")
    assert one.executed_macs <= 1.15 * one.macs
    assert one.bytes_l2 <= 1.21e9


def test_rows_beyond_the_last_are_not_loaded():
    """98 pixels are in one tile of 256 rows; 16 column tiles load them, and each its weights."""
    plan = triton(HEAD, 2, 224, 224, target=SM90, as_batch=256)
    step = next(step for step in plan.steps if step.name == "layer4.1.conv3")
    assert step.options["tile"] == TileConfig(256, 128, 64, 8, 3)
    m, k, n = 98, 832, 2048
    assert step.executed_macs == 256 * k * n
    shortcut = output = m * n
    assert step.bytes_l2 == 2 * (m * k * 16 + k * n + shortcut + output)


def test_a_narrower_last_tile_loads_whole_rows():
    """224 columns are a tile of 128 and one of 96: both load every row, and each its weights."""
    plan = triton(HEAD, 256, 224, 224, target=SM90)
    step = next(step for step in plan.steps if step.name == "layer2.1.conv1")
    tile, m, k, n = step.options["tile"], 256 * 784, 512, 224
    assert (tile.columns(n), step.executed_macs) == ((1, 96), m * k * n)
    loaded = m * k * 2 + m // tile.block_m * k * n
    assert step.bytes_l2 == 2 * loaded + step.bytes_written


def test_a_shorter_last_tile_loads_whole_weights():
    """196 pixels are six tiles of 32 rows and one of 16."""
    plan = triton(HEAD, 1, 224, 224, target=SM90)
    step = next(step for step in plan.steps if step.name == "layer3.1.conv1")
    m, k, n = 196, 1024, 416
    assert step.options["tile"] == TileConfig(32, 32, 64, 4, 4)
    assert step.executed_macs == 208 * k * n
    assert step.bytes_l2 == 2 * (m * k * 13 + 7 * k * n) + step.bytes_written


def test_launches_of_each_schedule_follow_from_the_architecture():
    blocks, firsts = sum(HEAD.layers), len(HEAD.layers)
    around = 4  # prepare, stem and max pool in one, global pool, classifier
    for schedule, pool, a_stage in (("throughput", 0, 1), ("latency", 1, HEAD.num_convs)):
        plan = triton(HEAD, 1, 224, 224, schedule=schedule)
        assert plan.launches == around + pool + 3 * firsts + (2 + a_stage) * (blocks - firsts)
    deep = triton(VARIANTS["res2net101d"], 1, 224, 224, schedule="throughput")
    assert deep.launches == around + 3 * blocks + 2 + 3  # two more in the stem, three average pools


def test_the_stems_map_is_made_aside_where_it_is_wanted():
    plan = triton(HEAD, 2, 62, 121, schedule="throughput")
    aside, fused = (next(s for s in plan.steps if s.name == name) for name in ("stem", "conv1"))
    assert (aside.op, aside.aside, fused.op) == ("conv", "conv1", "conv_pool")
    assert aside.convs == fused.convs
    assert aside not in plan.main
    assert [s.name for s in plan.main] == [s.name for s in plan.steps if s.name != "stem"]
    assert aside not in plan.steps_for(["logits"])
    assert plan.steps_for(["stem"]) == (plan.steps[0], aside)
    assert plan.steps_for(["stem", "logits"]) == plan.steps
    assert (fused.reads, fused.writes) == (aside.reads, ("maxpool",))
    assert fused.bytes_written == 2 * 2 * 16 * 31 * 64
    assert plan.bytes_read + plan.bytes_written == sum(
        s.bytes_read + s.bytes_written for s in plan.main
    )
    others = sum(b.nbytes for n, b in plan.buffers.items() if n not in ("input", "stem"))
    assert plan.workspace_bytes == others
    for other in ({"schedule": "latency"}, {"dtype": torch.float32, "schedule": "throughput"}):
        unfused = triton(HEAD, 2, 62, 121, **other)
        assert unfused.main == unfused.steps
        assert [s.op for s in unfused.steps[:3]] == ["prepare", "conv", "maxpool"]


def test_a_map_that_tiles_cover_badly_is_pooled_by_itself():
    for side, pooled in ((32, False), (64, False), (96, True), (224, True), (256, True)):
        plan = triton(HEAD, 256, side, side)
        assert any(step.op == "conv_pool" for step in plan.steps) is pooled, side


@pytest.mark.parametrize(("height", "width"), [(224, 224), (62, 121), (94, 247), (32, 247)])
def test_a_pooled_line_is_covered_by_tiles_that_share_two_columns(height, width):
    plan = triton(HEAD, 3, height, width, schedule="throughput")
    step = next(s for s in plan.steps if s.op == "conv_pool")
    hc, wc, tile = ceil(height / 2), ceil(width / 2), step.options["tile"]
    bands, across = pool_programs(hc, wc, tile.block_m)
    assert bands * POOL_BAND >= ceil(hc / 2) > (bands - 1) * POOL_BAND
    outputs = tile.block_m // 2 - 1
    assert across * outputs >= ceil(wc / 2) > (across - 1) * outputs
    lines = 3 * bands * (2 * POOL_BAND + 1)
    assert step.executed_macs == lines * across * 64 * 64 * 7 * 32
    rows = (wc + 2 * (across - 1)) * ceil(64 / tile.block_n)
    loaded = 7 * 32 * lines * (rows + across * 64)  # x, and the columns of w
    assert step.bytes_l2 == 2 * loaded + step.bytes_written


@pytest.mark.parametrize("shape", [(1, 224, 224), (2, 65, 97), (3, 32, 47)], ids=str)
@pytest.mark.parametrize("config", [*VARIANTS.values(), ODD], ids=[*VARIANTS, "odd"])
def test_work_and_features_equal_the_torch_plans(config, shape):
    expected = build_plan(config, *shape, HALF)
    for schedule in SCHEDULES:
        plan = triton(config, *shape, schedule=schedule)
        assert plan.macs == expected.macs
        assert plan.activations == expected.activations
        assert plan.executed_macs >= plan.macs
        shapes = [[p.buffers[name].shape for name in p.features] for p in (plan, expected)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize("config", [*VARIANTS.values(), ODD], ids=[*VARIANTS, "odd"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_buffer_is_written_before_it_is_read_and_freed_once(config, schedule):
    plan = triton(config, 2, 65, 97, schedule=schedule)
    written, freed = {"input"}, []
    for step in plan.steps:
        assert set(step.reads) <= written - set(freed), step.name
        written |= set(step.writes)
        freed += step.frees
        assert all(n in plan.buffers for n in (*step.reads, *step.writes))
    assert sorted(freed) == sorted(plan.buffers)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_planes_hold_what_their_layouts_say(schedule):
    for config in (HEAD, ODD.replace(deep_stem=True, stem_width=5)):
        plan = triton(config, 3, 61, 45, schedule=schedule)
        for step in plan.steps:
            if "layout" not in step.options:
                continue
            into = step.options.get("out_layout")
            for name in (*step.reads, *step.writes):
                if plan.buffers[name].planes:
                    written = name not in step.reads
                    layout = into if written and into else step.options["layout"]
                    assert plan.buffers[name].shape[1:] == (layout.rows, layout.C)


def test_a_planes_buffer_has_one_layout_for_all_that_use_it():
    plan, seen = triton(HEAD, 4, 96, 64), {}
    for step in plan.steps:
        for name in {*step.reads, *step.writes}:
            if plan.buffers[name].planes and step.op != "conv":
                assert seen.setdefault(name, step.options["layout"]) == step.options["layout"]
    assert len(seen) == 9  # the image, a first block's and the others' in four stages


def test_auto_takes_throughput_from_about_an_image_an_sm():
    for target, many in ((TILED, "stage"), (SM90, "resident_stage")):
        for batch, op in ((target.sms // 2 - 1, "stage"), (target.sms // 2, many)):
            steps = triton(HEAD, batch, 64, 64, target=target).steps
            chains = [s for s in steps if s.op in ("stage", "resident_stage")]
            assert {s.op for s in chains} == {op}
            if op == "stage":
                assert {s.options["chained"] for s in chains} == {batch == target.sms // 2}


def test_a_plan_says_which_chain_it_takes_and_why():
    half = [triton(HEAD, n, 224, 224, target=SM90) for n in (1, 256)]
    full = triton(HEAD, 256, 224, 224, target=SM90, dtype=torch.float32)
    notes = [{s.note for s in plan.steps if s.op.endswith("stage")} for plan in (*half, full)]
    assert notes[0] == {"", "tiled: one launch a split gives more programs than one an image"}
    assert notes[1] == {
        "", "resident: a CTA keeps windows of an image in shared memory",
        "resident: a CTA keeps 2 images in shared memory",
    }  # fmt: skip
    assert notes[2] == {"", "tiled: matrix instructions for float32 are not IEEE"}
    assert "MB  resident: a CTA keeps 2 images" in str(half[1])


@pytest.mark.parametrize(("batch", "images"), [(80, 1), (132, 1), (133, 2), (256, 2), (300, 1)])
def test_a_cta_keeps_two_images_where_the_sms_stay_busy(batch, images):
    """132 SMs: one more CTA for some of them costs 256 rows of products, or 448 of two images."""
    plan = triton(HEAD, batch, 224, 224, target=SM90)
    few = build_plan(HEAD, 2, 224, 224, torch.float16, "triton", target=SM90, as_batch=batch,
                     schedule="throughput")  # fmt: skip
    forms = {step.options["form"] for made in (plan, few) for step in made.steps
             if step.name == "layer3.1.convs"}  # fmt: skip
    assert [form.images for form in forms] == [images]


def test_the_waste_of_groups_is_visible():
    """A grouped convolution runs densely: 8 groups cost at least 8 times their useful work."""
    for step in triton(VARIANTS["res2next50"], 64, 224, 224).steps:
        if step.op in ("stage", "resident_stage", "first_stage"):
            assert step.executed_macs >= 8 * step.macs


def test_bytes_follow_from_the_buffers():
    plan = triton(HEAD, 2, 224, 224, schedule="throughput", target=TILED)
    steps, buffers = {s.name: s for s in plan.steps}, plan.buffers
    stage = steps["layer3.1.convs"]
    assert stage.bytes_read == buffers["layer3.planes"].nbytes
    assert stage.bytes_written == buffers["layer3.y"].nbytes * 3 // 4  # conv1 wrote the last group
    assert stage.launches[0].bytes_scratch == 2 * 2 * 14 * 14 * 104 * 2  # two adds
    conv3 = steps["layer3.1.conv3"]
    trunk = 2 * 14 * 14 * 1024 * 2
    assert (conv3.bytes_read, conv3.bytes_written) == (buffers["layer3.y"].nbytes + trunk, trunk)
    resident = triton(HEAD, 2, 224, 224, schedule="throughput", target=SM90)
    kept = {s.name: s for s in resident.steps}["layer3.1.convs"]
    assert (kept.bytes_read, kept.bytes_written) == (stage.bytes_read, stage.bytes_written)
    assert (kept.bytes_scratch, kept.writes) == (0, ("layer3.y",))
    latency = triton(HEAD, 2, 224, 224, schedule="latency")
    assert latency.bytes_read > plan.bytes_read
    assert latency.bytes_scratch == 0


def test_the_workspace_is_every_buffer_but_the_input():
    plan = triton(HEAD, 8, 224, 224)
    total = sum(torch.Size(b.shape).numel() * 2 for n, b in plan.buffers.items() if n != "input")
    assert plan.workspace_bytes == total
    assert plan.workspace_bytes < 2e9
    one = triton(HEAD, 1, 224, 224).workspace_bytes
    assert 6 * one < plan.workspace_bytes < 8.1 * one


def test_a_table_overrides_the_rule_of_its_geometry_alone():
    tile = TileConfig(64, 32, 16, 2, 2)
    key = TileTable.key("conv1", HALF, m=2 * 14 * 14, k=1024, n=416)
    plans = [triton(HEAD, 2, 224, 224, tiles=t) for t in (None, TileTable({key: tile}))]
    changed = {
        two.name
        for one, two in zip(*(p.steps for p in plans), strict=True)
        if one.options.get("tile") != two.options.get("tile")
    }
    assert changed == {f"layer3.{i}.conv1" for i in range(1, 23)}
    steps = {step.name: step for step in plans[1].steps}
    assert steps["layer3.1.conv1"].options["tile"] == tile
    assert steps["layer3.1.conv1"].executed_macs == tile.macs(392, 416, 1024)


def test_a_table_for_another_dtype_is_not_taken():
    key = TileTable.key("conv1", torch.bfloat16, m=2 * 14 * 14, k=1024, n=416)
    tiles = TileTable({key: TileConfig(64, 32, 16, 2, 2)})
    plain, other = (triton(HEAD, 2, 224, 224, tiles=t) for t in (None, tiles))
    assert plain.steps == other.steps


def test_a_tile_wider_than_the_packed_weight_is_refused():
    key = TileTable.key("stage", HALF, m=0, k=96, n=32)
    wide = TileTable({key: TileConfig(64, 64, 32, 4, 2)})
    with pytest.raises(ConfigError, match=r"'stage m=0 k=96 n=32 float16' has block_n 64, too"):
        triton(HEAD, 256, 224, 224, tiles=wide, target=TILED)


def test_a_register_limit_is_nvidia_s_alone():
    key = TileTable.key("conv1", HALF, m=2 * 14 * 14, k=1024, n=416)
    limited = TileTable({key: TileConfig(64, 64, 32, 8, 2, registers=128)})
    plan = triton(HEAD, 2, 224, 224, tiles=limited, target=SM90)
    assert 128 in {step.options["tile"].registers for step in plan.steps if "tile" in step.options}
    with pytest.raises(ConfigError, match=f"'{key}' limits registers, which AMD GPUs cannot"):
        triton(HEAD, 2, 224, 224, tiles=limited, target=TARGETS["gfx942"])


def test_more_rows_than_32_bits_count_are_refused():
    side = 112 * 112  # the stem's pixels
    most = MAX_ROWS // side
    assert triton(HEAD, most, 224, 224).batch == most
    with pytest.raises(ConfigError, match=f"{most + 1} images of 224x224 have {(most + 1) * side}"):
        triton(HEAD, most + 1, 224, 224)


@pytest.mark.parametrize("side", [32, 35, 61])
def test_the_last_tile_of_the_most_rows_ends_within_32_bits(side):
    """35 x 61 pixels are 558 rows, which nearly divide 2^31."""
    most = MAX_ROWS // (ceil(side / 2) * 31)
    for step in triton(HEAD, most, side, 61, schedule="throughput").steps:
        tile = step.options.get("tile")
        if tile and step.op != "stage":  # which counts the rows of an image
            rows = max(conv.N * conv.Ho * conv.Wo for conv in step.convs)
            assert tile.row_tiles(rows) * tile.block_m < 2**31, step.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schedule": "fast"},
            "unknown schedule 'fast'; expected one of auto, throughput, latency",
        ),
        ({"backend": "tpu"}, "no plan for backend 'tpu'"),
        ({"height": 31}, "at least 32x32, got 31x64"),
        ({"batch": -1}, "batch must be 0 or more, got -1"),
    ],
)
def test_bad_requests_are_named(change, message):
    request = {"config": ODD, "batch": 1, "height": 64, "width": 64, "backend": "triton", **change}
    with pytest.raises(ConfigError, match=message):
        build_plan(**request)


def test_an_empty_batch_has_a_plan():
    plan = triton(ODD, 0, 40, 40)
    assert (plan.macs, plan.executed_macs) == (0, 0)
    assert plan.buffers[plan.features[2]].shape == (0, 56, 5, 5)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_no_tile_of_any_target_exceeds_its_shared_memory(target, dtype):
    for config in (HEAD, VARIANTS["res2net50_48w_2s"], VARIANTS["res2next50"], ODD):
        for batch in (1, 256):
            plan = triton(config, batch, 224, 224, dtype=dtype, target=target)
            for step in plan.steps:
                tile = step.options.get("tile")
                if tile:
                    tile = dataclasses.replace(
                        tile, block_k=max(tile.block_k, step.options.get("block_ks", 0))
                    )
                    assert tile.shared_bytes(dtype.itemsize) <= target.shared_bytes, step.name


def test_batch_4096_has_buffers_beyond_32_bits_and_rows_within():
    """On paper; tests/kernels/test_offsets.py runs kernels beyond 2^31 elements."""
    plan = triton(HEAD, 4096, 224, 224)
    large = {name for name, b in plan.buffers.items() if b.nbytes // b.itemsize > 2**31}
    assert {"stem", "layer1.0.out", "layer2.0.planes"} <= large
    for step in plan.steps:
        layout = step.options.get("layout")
        if layout is not None:
            assert layout.rows < 2**31
            assert layout.image_rows * layout.C < 2**31


def test_an_image_beyond_32_bits_is_refused():
    with pytest.raises(ConfigError, match=r"elements of an image; the kernels address up to 2147"):
        triton(HEAD, 1, 2**15, 2**15)
