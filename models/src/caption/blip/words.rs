//! Captions to tokens and back: a `tokenizer.json`, or the `vocab.txt` of BERT that it was made
//! from.
//!
//! The mark that captions begin with stands in neither: Salesforce added it to the network only.
//! Such tokens are passed over when a caption is put into words.

use std::{collections::BTreeMap, fs, path::Path, str::FromStr as _};

use serde_json::json;
use tokenizers::Tokenizer;

use super::error::{BlipError, TokenizerProblem};

/// Marks that are no words, where a list of words has them.
const MARKS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// What stands for words that are not in the list.
const UNKNOWN: &str = "[UNK]";

#[derive(Debug)]
pub(super) struct Words(Tokenizer);

impl Words {
    /// Opens a tokenizer for a network that knows so many tokens.
    pub(super) fn open(path: &Path, vocabulary: usize) -> Result<Self, BlipError> {
        let wrong = |problem| BlipError::Tokenizer { path: path.to_owned(), problem };
        let text = fs::read_to_string(path)
            .map_err(|source| BlipError::Read { path: path.to_owned(), source })?;
        let is_list = path.extension().is_some_and(|extension| extension == "txt");
        let text = if is_list { of_list(&text).map_err(wrong)? } else { text };
        let mut tokenizer = Tokenizer::from_str(&text)
            .map_err(|source| wrong(TokenizerProblem::Damaged(source)))?;
        // Some published files were saved with both set.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|source| wrong(TokenizerProblem::Damaged(source)))?;
        let tokens = tokenizer.get_vocab_size(true);
        if tokens > vocabulary {
            return Err(wrong(TokenizerProblem::Vocabulary { tokens, vocabulary }));
        }
        Ok(Self(tokenizer))
    }

    /// The tokens of a text, without marks.
    pub(super) fn tokens(&self, text: &str) -> Result<Vec<u32>, BlipError> {
        let encoding = self.0.encode(text, false);
        let failed = |source| BlipError::Text { text: text.to_owned(), source };
        Ok(encoding.map_err(failed)?.get_ids().to_vec())
    }

    /// The text of tokens, without marks.
    pub(super) fn text(&self, tokens: &[u32]) -> Result<String, BlipError> {
        let failed = |source| BlipError::Text { text: format!("{tokens:?}"), source };
        let text = self.0.decode(tokens, true).map_err(failed)?;
        // The one blank that the tokenizer itself, which looks at words one by one, cannot take
        // out.
        Ok(text.trim().replace(" ' ", "'"))
    }
}

/// The `tokenizer.json` of a list of words, one a line, as BERT's tokenizer for lower-case text
/// reads it.
fn of_list(text: &str) -> Result<String, TokenizerProblem> {
    let words: BTreeMap<&str, usize> =
        text.lines().enumerate().map(|(number, word)| (word, number)).collect();
    if !words.contains_key(UNKNOWN) {
        return Err(TokenizerProblem::Word(UNKNOWN));
    }
    let mark = |mark: &str| {
        words.get(mark).map(|number| {
            json!({
                "id": number, "content": mark, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        })
    };
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": MARKS.into_iter().filter_map(mark).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words,
        },
    });
    Ok(tokenizer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file;

    const LIST: &str =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ndog\n'\ns\n.\nrun\n##ning\ncaf\n##e\n";

    #[test]
    fn a_list_of_words_is_a_tokenizer() {
        let (_folder, path) = file("vocab.txt", LIST.as_bytes());
        let words = Words::open(&path, 14).unwrap();
        let tokens = words.tokens("A dog's RUNNING. caf\u{e9} zebra").unwrap();
        assert_eq!(tokens, [5, 6, 7, 8, 10, 11, 9, 12, 13, 1]);
        // Marks and tokens of the network alone are passed over.
        let text = words.text(&[99, 5, 6, 7, 8, 10, 11, 9, 3]).unwrap();
        assert_eq!(text, "a dog's running.");
    }

    #[test]
    fn tokenizers_of_other_models_are_refused() {
        let error = |name: &str, text: &str, vocabulary: usize| {
            let (_folder, path) = file(name, text.as_bytes());
            Words::open(&path, vocabulary).unwrap_err().to_string()
        };
        assert!(error("vocab.txt", LIST, 13).contains("14 tokens, the network knows 13"));
        assert!(error("vocab.txt", "a\nb\n", 13).contains("`[UNK]` is not in it"));
        assert!(error("tokenizer.json", "{}", 13).contains("tokenizer.json` or `vocab.txt"));
        let error = Words::open(Path::new("nowhere/vocab.txt"), 1).unwrap_err().to_string();
        assert!(error.contains("nowhere/vocab.txt"), "{error}");
    }
}
