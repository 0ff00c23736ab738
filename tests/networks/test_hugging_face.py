"""Weights that transformers saves give the outputs of transformers in our networks."""

import json
import shutil
import sys
from contextlib import contextmanager

import pytest
import reference_segformer as reference
import torch
from safetensors.torch import load_file, save_file

from emu_core.networks import (
    DepthFormer,
    SegDepthFormer,
    SegFormer,
    WeightsError,
    load_hugging_face,
)

FILE = "model.safetensors"


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def empty(kind, *arguments):
    """Build a network full of NaN: missing weights show in the outputs."""
    with torch.device("meta"):
        network = kind(*arguments)
    network = network.to_empty(device="cpu").eval()
    for x in network.state_dict().values():
        x.fill_(float("nan") if x.is_floating_point() else 0)
    return network


def loaded(source, kind=SegFormer, *arguments):
    """A network with only the weights of a file."""
    network = empty(kind, *arguments)
    load_hugging_face(network, source)
    return network


@contextmanager
def unchanged(*modules):
    """Check that the block does not change the weights of some modules."""
    before = [{name: x.clone() for name, x in m.state_dict().items()} for m in modules if m]
    yield
    after = [dict(m.state_dict()) for m in modules if m]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.fixture(scope="module")
def b0():
    return reference.make("b0")


@pytest.fixture(scope="module")
def b0_folder(b0, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segformer-b0")
    b0.save_pretrained(folder)
    return folder


@pytest.fixture
def tensors(b0_folder):
    return load_file(b0_folder / FILE)


@pytest.fixture(scope="module")
def mit(tmp_path_factory):
    model = reference.make("b0", "classification", num_labels=1000)
    folder = tmp_path_factory.mktemp("mit-b0")
    model.save_pretrained(folder)
    return model, folder


@pytest.mark.parametrize("variant", reference.SIZES)
@torch.no_grad()
def test_a_saved_segformer_gives_the_same_logits_in_all_forms(variant, tmp_path):
    model = reference.make(variant)
    model.save_pretrained(tmp_path)
    x = reference.image(64, 96)
    expected = reference.logits(model, x)
    del model
    assert expected.std() > 0.3
    assert expected.shape == (1, 19, 16, 24)
    network = loaded(tmp_path, SegFormer, variant, 19)
    close(network(x).logits, expected)
    close(network.fold_for_inference()(x).logits, expected)
    network.segmentation_decoder.folded = False
    close(network(x).logits, expected)


@torch.no_grad()
def test_a_segformer_fills_only_its_parts_of_the_joint_network(b0, b0_folder):
    network = SegDepthFormer("b0").eval()
    with unchanged(network.depth_decoder):
        report = load_hugging_face(network, b0_folder)
    assert {*report.loaded, *report.kept} == set(network.state_dict())
    assert {name.split(".")[0] for name in report.kept} == {"depth_decoder"}
    assert report.dropped == ()
    x = reference.image(75, 101, batch=2)  # sizes that 32 does not divide
    close(network(x).logits, reference.logits(b0, x))


@torch.no_grad()
def test_every_norm_has_the_epsilon_of_transformers(tensors, tmp_path):
    # The input of each norm gets a variance near 1e-5, so that its epsilon has an effect.
    small = ("embeddings", "self.sr", "attention.output", "mlp.dense2")
    for name, x in tensors.items():
        if any(layer in name for layer in small):
            x.mul_(0.003)
    path = tmp_path / FILE
    save_file(tensors, path, {"format": "pt"})
    reference.make("b0").config.save_pretrained(tmp_path)
    model = reference.CLASSES["segmentation"].from_pretrained(tmp_path).eval()
    x = reference.image()
    expected, network = reference.logits(model, x), loaded(path)
    close(network(x).logits, expected)
    norms = {k: m for k, m in network.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert len(norms) == 4 + 16 + 6 + 4  # embeddings, blocks, reductions, stages
    for name, norm in norms.items():
        norm.eps = 1e-6
        error = (network(x).logits - expected).abs().max()
        norm.eps = 1e-5
        assert error > 1e-4, f"the epsilon of {name} has no effect"


@pytest.mark.parametrize("kind", [SegFormer, DepthFormer, SegDepthFormer])
@torch.no_grad()
def test_an_imagenet_encoder_fills_the_encoder_of_every_network(kind, mit):
    model, folder = mit
    network = kind("b0").eval()
    with unchanged(network.segmentation_decoder, network.depth_decoder):
        report = load_hugging_face(network, folder)
    assert {name.split(".")[0] for name in report.loaded} == {"encoder"}
    assert all(name.startswith("classifier.") for name in report.dropped)
    x = reference.image()
    expected = model.segformer(x, output_hidden_states=True).hidden_states[-4:]
    for ours, theirs in zip(network.encoder(x), expected, strict=True):
        close(ours, theirs)


@torch.no_grad()
def test_an_encoder_without_a_decoder_is_loaded(tmp_path):
    model = reference.make("b0", "bare")
    model.save_pretrained(tmp_path)
    x = reference.image()
    close(loaded(tmp_path).encoder(x)[3], model(x).last_hidden_state)


def test_bin_and_sharded_files_give_the_same_weights(b0, b0_folder, tensors, tmp_path):
    expected = loaded(b0_folder).state_dict()
    for folder in ("bin", "sharded_bin"):
        (tmp_path / folder).mkdir()
    torch.save(tensors, tmp_path / "bin" / "pytorch_model.bin")
    b0.save_pretrained(tmp_path / "sharded", max_shard_size="2MB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 3
    index = {}
    for part, names in enumerate((list(tensors)[::2], list(tensors)[1::2])):
        shard = f"pytorch_model-{part}.bin"
        index |= dict.fromkeys(names, shard)
        torch.save({n: tensors[n] for n in names}, tmp_path / "sharded_bin" / shard)
    content = json.dumps({"metadata": {}, "weight_map": index})
    (tmp_path / "sharded_bin/pytorch_model.bin.index.json").write_text(content)
    for source in ("bin", "sharded", "sharded_bin", "bin/pytorch_model.bin"):
        for name, x in loaded(tmp_path / source).state_dict().items():
            assert torch.equal(x, expected[name]), (source, name)


def test_the_names_of_tensors_are_those_that_nvidia_published(mit, b0_folder):
    # As in Hugging Face's conversion of NVIDIA's checkpoints; in memory transformers has others.
    attention = ("self.query", "self.key", "self.value", "self.sr", "self.layer_norm")
    parts = [f"attention.{name}" for name in (*attention, "output.dense")]
    parts += ["layer_norm_1", "layer_norm_2", "mlp.dense1", "mlp.dwconv.dwconv", "mlp.dense2"]
    layers = [f"block.1.0.{part}" for part in parts]
    layers += ["patch_embeddings.0.proj", "patch_embeddings.0.layer_norm", "layer_norm.3"]
    published = {f"segformer.encoder.{x}.{kind}" for x in layers for kind in ("weight", "bias")}
    decoder = ("linear_c.0.proj.weight", "linear_fuse.weight", "batch_norm.running_var")
    heads = {f"decode_head.{name}" for name in (*decoder, "classifier.bias")}
    assert published <= set(load_file(mit[1] / FILE))
    assert published | heads <= set(load_file(b0_folder / FILE))


def refused(network, tensors, path):
    """Expect an error and an unchanged network; return the message."""
    save_file(tensors, path)
    with unchanged(network), pytest.raises(WeightsError) as error:
        load_hugging_face(network, path)
    return str(error.value)


def test_missing_unexpected_and_different_tensors_are_all_named(tensors, tmp_path):
    del tensors["segformer.encoder.block.2.1.mlp.dense1.bias"]
    tensors["segformer.encoder.block.2.1.mlp.dense3.bias"] = torch.zeros(640)
    tensors["decode_head.linear_fuse.weight"] = torch.zeros(256, 512, 1, 1)
    tensors["decode_head.batch_norm.bias"] = torch.zeros(256, dtype=torch.int64)
    message = refused(SegFormer("b0"), tensors, tmp_path / FILE)
    assert "missing: segformer.encoder.block.2.1.mlp.dense1.bias" in message
    assert "unexpected: segformer.encoder.block.2.1.mlp.dense3.bias" in message
    assert "decode_head.linear_fuse.weight is (256, 512, 1, 1), not (256, 1024, 1, 1)" in message
    assert "decode_head.batch_norm.bias is torch.int64" in message


def test_a_file_of_another_variant_is_recognised(tmp_path):
    reference.make("b1").save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"looks like b1.*variant='b1'"):
        load_hugging_face(SegFormer("b0"), tmp_path)


def test_an_encoder_of_other_classes_is_loaded_alone(tensors, tmp_path):
    tensors["decode_head.classifier.weight"] = torch.ones(150, 256, 1, 1)
    tensors["decode_head.classifier.bias"] = torch.ones(150)
    network, path = SegFormer("b0", 19), tmp_path / FILE
    message = refused(network, tensors, path)
    assert "decode_head.classifier.weight is (150, 256, 1, 1), not (19, 256, 1, 1)" in message
    assert "another number of classes: pass `encoder_only=True`" in message
    with unchanged(network.segmentation_decoder):
        load_hugging_face(network, path, encoder_only=True)
    embedding = tensors["segformer.encoder.patch_embeddings.0.proj.weight"]
    assert torch.equal(network.encoder.stages[0].embed.weight, embedding)


def test_a_depth_network_refuses_the_decoder_of_a_segformer(tensors, tmp_path):
    assert "encoder_only=True" in refused(DepthFormer("b0"), tensors, tmp_path / FILE)


class Hostile:
    """An object whose unpickling would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tensors, tmp_path):
    victim = tmp_path / "victim"
    torch.save({**tensors, "extra": Hostile(victim)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="holds more than weights"):
        load_hugging_face(SegFormer("b0"), tmp_path)
    assert not victim.exists()


def test_damaged_files_are_refused_with_their_path(b0_folder, tensors, tmp_path):
    torch.save(tensors, tmp_path / "complete.bin")
    torch.save([torch.zeros(3)], tmp_path / "list.bin")
    contents = {
        "cut.safetensors": (b0_folder / FILE).read_bytes()[:100_000],
        "cut.bin": (tmp_path / "complete.bin").read_bytes()[:100_000],
        "empty.safetensors": b"",
        "empty.bin": b"",
        "noise.bin": bytes(range(256)) * 8,
        "list.bin": (tmp_path / "list.bin").read_bytes(),
        "no.index.json": b"{}",
        "text.index.json": b"hello",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load_hugging_face(SegFormer("b0"), tmp_path / name)


@pytest.mark.parametrize("shard", ["../secret.bin", "/etc/passwd", "sub/part.bin", "notes.txt"])
def test_an_index_may_only_name_weights_in_its_folder(shard, tmp_path):
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"decode_head.classifier.bias": shard}}))
    with pytest.raises(WeightsError, match="expected a weights file in its folder"):
        load_hugging_face(SegFormer("b0"), tmp_path)


def test_an_index_that_disagrees_with_its_files_is_refused(tensors, tmp_path):
    path = tmp_path / "model.bin.index.json"
    path.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "part.bin")}))
    with pytest.raises(WeightsError, match=r"names part\.bin, which is not in the same folder"):
        load_hugging_face(SegFormer("b0"), path)
    del tensors["decode_head.classifier.bias"]
    torch.save(tensors, tmp_path / "part.bin")
    with pytest.raises(WeightsError, match=r"disagree about decode_head\.classifier\.bias"):
        load_hugging_face(SegFormer("b0"), path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (".", r"looked for model\.safetensors"),
        ("no/such/folder", "a folder, a file or a hub id"),
        ("nvidia/mit-b0", "pip install huggingface_hub"),
    ],
)
def test_a_source_without_weights_is_named(source, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # not installed
    with pytest.raises(WeightsError, match=message):
        load_hugging_face(SegFormer("b0"), source)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with the files of the folder `hub`; returns the folder of downloaded files."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (tmp_path / "hub").mkdir()

    def download(repo_id, *, allow_patterns):
        assert repo_id == "nvidia/segformer-b0"
        for path in (tmp_path / "hub").glob(allow_patterns):
            shutil.copy(path, folder)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    return folder


def test_without_safetensors_the_bin_file_of_a_hub_id_is_loaded(hub, tensors, tmp_path):
    torch.save(tensors, tmp_path / "hub" / "pytorch_model.bin")
    state = loaded("nvidia/segformer-b0").state_dict()
    assert not any(x.isnan().any() for x in state.values())


def test_all_shards_of_a_hub_id_are_downloaded_but_no_second_format(hub, b0, tensors, tmp_path):
    b0.save_pretrained(tmp_path / "hub", max_shard_size="8MB")
    torch.save(tensors, tmp_path / "hub" / "pytorch_model.bin")
    loaded("nvidia/segformer-b0")
    assert len(list(hub.glob("model-*.safetensors"))) > 1
    assert not (hub / "pytorch_model.bin").exists()


def test_a_hub_without_weights_or_connection_is_reported(hub, monkeypatch):
    with pytest.raises(WeightsError, match="Found no weights in nvidia/segformer-b0"):
        load_hugging_face(SegFormer("b0"), "nvidia/segformer-b0")

    def unplugged(*_, **__):
        raise ConnectionError("network is unreachable")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unplugged)
    with pytest.raises(WeightsError, match=r"nvidia/mit-b0.*network is unreachable"):
        load_hugging_face(SegFormer("b0"), "nvidia/mit-b0")


@pytest.fixture
def cache(monkeypatch, tmp_path, tensors):
    """The hub's cache of a machine that was online: a .bin file, and no .safetensors there."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit, repository = "0" * 40, tmp_path / "models--nvidia--segformer-b0"
    snapshot, missing = (repository / name / commit for name in ("snapshots", ".no_exist"))
    for folder in (snapshot, missing, repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    torch.save(tensors, snapshot / "pytorch_model.bin")
    for name in ("model.safetensors", "model.safetensors.index.json"):
        (missing / name).touch()
    return snapshot


def test_without_a_connection_a_filled_cache_of_the_hub_is_enough(cache, monkeypatch, tmp_path):
    def finite():
        state = loaded("nvidia/segformer-b0").state_dict()
        return not any(x.isnan().any() for x in state.values())

    monkeypatch.chdir(tmp_path / "models--nvidia--segformer-b0")
    assert finite()
    # An index whose parts were never downloaded is not taken.
    index = {"weight_map": {"decode_head.classifier.bias": "model-1.safetensors"}}
    (cache / "model.safetensors.index.json").write_text(json.dumps(index))
    assert finite()


def test_a_hub_client_that_fails_for_one_kind_of_file_is_asked_for_the_other(
    cache, monkeypatch, tmp_path
):
    def download(hub_id, *, allow_patterns):  # as the client does for an incomplete snapshot
        if "safetensors" in allow_patterns:
            raise OSError("the cached snapshot is incomplete\nsecond line")
        return str(cache)

    monkeypatch.chdir(tmp_path / "models--nvidia--segformer-b0")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert not any(x.isnan().any() for x in loaded("nvidia/segformer-b0").state_dict().values())
    (cache / "pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match=r"holds no complete weights: the cached.* incomplete$"):
        loaded("nvidia/segformer-b0")
