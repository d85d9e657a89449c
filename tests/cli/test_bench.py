from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch

from r2n_kernels.benchmarks import against, network
from r2n_kernels.benchmarks.peak import Peak
from r2n_kernels.benchmarks.peers import PEERS
from r2n_kernels.benchmarks.records import read
from r2n_kernels.benchmarks.tables import BEGIN, END
from r2n_kernels.cli import bench_output, main
from r2n_kernels.engine.torch_network import OPS
from r2n_kernels.reference import Res2Net, randomize

FAST = ["--model", "res2net50_48w_2s", "--size", "32", "--rounds", "2", "--seconds", "0.001"]


@pytest.fixture(autouse=True)
def peak(monkeypatch):
    """Measuring it takes seconds."""
    monkeypatch.setattr(bench_output, "peak_of", lambda device, dtype: Peak(1e12, 1e10, "a test"))


@pytest.fixture
def tiny(monkeypatch):
    """Every model that is run is a small one: what is shown of it comes from its config."""
    monkeypatch.setattr(
        network, "eager_model", lambda name, family: randomize(Res2Net(network.TINY).eval(), 0)
    )


def bench(*args):
    return main(["bench", *FAST, *args])


def test_networks(capsys, tmp_path, tiny):
    record, readme = tmp_path / "history.jsonl", tmp_path / "README.md"
    readme.write_text(f"# x\n{BEGIN}\n{END}\n")
    files = ["--record", str(record), "--label", "runner=a", "--csv", str(tmp_path)]
    files += ["--markdown", str(readme)]
    assert bench("--batch", "1", "2", "1", "--peers", "reference", "timm", *files) == 0
    out = capsys.readouterr().out
    assert f"{torch.get_num_threads()} threads" in out
    assert "res2net50_48w_2s: 25.29 M parameters, 4.160 G MACs, 11.72 M activations" in out
    assert out.count("32x32, model; 2 rounds in turns") == 2
    names = ["timm eager, channels_last", "reference eager, channels_last", "r2n_kernels, openvino"]
    assert all(out.count(f"\n{name} ") == 2 for name in (names[0], names[2]))
    assert len(re.findall("^reference ea", out, re.MULTILINE)) == 2
    assert "Beside the fastest peer, " in out
    table = [line for line in out.splitlines() if re.match(r"(subject|timm|reference|r2n_)", line)]
    assert max(map(len, table)) <= 80
    kept = read(record).records
    assert [(r.batch, r.subject) for r in kept[:3]] == [
        (1, n) for n in [names[1], names[0], names[2]]
    ]
    assert [r.batch for r in kept] == [1, 1, 1, 2, 2, 2]
    assert len({(r.run, r.code) for r in kept}) == 1
    assert all(r.run and r.code and r.labels == {"runner": "a"} for r in kept)
    assert [sorted(r.versions) for r in kept[:3]] == [
        ["python", "torch"], ["python", "timm", "torch"], ["python", "torch"]
    ]  # fmt: skip
    assert all(len(r.samples) == len(r.again) == 2 for r in kept)
    text = readme.read_text()
    assert text.startswith(f"# x\n{BEGIN}\n20")
    assert text.count("| r2n_kernels, openvino | ") == 2
    files = sorted(path.name for path in tmp_path.glob("*.csv"))
    version = "".join(c for c in torch.__version__.partition("+")[0] if c.isdigit())
    assert files == [
        f"benchmark-infer-fp32-nhwc-pt{version}-cpu-{name}.csv"
        for name in ("r2n_kernels_openvino", "reference_eager", "timm_eager")
    ]
    assert len((tmp_path / files[0]).read_text().splitlines()) == 3


def test_the_headline_is_shown_beside_its_card(capsys, tiny):
    assert main(["bench", "--size", "32", "--batch", "1", "--peers", "none", *FAST[4:]]) == 0
    out = capsys.readouterr().out
    assert "45.21 M parameters, 8.067 G MACs, 18.45 M activations at 224x224" in out
    assert "(model card: 45.2 M parameters, 8.1 G MACs, 18.4 M activations)" in out


def test_json(capsys, tiny):
    assert bench("--batch", "1", "--peers", "reference", "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    ((theirs, ours),) = [case["subjects"] for case in found["cases"]]
    assert (theirs["speed-up"], theirs["ours"], ours["ours"]) == (1.0, False, True)
    assert ours["images per second"] == pytest.approx(1 / ours["median"])
    assert list(ours["seconds"]) == ["p50", "p90", "p95", "p99", "p99.9"]


def test_streams(capsys, tiny, tmp_path):
    words = ["bench", "--model", "res2net50_48w_2s", "--size", "32", "--batch", "1"]
    file = tmp_path / "figures.json"
    words += ["--peers", "reference", "--duration", "0.05", "--json", str(file)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "32x32, model; 1 stream, 0.05 s of each subject" in out
    assert re.search(r"subject +img/s +over +p50 +p90 +p95 +p99 +p99.9 +calls", out)
    assert max(map(len, out.splitlines()[3:])) <= 80
    (case,) = json.loads(file.read_text())["cases"]
    assert [one["left out"] for one in case["subjects"]] == [None, None]
    assert case["streams"] == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--duration", "1", "--rounds", "2"], "do not go with --rounds"),
        (["--streams", "2", "--record", "x"], "do not go with --record"),
        (["--scope", "pipeline"], "--scope pipeline reads files: --images FOLDER"),
        (["--scope", "model", "--preprocessing"], "--preprocessing and --scope model are two"),
        (["--images", ".", "--steps"], "--images goes with neither --steps nor --against"),
        (["--json", "x", "--steps"], "--json goes with neither --steps nor --against"),
        (["--json", "no/x"], "no such folder"),
    ],
)
def test_wrong_usage_of_streams_and_scopes(args, message, capsys):
    assert main(["bench", "--model", "res2net50_48w_2s", *args]) == 2
    assert message in capsys.readouterr().err


def test_steps(capsys, tmp_path):
    record = tmp_path / "steps.jsonl"
    assert bench("--steps", "--batch", "1", "--record", str(record)) == 0
    out = capsys.readouterr().out
    assert "each step alone" in out
    assert "\nlayer3.1.convs " in out
    assert "the steps above, as often as a forward has them: " in out
    assert {r.scope for r in read(record).records} == {"step"}


def test_wrong_outputs_have_no_times(capsys, monkeypatch, tmp_path, tiny):
    right = OPS["maxpool"]
    monkeypatch.setitem(OPS, "maxpool", lambda *args: right(*args) * 1.01)
    record = tmp_path / "history.jsonl"
    files = ["--record", str(record)]
    assert bench("--batch", "1", "--peers", "reference", "--backend", "torch", *files) == 1
    out = capsys.readouterr().out
    assert "not timed: r2n_kernels, torch: wrong outputs (error " in out
    assert "\nr2n_kernels, torch " not in out
    assert [r.subject for r in read(record).records] == ["reference eager, channels_last"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--dtype", "float16"], "float16 needs a GPU"),
        (["--backend", "triton"], "an interpreter's speed means nothing"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:N, got 'tpu'"),
        (
            ["--steps", "--backend", "openvino"],
            "--steps times the torch backend's steps on the CPU",
        ),
        (
            ["--steps", "--peers", "timm"],
            "--steps goes with none of --csv, --preprocessing, --scope and",
        ),
        (["--csv", "nowhere"], "--csv 'nowhere': there is no such folder"),
        (["--csv", ".", "--size", "32x64"], "square images only"),
        (["--csv", ".", "--preprocessing"], "hold the model alone, without --preprocessing"),
        (["--against", "HEAD", "--rounds", "7", "--record", "no/x"], "no such folder: no/x"),
        (["--markdown", "nowhere.md"], "nowhere.md: .*No such file"),
        (["--record", "no/such/folder.jsonl"], "there is no such folder: no/such/folder.jsonl"),
        (["--against", "HEAD"], "--against needs --rounds 5 at least, got 2"),
        (["--against", "HEAD", "--rounds", "7", "--csv", "."], "goes with neither --csv nor"),
        (["--peers", "tensorrt"], "invalid choice: 'tensorrt'"),
        (["--label", "runner=a"], "--label is kept in records: --record FILE"),
        (["--label", "runner"], "expected NAME=VALUE, as runner=a, got 'runner'"),
        (["--seconds", "0"], "expected seconds from above 0 to 600, got '0'"),
        (["--compile-seconds", "7201"], "expected seconds from above 0 to 7200, got '7201'"),
        (["--model", "resnet50"], "unknown model 'resnet50'"),
    ],
)
def test_wrong_usage(args, message, capsys):
    assert bench(*args) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert captured.out == ""


@pytest.mark.parametrize(
    ("given", "named", "limit"),
    [
        (["all"], {"timm", "timm-compile", "timm-compile-graph"}, 300),
        (["all", "timm-compile-max-autotune"], {"timm", "timm-compile-max-autotune"}, 300),
        (["timm", "--compile-seconds", "900"], {"timm"}, 900),
    ],
)
def test_peers(given, named, limit, monkeypatch):
    made = []

    class Bench:
        def __init__(self, model, peers, compile_seconds):
            made.append(({peer.subject for peer in peers}, compile_seconds))

        def run(self, *args, **options):
            return []

    monkeypatch.setattr("r2n_kernels.benchmarks.network.Bench", Bench)
    assert bench("--peers", *given, "--batch", "1") == 0
    ((subjects, seconds),) = made
    assert {PEERS[name].subject for name in named} <= subjects
    tuned = PEERS["timm-compile-max-autotune"].subject
    assert (tuned in subjects) == ("timm-compile-max-autotune" in named)
    assert seconds == limit


@pytest.mark.parametrize(("slower", "code"), [(1.0, 0), (1.2, 1), (1.05, 2)])
def test_against_a_commit(slower, code, capsys, monkeypatch, tmp_path, record):
    def time_both(revision, arguments, rounds, done):
        assert (revision, rounds) == ("main", 9)
        words = " ".join(arguments)
        assert "--size 32x32 --batch 1 8 --dtype float32 --backend openvino --device cpu" in words
        assert words.endswith("--rounds 1 --seconds 0.001 --peers none")
        for _ in range(18):
            done()
        noise = 0.05 if slower == 1.05 else 0.001
        return tuple(
            [
                dataclasses.replace(
                    record, samples=((s * (0.1 + i % 3 * noise / 10),),), again=(), commit=c
                )
                for i in range(9)
            ]
            for s, c in ((1, "a" * 40), (slower, "b" * 40))
        )

    monkeypatch.setattr(against, "time_both", time_both)
    kept = tmp_path / "both.jsonl"
    assert bench("--against", "main", "--rounds", "9", "--record", str(kept)) == code
    out = capsys.readouterr().out
    assert out.startswith("base: main, new: the work tree; 9 processes each, in turns\n")
    assert ["same", "regression", "unclear"][code] in out
    assert len(read(kept).records) == 18


def test_against_with_wrong_outputs(capsys, monkeypatch):
    def time_both(revision, arguments, rounds, done):
        raise against.WrongOutputs("the benchmark of the work tree ended with 1:\nnot timed: x")

    monkeypatch.setattr(against, "time_both", time_both)
    assert bench("--against", "main", "--rounds", "7") == 1
    assert "not timed: x" in capsys.readouterr().err


def test_threads_come_back(monkeypatch):
    before = torch.get_num_threads()
    seen = []

    def networks(args):
        seen.append(torch.get_num_threads())
        return 0

    monkeypatch.setattr("r2n_kernels.cli.bench_run.networks", networks)
    assert bench("--threads", "1") == 0
    assert (seen, torch.get_num_threads()) == ([1], before)
