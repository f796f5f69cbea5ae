"""Writes tests/fixtures/encoders: tiny random T5 and BERT encoders, their tokenizers, and what
transformers makes of some texts with them.

    pip install torch transformers sentencepiece protobuf
    python parity.py ../../tests/fixtures/encoders
"""

import json
import sys
from pathlib import Path

import sentencepiece
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

# Clean already, so that cleaning changes nothing.
TEXTS = [
    "a young woman in a red coat walks along the beach at sunset",
    "two dogs run across a meadow; the camera follows",
    "",
    "caf\u00e9 na\u00efve \u00fcber fish",
    "zebra quartz " * 20,
]
LENGTH = 24
CORPUS = TEXTS[:2] + [
    "the camera pans over a mountain lake while clouds drift by",
    "a chef slices onions on a wooden board in a bright kitchen",
    "an old man plays the violin in a crowded street at night",
    "waves break on rocks and gulls fly above the sea",
    "a child throws a ball to a small brown dog in the garden",
    "rain falls on a quiet city and lights shine in the windows",
]


def write(folder, model, config, batch, out, extra):
    folder.mkdir(parents=True, exist_ok=True)
    names = {k: v.contiguous() for k, v in model.state_dict().items() if "embed_tokens" not in k}
    save_file(names, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file(
        {"ids": batch["input_ids"], "mask": batch["attention_mask"], "out": out.contiguous()},
        folder / "io.safetensors",
    )
    for name, text in extra.items():
        (folder / name).write_bytes(text)


def stir(model):
    """Norms and biases that are not one and zero."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@torch.inference_mode()
def main():
    root = Path(sys.argv[1])
    torch.manual_seed(0)
    root.mkdir(parents=True, exist_ok=True)
    (root / "texts.json").write_text(json.dumps({"length": LENGTH, "texts": [t.strip() for t in TEXTS]}) + "\n")
    texts = [t.strip() for t in TEXTS]
    padded = dict(padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")

    spiece = root / "spiece"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20), model_prefix=str(spiece), vocab_size=88,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc",
    )
    model_file = spiece.with_suffix(".model")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    rows = [processor.encode(t)[: LENGTH - 1] + [1] for t in texts]
    ids = torch.tensor([r + [0] * (LENGTH - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (LENGTH - len(r)) for r in rows])
    batch = {"input_ids": ids, "attention_mask": mask}
    config = dict(
        model_type="t5", vocab_size=144, d_model=24, d_kv=8, d_ff=40, num_layers=3, num_heads=4,
        relative_attention_num_buckets=8, relative_attention_max_distance=16,
        layer_norm_epsilon=1e-6, feed_forward_proj="gated-gelu", dropout_rate=0.0,
    )
    t5 = stir(transformers.T5EncoderModel(transformers.T5Config(**config)))
    out = t5(**batch).last_hidden_state
    write(root / "t5", t5, config, batch, out, {"spiece.model": model_file.read_bytes()})
    for path in (model_file, spiece.with_suffix(".vocab")):
        path.unlink()

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")
    text = tokenizer.to_str().encode()
    batch = fast(texts, **padded)
    batch = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    config = dict(
        model_type="bert", vocab_size=160, hidden_size=24, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32, type_vocab_size=2,
        layer_norm_eps=1e-12, hidden_act="gelu",
    )
    bert = stir(transformers.BertModel(transformers.BertConfig(**config)))
    out = bert(**batch).last_hidden_state
    write(root / "bert", bert, config, batch, out, {"tokenizer.json": text})


if __name__ == "__main__":
    main()
