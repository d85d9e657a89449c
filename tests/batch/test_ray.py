"""Rows come from a cluster in input order, none lost or doubled, though actors die."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from r2n_kernels.batch import Classifier
from r2n_kernels.batch.ray import blocks_of, ray_rows, room, shares, whole
from r2n_kernels.batch.ray_pool import RETRIES, Pool
from r2n_kernels.errors import ConfigError, R2NError


def samples(sources):
    return [SimpleNamespace(name=f"row {i}", source=s) for i, s in enumerate(sources)]


class ActorError(Exception):
    """Stands for Ray's RayActorError."""


class FakeRay:
    """Runs a promise when it is fetched; an actor dies of the blocks that it is told."""

    exceptions = SimpleNamespace(
        RayActorError=ActorError, RayTaskError=ZeroDivisionError, ObjectLostError=KeyError
    )

    def __init__(self, deadly=(), lives=RETRIES, stillborn=0):
        self.deadly, self.lives, self.stillborn = deadly, lives, stillborn
        self.made, self.killed, self.did = [], [], []

    def make(self):
        actor = SimpleNamespace(alive=True, number=len(self.made))
        actor.batch_size = SimpleNamespace(remote=lambda: FakePromise(self.start, actor))
        actor.rows = SimpleNamespace(remote=lambda columns: FakePromise(self.run, actor, columns))
        self.made.append(actor)
        return actor

    def start(self, actor):
        if actor.number < self.stillborn:
            raise ActorError("no such module")
        return 4

    def run(self, actor, columns):
        name = columns["path"][0]
        if not actor.alive:
            raise ActorError("died before")
        if name in self.deadly and self.lives:
            self.lives -= 1
            actor.alive = False
            raise ActorError("died")
        self.did.append(actor.number)
        return {"path": columns["path"]}

    def wait(self, promises, num_returns, timeout):
        return promises, []

    def get(self, promise):
        return promise.call()

    def kill(self, actor):
        self.killed.append(actor)


class FakePromise:
    def __init__(self, function, *args):
        self.call = lambda: function(*args)


def names(count):
    return [{"path": [f"{i}a", f"{i}b"]} for i in range(count)]


@pytest.mark.parametrize("deadly", [(), ("0a",), ("3a", "9a")])
def test_blocks_keep_their_order_though_actors_die(deadly):
    ray = FakeRay(deadly)
    pool = Pool(ray, ray.make, 2)
    assert pool.batch_size() == 4
    assert list(pool.rows(names(10), 4)) == names(10)
    assert len(ray.made) == 2 + (RETRIES if deadly else 0)
    pool.close()
    assert all(actor in ray.killed for actor in ray.made if actor.alive)


def test_few_blocks_are_read_ahead():
    ray = FakeRay()
    taken = []
    pool = Pool(ray, ray.make, 1)
    rows = pool.rows((taken.append(i) or block for i, block in enumerate(names(9))), 3)
    next(rows)
    assert len(taken) == 4


def test_a_block_that_kills_every_actor_is_named():
    ray = FakeRay(("2a",), lives=99)
    pool = Pool(ray, ray.make, 2)
    with pytest.raises(R2NError, match="6 actors died of the images from '2a' to '2b': died"):
        list(pool.rows(names(4), 4))


def test_actors_that_do_not_start():
    ray = FakeRay(stillborn=2)
    assert Pool(ray, ray.make, 1).batch_size() == 4
    ray = FakeRay(stillborn=99)
    with pytest.raises(R2NError, match="no actor starts: no such module"):
        Pool(ray, ray.make, 2).batch_size()


def test_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(b"a")
    os.mkfifo("pipe")
    given = samples(["a.jpg", "gone.jpg", "pipe", b"content"])
    kept = list(blocks_of(given, 3, False))
    assert [block["path"] for block in kept] == [["row 0", "row 1", "row 2"], ["row 3"]]
    assert kept[0]["source"] == [str(tmp_path / n) for n in ("a.jpg", "gone.jpg", "pipe")]
    (shipped,) = blocks_of(given, 9, True)
    assert shipped["source"] == [b"a", str(tmp_path / "gone.jpg"), str(tmp_path / "pipe"), b"content"]  # noqa: E501  # fmt: skip


def test_blocks_are_whole_batches():
    assert [whole(block, 8) for block in (None, 1, 8, 9, 64)] == [64, 8, 8, 16, 64]


def test_what_an_actor_gets():
    gpus = {"CPU": 64.0, "GPU": 8.0}
    assert shares(gpus, "auto", None, None) == (8, 1)
    assert shares(gpus, "cpu", None, None) == (1, 0)
    assert shares({"CPU": 2.0}, "auto", None, None) == (1, 0)
    assert shares(gpus, "auto", 2, 0.5) == (2, 0.5)
    assert (room(gpus, 8, 1), room(gpus, 1, 0), room(gpus, 2, 0.5)) == (8, 64, 16)
    with pytest.raises(ConfigError, match="an actor needs 1 CPU and 1 GPU; the cluster has 2 CPU"):
        room({"CPU": 2.0}, 1, 1)


def test_without_ray(monkeypatch, digits):
    monkeypatch.setitem(sys.modules, "ray", None)
    wanted = r"running on a Ray cluster needs ray: pip install 'r2n_kernels\[ray\]'"
    with pytest.raises(ConfigError, match=wanted):
        next(ray_rows([], Classifier(digits)))


def test_no_actors(digits):
    with pytest.raises(ConfigError, match="actors must be at least 1, got 0"):
        next(ray_rows([], Classifier(digits), actors=0))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Ray on this machine. Three CPUs: two for actors, one for what reads."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        token = tmp_path_factory.mktemp("ray") / "token"  # without it one is left in the home
        token.write_text(secrets.token_hex(32))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("OMP_NUM_THREADS", "1")
        ray.init(
            num_cpus=3, include_dashboard=False, object_store_memory=100 << 20,
            log_to_driver=False,
        )  # fmt: skip
        yield ray
        ray.shutdown()


def actors_below(parent: int) -> list[int]:
    """Processes of actors that descend from a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            top = int(
                (Path("/proc") / str(above) / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:  # it ended meanwhile
            continue
        if words.startswith(b"ray::Actor") and parent in (above, top):
            found.append(int(folder.name))
    return found


@pytest.mark.slow
def test_one_of_two_actors_is_killed(cluster, digits, mixed):
    """No row is lost or doubled, and each has the bits of a run on one machine."""
    given = samples(mixed * 20)
    classifier = Classifier(digits, batch_size=4, workers=1)
    found: dict[str, list] = {}
    killed = []
    for place, block in enumerate(ray_rows(given, classifier, actors=2, block=8)):
        if place == 3:
            killed = actors_below(os.getpid())[:1]
            os.kill(killed[0], signal.SIGKILL)
        for name, column in block.items():
            found.setdefault(name, []).extend(column)
    assert killed
    assert found["path"] == [sample.name for sample in given]
    alone = classifier({"source": [sample.source for sample in given], "path": found["path"]})
    assert found == alone


@pytest.mark.slow
def test_ray_data(cluster, digits, mixed):
    found = (
        cluster.data.from_items([{"path": path, "key": i} for i, path in enumerate(mixed)])
        .map_batches(
            Classifier, fn_constructor_kwargs={"model": digits, "workers": 1, "topk": 2},
            concurrency=2, batch_size=4,
        )
        .take_all()
    )  # fmt: skip
    rows = sorted(found, key=lambda row: row["key"])
    assert [row["path"] for row in rows] == mixed
    assert [row["status"] == "error" for row in rows] == [i in (1, 4) for i in range(11)]
    assert [len(row["top_index"]) for row in rows] == [0 if i in (1, 4) else 2 for i in range(11)]
