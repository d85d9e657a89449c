from __future__ import annotations

import json

import pytest

from r2n_kernels.errors import ConfigError
from r2n_kernels.sources.saved import saved_files


@pytest.fixture
def save(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return str(tmp_path)

    return write


def test_files_in_the_order_of_the_state(save):
    folder = save("state.json", {"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]})
    assert saved_files(folder) == [f"{folder}/b.arrow", f"{folder}/a.arrow"]


def test_no_file_outside(save):
    folder = save("state.json", {"_data_files": [{"filename": "../../x.arrow"}]})
    assert saved_files(folder) == [f"{folder}/x.arrow"]


def test_splits_are_named(save):
    folder = save("dataset_dict.json", {"splits": ["train", "test"]})
    with pytest.raises(
        ConfigError, match=r"several splits; give one of them: '.*/train', '.*/test'"
    ):
        saved_files(folder)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", r"state\.json': Expecting"),
        ({"_data_files": ["a"]}, r"state\.json names no files"),
        ({"_data_files": [{}]}, r"state\.json names no files"),
        ({"_data_files": [], "_indices_data_files": [{}]}, "saved with indices"),
    ],
)
def test_damaged(save, content, told):
    with pytest.raises(ConfigError, match=told):
        saved_files(save("state.json", content))


@pytest.mark.parametrize("content", [{}, [], {"_data_files": None}])
def test_another_programs(save, content):
    assert saved_files(save("state.json", content)) is None
