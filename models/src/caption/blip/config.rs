//! Sizes of BLIP's captioners, as their published `config.json` says them.
//!
//! Only what shapes the network, and how captions are searched for, is read: the rest of the
//! published file repeats defaults of a library. What is absent there is absent because it is the
//! library's default, and has that value here.

use serde::Deserialize;

use super::{Search, error::ConfigProblem};

/// A captioner of BLIP: an image tower and a decoder that looks at it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BlipConfig {
    /// What the weights were made for.
    #[serde(default)]
    architectures: Option<Vec<String>>,
    /// The image tower.
    #[serde(rename = "vision_config")]
    pub vision: VisionConfig,
    /// The decoder.
    #[serde(rename = "text_config")]
    pub text: TextConfig,
}

/// The image tower: a vision transformer (Dosovitskiy and others 2020, arXiv 2010.11929).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Channels.
    pub hidden_size: usize,
    /// Channels between the two layers of a block's second half.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of attention.
    pub num_attention_heads: usize,
    /// Pixels of a side of the picture.
    pub image_size: usize,
    /// Pixels of a side of a patch, which becomes a token.
    pub patch_size: usize,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// The function between layers.
    hidden_act: String,
}

/// The decoder: BERT's layers (Devlin and others 2018, arXiv 1810.04805) that see only what was
/// said before, each with attention to the picture.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Tokens that can be said.
    pub vocab_size: usize,
    /// Channels.
    pub hidden_size: usize,
    /// Channels between the two layers of a block's last part.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of attention.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Added to variances.
    pub layer_norm_eps: f64,
    hidden_act: String,
    /// The token that captions begin with.
    pub bos_token_id: u32,
    /// The token that captions end with; `eos_token_id` of the published file is never said.
    pub sep_token_id: u32,
    max_length: usize,
    min_length: usize,
    num_beams: usize,
    repetition_penalty: f32,
    length_penalty: f32,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            layer_norm_eps: 1e-5,
            hidden_act: "gelu".into(),
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        let search = Search::default();
        Self {
            vocab_size: 30_524,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            // What the library takes where the file says nothing; all published captioners say 12.
            num_attention_heads: 8,
            max_position_embeddings: 512,
            layer_norm_eps: 1e-12,
            hidden_act: "gelu".into(),
            bos_token_id: 30_522,
            sep_token_id: 102,
            max_length: search.max_length,
            min_length: search.min_length,
            num_beams: search.beams,
            repetition_penalty: search.repetition_penalty,
            length_penalty: search.length_penalty,
        }
    }
}

impl BlipConfig {
    /// `Salesforce/blip-image-captioning-base`: 224 million weights.
    #[must_use]
    pub fn base() -> Self {
        let text = TextConfig { num_attention_heads: 12, ..TextConfig::default() };
        Self { architectures: None, vision: VisionConfig::default(), text }
    }

    /// `Salesforce/blip-image-captioning-large`: a larger image tower, the same decoder.
    #[must_use]
    pub fn large() -> Self {
        let vision = VisionConfig {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            ..VisionConfig::default()
        };
        Self { vision, ..Self::base() }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// When it is of another model, or asks for what is not built here.
    pub fn parse(json: &str) -> Result<Self, ConfigProblem> {
        let config: Self = serde_json::from_str(json)?;
        config.check()?;
        Ok(config)
    }

    /// How the publisher searches for captions.
    #[must_use]
    pub const fn search(&self) -> Search {
        let text = &self.text;
        Search {
            beams: text.num_beams,
            max_length: text.max_length,
            min_length: text.min_length,
            repetition_penalty: text.repetition_penalty,
            length_penalty: text.length_penalty,
        }
    }

    fn check(&self) -> Result<(), ConfigProblem> {
        // Other models of BLIP have the same parts, and weights of the same names.
        for kind in self.architectures.iter().flatten() {
            if kind != "BlipForConditionalGeneration" {
                return Err(ConfigProblem::Kind(kind.clone()));
            }
        }
        let (vision, text) = (&self.vision, &self.text);
        for act in [&vision.hidden_act, &text.hidden_act] {
            if act != "gelu" {
                return Err(ConfigProblem::Activation(act.clone()));
            }
        }
        for (part, width, heads) in [
            ("vision_config", vision.hidden_size, vision.num_attention_heads),
            ("text_config", text.hidden_size, text.num_attention_heads),
        ] {
            if heads == 0 || width == 0 || width % heads != 0 {
                return Err(ConfigProblem::Heads { part, width, heads });
            }
        }
        let (side, patch) = (vision.image_size, vision.patch_size);
        if patch == 0 || side == 0 || side % patch != 0 {
            return Err(ConfigProblem::Patches { side, patch });
        }
        let vocabulary = text.vocab_size;
        match [text.bos_token_id, text.sep_token_id]
            .into_iter()
            .find(|id| *id as usize >= vocabulary)
        {
            Some(token) => Err(ConfigProblem::Mark { token, vocabulary }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that the two published files give, and what they leave to the library.
    #[test]
    fn published_configurations_are_the_presets() {
        let text = r#""text_config": {"num_attention_heads": 12, "vocab_size": 30524, "eos_token_id": 2,
            "sep_token_id": 102, "max_length": 20, "num_beams": 1, "label2id": {"LABEL_0": 0}}"#;
        let base =
            format!(r#"{{"model_type": "blip", "vision_config": {{"hidden_size": 768}}, {text}}}"#);
        assert_eq!(BlipConfig::parse(&base).unwrap(), BlipConfig::base());
        let vision = r#"{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
            "num_attention_heads": 16}"#;
        let large = format!(r#"{{"vision_config": {vision}, {text}}}"#);
        assert_eq!(BlipConfig::parse(&large).unwrap(), BlipConfig::large());
        assert_eq!(BlipConfig::large().search(), Search::default());
    }

    #[test]
    fn what_is_not_built_here_is_said() {
        let parse = |vision: &str, text: &str, kind: &str| {
            let json = format!(
                r#"{{"architectures": ["{kind}"], "vision_config": {{{vision}}}, "text_config": {{{text}}}}}"#
            );
            BlipConfig::parse(&json).unwrap_err().to_string()
        };
        let kind = "BlipForConditionalGeneration";
        for (found, wanted) in [
            (parse("", "", "BlipForQuestionAnswering"), "BlipForQuestionAnswering"),
            (parse(r#""hidden_act": "quick_gelu""#, "", kind), "quick_gelu"),
            (parse("", r#""num_attention_heads": 7"#, kind), "768 channels"),
            (parse(r#""patch_size": 15"#, "", kind), "patches of 15"),
            (parse("", r#""vocab_size": 30522"#, kind), "token 30522"),
            (parse(r#""image_size": "big""#, "", kind), "invalid type"),
        ] {
            assert!(found.contains(wanted), "{found}");
        }
        assert!(BlipConfig::parse("{}").unwrap_err().to_string().contains("vision_config"));
    }
}
