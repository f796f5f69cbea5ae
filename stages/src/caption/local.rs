//! Captions that need no model: from measured values, and from what came with the data.

use curate_models::caption::{
    attributes::{self, Attributes},
    flags, source,
};
use curate_pipeline::{ClipError, Item, Map};
use curate_schemas::{Clip, columns as c};
use serde_json::{Map as Object, Value as Json};

use super::{Backend, CaptionConfig, Written, write};

/// What the sentence may speak of.
pub(super) const READ: &[&str] = &[
    "technical_exposure",
    "technical_contrast",
    "technical_colorfulness",
    "technical_sharpness",
    "technical_bars",
    "camera_motion",
    "motion",
    "motion_subject",
    "text_area_mean",
    "text_persistence",
];

/// The running half.
pub(super) struct Local {
    backend: Backend,
    has_fallback: bool,
    columns: Vec<String>,
    limits: flags::Limits,
}

impl Local {
    pub(super) fn new(config: &CaptionConfig) -> Self {
        Self {
            backend: config.backend,
            has_fallback: config.fallback.is_some(),
            columns: config.columns.clone(),
            limits: config.limits(),
        }
    }

    fn source_text(&self, item: &Item) -> Option<Written> {
        let source = &item.unit.source;
        let beside = std::fs::read(source.path.with_extension("txt")).ok();
        let beside = beside.and_then(|bytes| source::from_text(&bytes));
        let text = beside.or_else(|| {
            let extra = source.extra.as_deref().unwrap_or("{}");
            let mut row: Object<String, Json> = serde_json::from_str(extra).unwrap_or_default();
            // The manifest's own column of captions comes first, whatever it is called.
            if let Some(caption) = &source.caption {
                row.insert("caption".to_owned(), Json::String(caption.clone()));
            }
            let names: Vec<&str> =
                std::iter::once("caption").chain(self.columns.iter().map(String::as_str)).collect();
            let seconds = |column| item.clip.get(column).copied().unwrap_or_default();
            source::from_columns(&row, &names, (seconds(c::START_S), seconds(c::END_S)))
        })?;
        Some(Written {
            text,
            raw: None,
            model: source::MODEL.to_owned(),
            prompt_hash: None,
            is_unchanged: false,
            is_cut: false,
        })
    }
}

impl Map for Local {
    fn map(&mut self, item: &mut Item) -> Result<(), ClipError> {
        let written = match self.backend {
            Backend::Source => {
                let found = self.source_text(item);
                let made = || self.has_fallback.then(|| from_attributes(&item.clip)).flatten();
                found.or_else(made)
            }
            _ => from_attributes(&item.clip),
        };
        write(item, written, &self.limits);
        Ok(())
    }
}

fn from_attributes(clip: &Clip) -> Option<Written> {
    let id = clip.get(c::CLIP_ID).map_or("", String::as_str);
    let span = clip.get(c::START_S).zip(clip.get(c::END_S));
    let number = |column| clip.get(column).copied();
    let attributes = Attributes {
        is_image: clip.get(c::KIND).is_some_and(|kind| kind == "image"),
        duration_s: span.map(|(start, end)| end - start),
        exposure: number(c::TECHNICAL_EXPOSURE),
        contrast: number(c::TECHNICAL_CONTRAST),
        colorfulness: number(c::TECHNICAL_COLORFULNESS),
        sharpness: number(c::TECHNICAL_SHARPNESS),
        bars: number(c::TECHNICAL_BARS),
        camera_motion: clip.get(c::CAMERA_MOTION).cloned(),
        motion: number(c::MOTION),
        motion_subject: number(c::MOTION_SUBJECT),
        text_area: number(c::TEXT_AREA_MEAN),
        text_persistence: number(c::TEXT_PERSISTENCE),
    };
    let text = attributes::sentence(id, &attributes)?;
    Some(Written {
        text,
        raw: None,
        model: attributes::MODEL.to_owned(),
        prompt_hash: None,
        is_unchanged: false,
        is_cut: false,
    })
}
