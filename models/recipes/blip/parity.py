"""Writes tests/fixtures/blip: a tiny BLIP captioner with random weights, and what transformers makes of
two pictures with it.

The weights are stored as safetensors and, under `published/`, as Salesforce published theirs: pickled, with
the tied tensors twice and a constant among them. The text half is narrower than the picture's, as in the
large model. Pictures are those of the generator of `../raft_graphs`; Pillow must be older than 13, as for
`../vision_graphs`. The seed is the first with which ways of searching say different things, and captions
both end by themselves and are cut.

    pip install torch transformers safetensors 'pillow<13'
    python parity.py ../../tests/fixtures/blip
"""

import json
import sys
from pathlib import Path

import numpy as np
import PIL
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

sys.path.insert(0, str(Path(__file__).parent.parent / "raft_graphs"))
import generated

CORPUS = [
    "a young woman in a red coat walks along the beach at sunset",
    "two dogs run across a meadow; the camera follows",
    "the camera pans over a mountain lake while clouds drift by",
    "a chef slices onions on a wooden board in a bright kitchen",
    "a picture of a child's ball, and a small brown dog.",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PICTURES = [(1, 64, 48), (2, 37, 51)]
PROMPT = "a picture of"
# What `generate` is told, beside the defaults of transformers.
PLAIN = dict(num_beams=1, max_length=12, min_length=0, repetition_penalty=1.0, length_penalty=1.0)
SEARCHES = [
    PLAIN,
    PLAIN | dict(repetition_penalty=1.5),
    PLAIN | dict(repetition_penalty=1.5, min_length=10),
    PLAIN | dict(num_beams=3),
    PLAIN | dict(num_beams=3, min_length=6, repetition_penalty=1.3),
    PLAIN | dict(num_beams=4, length_penalty=0.0),
    PLAIN | dict(num_beams=3, repetition_penalty=1.5, length_penalty=-1.0),
    PLAIN | dict(num_beams=3, repetition_penalty=1.5, length_penalty=2.0),
]
PROMPTED = [search | dict(max_length=20) for search in SEARCHES[::3]]
IDS = [0, 2, 9, 30, 5, 17, 40]
# Texts that go to tokens and back.
TEXTS = ["A child's ball, and a small brown dog.", "two  dogs; don't run!", "caf\u00e9 zebra 7", ""]
# Sizes of pictures that are prepared for the published models.
PREPARED = [(1280, 720), (405, 719), (37, 23), (384, 384)]


def picture(which, width, height):
    levels = np.rint((generated.image(which, height, width)[0] + 1) * 127.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def tokenizer_of_corpus():
    # Not trained: the trainer breaks ties as it comes.
    text = "".join(CORPUS)
    letters = sorted(set(text) - {" "})
    words = sorted({word.strip(".,;") for line in CORPUS for word in line.split()} - set(letters))
    known = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters if letter.isalpha()), *words]
    vocab = {word: number for number, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return tokenizer


def config_for(words):
    """`words` stand in the tokenizer; the mark of the beginning comes after them, and stands in none."""
    shared = dict(num_hidden_layers=2, hidden_act="gelu")
    return dict(
        architectures=["BlipForConditionalGeneration"], model_type="blip", tie_word_embeddings=True,
        vision_config=shared | dict(
            hidden_size=24, intermediate_size=40, num_attention_heads=3, image_size=32, patch_size=8,
            layer_norm_eps=1e-5,
        ),
        text_config=shared | dict(
            vocab_size=words + 2, hidden_size=16, intermediate_size=28, num_attention_heads=2,
            max_position_embeddings=24, layer_norm_eps=1e-12, is_decoder=True, tie_word_embeddings=True,
            bos_token_id=words, eos_token_id=2, pad_token_id=0, sep_token_id=3,
        ),
    )


def model_of(config, seed):
    torch.manual_seed(seed)
    model = transformers.BlipForConditionalGeneration(transformers.BlipConfig(**config)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
        else:
            inputs = parameter[0].numel() if parameter.dim() != 3 else 4
            parameter.data = 1.6 * torch.randn_like(parameter) / inputs**0.5
    # So that a word is not followed by itself for ever, and captions end.
    model.text_decoder.bert.embeddings.position_embeddings.weight *= 3
    model.text_decoder.cls.predictions.bias[config["text_config"]["sep_token_id"]] += 3
    return model


def caption(model, tokenizer, pixels, search, prompt):
    ids = {} if prompt is None else {"input_ids": torch.tensor([tokenizer.encode(prompt).ids])}
    row = model.generate(pixels, **ids, **search)[0].tolist()
    while row[-1] == model.config.text_config.pad_token_id:
        row.pop()
    return row, words_of(tokenizer, row)


def words_of(tokenizer, row):
    """As BERT's tokenizer of transformers puts it; the mark of the beginning is in none, published ones included."""
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return fast.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=True)


def is_telling(model, cases):
    """Whether searches and pictures differ, some captions end and some are cut."""
    sep = model.config.text_config.sep_token_id
    of = lambda which: [tuple(c["ids"]) for c in cases if c["picture"] == which and not c["prompt"]]
    ended = [c["ids"][-1] == sep for c in cases]
    return (
        all(len(set(of(which))) >= 5 for which in (1, 2))
        and all(of(which)[1] != of(which)[2] for which in (1, 2))
        and any(of(which)[6] != of(which)[7] for which in (1, 2))
        and not set(of(1)) & set(of(2))
        and 3 < sum(ended) < len(ended) - 3
        and 2 * sum(len(set(c["ids"])) > 5 for c in cases) > len(cases)
    )


@torch.inference_mode()
def main():
    assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 resizes differently"
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    (root / "published").mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of_corpus()
    config = config_for(tokenizer.get_vocab_size())
    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    pixels = {
        which: processor(images=picture(which, w, h), return_tensors="pt")["pixel_values"]
        for which, w, h in PICTURES
    }
    for seed in range(500):
        model, cases = model_of(config, seed), []
        for which, width, height in PICTURES:
            for prompt in (None, PROMPT):
                for search in SEARCHES if prompt is None else PROMPTED:
                    ids, text = caption(model, tokenizer, pixels[which], search, prompt)
                    cases.append(
                        dict(picture=which, width=width, height=height, prompt=prompt, **search, ids=ids, text=text)
                    )
        if is_telling(model, cases):
            break
    else:
        raise SystemExit("no seed is telling")
    print("seed", seed)

    tied = {"text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias"}
    state = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file({k: v for k, v in state.items() if k not in tied}, root / "model.safetensors")
    places = torch.arange(config["text_config"]["max_position_embeddings"])[None]
    published = state | {"text_decoder.bert.embeddings.position_ids": places}
    torch.save(published, root / "published" / "pytorch_model.bin")
    (root / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tokenizer.save(str(root / "tokenizer.json"), pretty=False)
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (root / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words))

    begin = config["text_config"]["bos_token_id"]
    ids = torch.tensor([[begin, *IDS[1:]]])
    tensors = {"ids": ids}
    for which in pixels:
        seen = model.vision_model(pixels[which]).last_hidden_state
        tensors[f"seen{which}"] = seen.contiguous()
        logits = model.text_decoder(ids, encoder_hidden_states=seen, is_decoder=True, use_cache=False).logits
        tensors[f"logits{which}"] = logits.contiguous()
    save_file(tensors, root / "io.safetensors")

    published = BlipImageProcessorPil()
    prepared = []
    for width, height in PREPARED:
        values = published(images=picture(1, width, height), return_tensors="np")["pixel_values"][0]
        data = np.ascontiguousarray(values, "<f4").tobytes()
        prepared.append(dict(width=width, height=height, hash=f"{generated.fnv1a(data):016x}"))
    texts = []
    for text in TEXTS:
        row = tokenizer.encode(text, add_special_tokens=False).ids
        texts.append(dict(text=text, ids=row, back=words_of(tokenizer, row)))
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}, seed {seed}"
    lines = lambda rows: ",\n".join(f"  {json.dumps(row)}" for row in rows)
    parts = {"cases": cases, "prepared": prepared, "texts": texts}
    body = "".join(f',\n "{name}": [\n{lines(rows)}\n ]' for name, rows in parts.items())
    (root / "expected.json").write_text(f'{{\n "made_by": {json.dumps(versions)}{body}\n}}\n')


if __name__ == "__main__":
    main()
