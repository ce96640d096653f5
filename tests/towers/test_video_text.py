import pickle

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from torch.nn import functional as F

from aura.data.config import TextInput, VideoInput
from aura.towers import build_tower, make_tokenizer, tokenizer
from aura.towers.text import ClipTextConfig, HfTextConfig
from aura.towers.video import ClipVideoConfig, HfVideoConfig
from tests.towers.streams import text_stream, video_stream
from tests.towers.tiny import BERT, CLIP, MAE, TOWERS


def build(config, given, seconds=5.0):
    torch.manual_seed(0)
    return build_tower(config, given, seconds)


def test_pixels_are_normalised_as_open_clip_does():
    tower = build(*TOWERS["clip_video"][:2])
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = open_clip.image_transform(32, is_train=False)(Image.fromarray(pixels))
    assert torch.allclose(tower.normalize(torch.tensor(pixels).permute(2, 0, 1)), expected, atol=1e-5)
    raw = build(ClipVideoConfig(model=CLIP, normalize=False), VideoInput(size=32))
    assert torch.allclose(raw.normalize(torch.tensor([[[[255]]]], dtype=torch.uint8)), torch.ones(()))


def test_a_window_is_the_mean_of_its_frames_embeddings():
    tower, stream = build(*TOWERS["clip_video"][:2]), video_stream()
    model = open_clip.CustomTextCLIP(**CLIP)
    model.visual.load_state_dict(tower.trunk.state_dict())
    preprocess = open_clip.image_transform(32, is_train=False)
    frames = [Image.fromarray(f.permute(1, 2, 0).numpy()) for f in stream.values[1]]
    with torch.no_grad():
        each = model.encode_image(torch.stack([preprocess(f) for f in frames]))
    out = tower(stream)
    assert torch.allclose(out.tokens[1, 0], each, atol=1e-5)
    assert torch.allclose(out.pooled[1], each.mean(0), atol=1e-5)


@pytest.mark.parametrize("name", ["clip_video", "clip_video_temporal", "hf_video"])
def test_stored_embeddings_stand_for_the_trunk(name):
    tower, stream = build(*TOWERS[name][:2]), video_stream()
    out = tower(stream)
    with torch.no_grad():
        if name == "hf_video":
            stored = tower.encode(stream.values)
        else:
            stored = tower.encode(stream.values.flatten(0, 1)).unflatten(0, (2, 4))
    stream.values, stream.valid = stored, torch.ones(stored.shape[:2], dtype=torch.bool)
    assert torch.allclose(tower(stream).pooled, out.pooled, atol=1e-6)


@pytest.mark.parametrize("name", ["clip_video", "clip_video_temporal"])
def test_a_missing_frame_does_not_count(name):
    tower, stream = build(*TOWERS[name][:2]), video_stream()
    stream.valid[0, 2] = False
    out = tower(stream).pooled
    stream.values[0, 2] = 255 - stream.values[0, 2]
    assert torch.equal(tower(stream).pooled, out)


def test_the_video_model_keeps_the_order_of_time():
    tower, stream = build(*TOWERS["hf_video"][:2]), video_stream()
    out = tower(stream)
    assert out.tokens.shape == (2, 1, 2, 32)  # tubelets of two frames
    reference = tower.trunk(pixel_values=tower.normalize(stream.values)).last_hidden_state
    assert torch.allclose(out.tokens[:, 0, 0], reference[:, :4].mean(1), atol=1e-6)
    assert torch.allclose(out.pooled, reference.mean(1), atol=1e-6)


def test_the_text_tower_is_open_clips():
    tower = build(*TOWERS["clip_text"][:2])
    model = open_clip.CustomTextCLIP(**CLIP)
    model.text.load_state_dict(tower.trunk.state_dict())
    tokens = tokenizer(TOWERS["clip_text"][0])(["a person walks", "someone sits down"])
    assert torch.allclose(tower(text_stream(tokens)).pooled, model.encode_text(tokens), atol=1e-6)


@pytest.mark.parametrize("name", ["clip_text", "hf_text"])
def test_stored_text_embeddings_stand_for_the_trunk(name):
    config, given, stream = TOWERS[name]
    tower, stream = build(config, given), stream()
    out = tower(stream).pooled
    stream.values = tower.encode(stream.values).detach()
    assert torch.equal(tower(stream).pooled, out)


def test_clip_tokens_end_a_long_text_and_survive_pickling():
    made = pickle.loads(pickle.dumps(tokenizer(ClipTextConfig(model=CLIP))))
    tokens = made(["a person walks", "walks " * 60])
    assert tokens.shape == (2, 16)
    assert tokens.dtype == torch.int64
    assert tokens.argmax(1).tolist() == [4, 15]
    assert (tokens == 49407).sum(1).tolist() == [1, 1]
    assert torch.equal(tokens[0], open_clip.get_tokenizer("ViT-B-32")(["a person walks"])[0, :16])
    cut = tokenizer(ClipTextConfig(model=CLIP, max_words=2))
    assert torch.equal(cut(["a person walks"]), made(["a person"]))


def test_a_tower_that_pools_at_another_token_is_refused():
    wrong = CLIP | {"text_cfg": CLIP["text_cfg"] | {"vocab_size": 50000}}
    with pytest.raises(ValueError, match=r"pools at token 49999.*ends texts with 49407"):
        tokenizer(ClipTextConfig(model=wrong))
    wrong = CLIP | {"text_cfg": CLIP["text_cfg"] | {"pool_type": "eos"}}
    with pytest.raises(ValueError, match=r"text_cfg\.eos_id"):
        tokenizer(ClipTextConfig(model=wrong))
    right = CLIP | {"text_cfg": CLIP["text_cfg"] | {"pool_type": "eos", "eos_id": 49407}}
    made = tokenizer(ClipTextConfig(model=right))
    made.tokenizer = lambda texts: torch.zeros(len(texts), 16, dtype=torch.long)
    with pytest.raises(ValueError, match="no end-of-text token 49407"):
        made(["a person walks"])


@pytest.fixture
def bert(tmp_path):
    """A folder as transformers saves it: a random model with dropout, and its tokenizer."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "walks", "sits"]
    transformers.BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(tmp_path)
    values = {k: v for k, v in BERT.items() if k != "model_type"}
    torch.manual_seed(1)
    transformers.BertModel(transformers.BertConfig(**values, hidden_dropout_prob=0.5)).save_pretrained(tmp_path)
    return tmp_path


def test_a_text_encoder_from_a_folder_pools_over_the_text_alone(bert):
    config = HfTextConfig(model=str(bert), length=8)
    tower, made = build(config, TextInput()), pickle.loads(pickle.dumps(tokenizer(config)))
    tokens = made(["a person walks", "sits", "a person walks a person walks a person walks"])
    assert tokens.tolist()[:2] == [[2, 5, 6, 7, 3, 0, 0, 0], [2, 8, 3, 0, 0, 0, 0, 0]]
    assert tokens[2, -1] == 3  # the closing token survives the cut
    model = transformers.BertModel.from_pretrained(bert).eval()
    expected = F.normalize(model(input_ids=tokens[1:2, :3]).last_hidden_state.mean(1), dim=-1)
    tower.train()  # no dropout is left in it
    assert torch.allclose(tower(text_stream(tokens)).pooled[1:2], expected, atol=1e-5)


def test_random_weights_where_they_are_asked_for(bert):
    stored = transformers.BertModel.from_pretrained(bert).state_dict()["embeddings.word_embeddings.weight"]
    for pretrained in (True, False):
        tower = build(HfTextConfig(model=str(bert), length=8, pretrained=pretrained), TextInput())
        assert torch.equal(tower.trunk.embeddings.word_embeddings.weight, stored) == pretrained


def test_weights_from_a_file(tmp_path):
    torch.manual_seed(3)
    model = open_clip.CustomTextCLIP(**CLIP)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    tower = build(ClipVideoConfig(model=CLIP, pretrained=str(tmp_path / "weights.pt")), VideoInput(size=32))
    assert torch.equal(tower.trunk.conv1.weight, model.visual.conv1.weight)


def test_what_cannot_be_had_is_named():
    with pytest.raises(RuntimeError, match=r"'ViT-B-32' with 'openai' weights.*Without a network"):
        build(ClipVideoConfig(pretrained="openai"), VideoInput())
    with pytest.raises(ValueError, match=r"no model 'ViT-B-33'; near it: .*ViT-B-32"):
        build(ClipTextConfig(model="ViT-B-33"), TextInput())
    with pytest.raises(RuntimeError, match=r"'nobody/nothing' could not be loaded"):
        build(HfTextConfig(model="nobody/nothing"), TextInput())
    with pytest.raises(RuntimeError, match="not installed"):
        build(HfTextConfig(model="package:no_such_package/model"), TextInput())
    with pytest.raises(RuntimeError, match="no file of weights"):
        build(ClipVideoConfig(model=CLIP, pretrained="no/such/file"), VideoInput(size=32))
    with pytest.raises(ValueError, match="needs `model_type`"):
        build(HfTextConfig(model={"hidden_size": 32}), TextInput())
    with pytest.raises(ValueError, match="configuration in place needs one"):
        tokenizer(HfTextConfig(model=BERT))


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"inputs\.size is 64.*takes .*32"):
        build(ClipVideoConfig(model=CLIP), VideoInput(size=64))
    with pytest.raises(ValueError, match=r"inputs\.frames is 8.*takes 4"):
        build(HfVideoConfig(model=MAE), VideoInput(size=32, frames=8))
    with pytest.raises(ValueError, match="reads at most 512"):
        build(HfTextConfig(model=BERT, length=600), TextInput())


def test_one_tokenizer_for_a_recipe():
    towers = {name: config for name, (config, _, _) in TOWERS.items()}
    assert make_tokenizer({"imu": towers["imu"]}) is None
    made = make_tokenizer({"text": towers["clip_text"], "text_b": towers["clip_text"], "imu": towers["imu"]})
    assert made(["a person walks"]).shape == (1, 16)
    with pytest.raises(ValueError, match="give them one model"):
        make_tokenizer({"text": towers["clip_text"], "text_b": towers["hf_text"]})


def test_named_models_have_the_published_sizes():
    """ViT-B/32 of CLIP: 87,849,216 parameters for images, 63,428,096 for text."""
    model = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        image = build_tower(ClipVideoConfig(model=model), VideoInput(), 5.0)
        text = build_tower(ClipTextConfig(model=model), TextInput(), 5.0)
    assert sum(p.numel() for p in image.parameters()) == 87_849_216
    assert sum(p.numel() for p in text.parameters()) == 63_428_096
    assert (image.width, text.width) == (512, 512)
