"""Checkpoints of a small state: damaged, failing, rolled back, kept as best."""

import contextlib
import os
import resource

import numpy as np
import pytest
import tensorflow as tf

from tf_dvdgan import addons, errors
from tf_dvdgan.training import checkpoint_manager, checkpoints, optimizers
from tf_dvdgan.training import strategy as strategy_lib

SETTINGS = {"seed": 0}
SIZE = 200_000  # of the weights: 800 kB


@pytest.fixture(params=[False, True], ids=["in_turn", "asynchronous"])
def asynchronous(request):
    return request.param


class State:
    """Weights and their optimizer, with the checkpoints of a run."""

    def __init__(self, model_dir, keep=3, fixed=SETTINGS, **settings):
        self.weights = tf.Variable(tf.zeros([SIZE]))
        self.step = tf.Variable(0, dtype=tf.int64)
        self.optimizer = optimizers.adam(0.1)
        addons.create_slots(self.optimizer, [self.weights])
        holder = tf.Module()
        holder.weights = self.weights
        objects = {"step": self.step, "net": holder, "optimizer": self.optimizer}
        self.saved = checkpoint_manager.CheckpointManager(
            *(str(model_dir), objects, fixed, tf.distribute.get_strategy(), keep),
            **settings,
        )

    def train_to(self, step: int) -> "State":
        while int(self.step) < step:
            self.step.assign_add(1)
            gradient = tf.fill([SIZE], tf.cast(self.step, tf.float32))
            self.optimizer.apply_gradients([(gradient, self.weights)])
        return self

    def save(self) -> None:
        self.saved.save(int(self.step), wait=True)


def trained_and_saved(model_dir, *steps, **settings) -> State:
    state = State(model_dir, **settings)
    for step in steps:
        state.train_to(step).save()
    return state


@contextlib.contextmanager
def files_at_most(num_bytes: int):
    """A disk with so much room for each file."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def data_file(model_dir, step: int) -> str:
    return f"{model_dir}/checkpoints/step-{step}.data-00000-of-00001"


def test_a_new_process_gets_all_back(tmp_path, asynchronous):
    old = trained_and_saved(tmp_path, 1, 2, asynchronous=asynchronous)
    new = State(tmp_path)
    assert new.saved.restore()
    assert int(new.step) == 2
    np.testing.assert_array_equal(new.weights, old.weights)
    new.train_to(3)
    np.testing.assert_array_equal(new.weights, old.train_to(3).weights)


def with_more(model_dir, name, **settings):
    """The same with one object more, which is its own and shares a variable."""
    state = State(model_dir)
    more = tf.Module()
    more.value, more.shared = tf.Variable(1.0), state.weights
    objects = {**state.saved._objects, name: more}
    manager = checkpoint_manager.CheckpointManager(
        *(str(model_dir), objects, SETTINGS, tf.distribute.get_strategy()), **settings
    )
    return manager, more


def test_an_object_that_an_earlier_version_did_not_save_keeps_its_value(tmp_path):
    trained_and_saved(tmp_path, 1)
    manager, more = with_more(tmp_path, "more", optional=["more"])
    more.value.assign(7.0)
    assert manager.restore() and float(more.value) == 7.0
    manager.save(2)
    more.value.assign(8.0)
    again, restored = with_more(tmp_path, "more", optional=["more"])
    assert again.restore() and float(restored.value) == 7.0
    assert again.roll_back(1) == 1  # to the one without it


def test_objects_that_only_the_config_or_the_checkpoint_has_are_named(tmp_path):
    trained_and_saved(tmp_path, 1)
    manager, _ = with_more(tmp_path, "more")
    with pytest.raises(errors.UserError, match=r"step-1 has no more\. Use the config"):
        manager.restore()
    manager.save(2)
    with pytest.raises(errors.UserError, match="step-2 has more, which the config has"):
        State(tmp_path).saved.restore()


def test_what_a_thread_writes_is_of_the_step_it_was_saved_at(tmp_path):
    state = State(tmp_path, asynchronous=True).train_to(1)
    expected = state.weights.numpy()
    state.saved.save(1)
    state.train_to(2)  # meanwhile
    state.saved.wait()
    new = State(tmp_path)
    new.saved.restore()
    assert int(new.step) == 1
    np.testing.assert_array_equal(new.weights, expected)


def test_the_newest_few_are_kept(tmp_path, asynchronous):
    trained_and_saved(tmp_path, 1, 2, 3, 4, keep=2, asynchronous=asynchronous)
    assert checkpoints.steps(str(tmp_path)) == [3, 4]
    assert not os.path.exists(data_file(tmp_path, 2))


@pytest.mark.parametrize("suffix", ["data-00000-of-00001", "index"])
@pytest.mark.parametrize("damage", ["cut", "gone", "flipped"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, suffix, damage, capsys):
    trained_and_saved(tmp_path, 1, 2)
    path = f"{tmp_path}/checkpoints/step-2.{suffix}"
    size = os.path.getsize(path)
    if damage == "gone":
        os.remove(path)
    elif damage == "cut":
        os.truncate(path, size // 2)
    else:
        with open(path, "r+b") as file:
            file.seek(size // 3)
            byte = file.read(1)
            file.seek(size // 3)
            file.write(bytes([byte[0] ^ 0xFF]))
    new = State(tmp_path)
    assert new.saved.restore()
    assert int(new.step) == 1
    np.testing.assert_array_equal(new.weights, State(tmp_path).train_to(1).weights)
    assert "step-2 cannot be read" in capsys.readouterr().out


def test_when_all_are_damaged_it_says_so(tmp_path):
    trained_and_saved(tmp_path, 1, 2)
    for step in (1, 2):
        os.truncate(data_file(tmp_path, step), 10)
    with pytest.raises(errors.UserError, match="None of the 2 checkpoints"):
        State(tmp_path).saved.restore()


def test_a_full_disk_leaves_older_checkpoints_and_no_rest(tmp_path, asynchronous):
    state = trained_and_saved(tmp_path, 1, asynchronous=asynchronous)
    state.train_to(2)
    with (
        files_at_most(300_000),
        pytest.raises(checkpoint_manager.SaveError, match="large"),
    ):
        state.save()
    assert {name.split(".")[0] for name in os.listdir(tmp_path / "checkpoints")} == {
        "checkpoint",
        "step-1",
    }
    state.train_to(3).save()  # there is room again
    new = State(tmp_path)
    new.saved.restore()
    assert int(new.step) == 3
    assert checkpoints.steps(str(tmp_path)) == [1, 3]


def test_rolling_back_deletes_later_checkpoints(tmp_path, asynchronous):
    state = trained_and_saved(tmp_path, 1, 2, 3, asynchronous=asynchronous)
    assert state.saved.roll_back(before=2) == 2
    np.testing.assert_array_equal(state.weights, State(tmp_path).train_to(2).weights)
    assert checkpoints.steps(str(tmp_path)) == [1, 2]
    assert not os.path.exists(data_file(tmp_path, 3))
    state.train_to(3).save()
    assert checkpoints.steps(str(tmp_path)) == [1, 2, 3]


def test_rolling_back_further_than_is_kept_takes_the_oldest(tmp_path):
    state = trained_and_saved(tmp_path, 2, 3)
    assert state.saved.roll_back(before=1) == 2
    assert State(tmp_path / "new").saved.roll_back(before=1) is None


def test_a_changed_fact_is_refused_unless_accepted(tmp_path, capsys):
    trained_and_saved(tmp_path, 1)
    other = State(tmp_path, fixed={"seed": 7})
    with pytest.raises(errors.UserError, match="allow_config_mismatch = True"):
        other.saved.restore()
    assert other.saved.restore(allow_config_mismatch=True)
    assert "seed changes from 0 to 7" in capsys.readouterr().out
    other.train_to(2).save()
    assert State(tmp_path, fixed={"seed": 7}).saved.restore()  # from now on its own


def test_the_best_is_kept_when_the_run_has_taken_it_away(tmp_path):
    state = trained_and_saved(tmp_path, 1, keep=1)
    checkpoints.keep_as_best(str(tmp_path), 1)
    state.train_to(2).save()
    best = tf.train.latest_checkpoint(f"{tmp_path}/best")
    assert best.endswith("step-1")
    assert tf.train.load_checkpoint(best) is not None
    found = [checkpoints._find(str(tmp_path), step) for step in ("best", 1, "1", 2)]
    assert found == [best] * 3 + [f"{tmp_path}/checkpoints/step-2"]
    with pytest.raises(errors.UserError, match="no checkpoint of step 3"):
        checkpoints._find(str(tmp_path), 3)
    checkpoints.keep_as_best(str(tmp_path), 2)
    assert not [name for name in os.listdir(tmp_path / "best") if "step-1" in name]
    with pytest.raises(tf.errors.NotFoundError):
        checkpoints.keep_as_best(str(tmp_path), 1)


def test_a_relative_folder_is_rolled_back_and_has_a_best(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = trained_and_saved("run", 1, 2, 3)
    checkpoints.keep_as_best("run", 2)
    assert tf.train.latest_checkpoint("run/best") == "run/best/step-2"
    assert state.saved.roll_back(before=2) == 2
    assert checkpoints.steps("run") == [1, 2]
    new = State("run")
    assert new.saved.restore() and int(new.step) == 2
    os.rename("run", "moved")
    assert checkpoints.steps("moved") == [1, 2]


def test_of_several_workers_one_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(strategy_lib, "is_chief", lambda strategy: False)
    state = trained_and_saved(tmp_path, 1)
    assert not os.path.exists(tmp_path / "checkpoints")
    assert state.saved.last_saved == 1
    # What the chief cannot write, no worker takes for saved.
    monkeypatch.setattr(strategy_lib, "broadcast_from_chief", lambda *_: True)
    with pytest.raises(checkpoint_manager.SaveError, match="chief cannot save step 2"):
        state.train_to(2).save()
    assert state.saved.last_saved is None


def test_a_list_of_checkpoints_from_elsewhere_is_not_followed(tmp_path):
    """It would be restored, and deleted when newer checkpoints take its place."""
    trained_and_saved(tmp_path / "others", 1)
    before = {path.name for path in (tmp_path / "others/checkpoints").iterdir()}
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    elsewhere = f"{tmp_path}/others/checkpoints/step-1"
    listed = [f'model_checkpoint_path: "{elsewhere}"']
    listed += [f'all_model_checkpoint_paths: "{elsewhere}"'] * 2
    (folder / "checkpoint").write_text("\n".join(listed))
    mine = State(tmp_path / "run", keep=1)
    assert not mine.saved.restore()
    for step in (1, 2, 3):
        mine.train_to(step).save()
    assert checkpoints.steps(str(tmp_path / "run")) == [3]
    assert before == {p.name for p in (tmp_path / "others/checkpoints").iterdir()}


def test_checkpoints_are_found_without_the_list(tmp_path):
    trained_and_saved(tmp_path, 1, 2, 10)
    os.remove(tmp_path / "checkpoints/checkpoint")
    (tmp_path / "checkpoints/step-11.data-00000-of-00001").write_bytes(b"unfinished")
    again = State(tmp_path)
    assert again.saved.restore() and checkpoints.steps(str(tmp_path)) == [1, 2, 10]
    assert again.saved.newest.endswith("step-10")
