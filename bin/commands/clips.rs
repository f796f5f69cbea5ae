//! Commands on one clip: `why` and `extract`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use curate_pipeline::{Bound, Check};
use curate_schemas::{Clip, ClipId, columns as c};
use curate_store::Store;

use crate::{
    Exit, UsageError,
    judges::{Judge, judges},
    recipe::Recipe,
};

async fn find(out: &Path, id: &str) -> anyhow::Result<(Store, ClipId, Clip)> {
    let id = ClipId::parse(id).map_err(|error| UsageError(error.to_string()))?;
    let store = Store::open(out).await?;
    let clip = store.clip(&id).await?.ok_or_else(|| {
        UsageError(format!("{} has no clip {id}; `curate query` lists the ids", out.display()))
    })?;
    Ok((store, id, clip))
}

/// A value against its threshold, in words.
pub(crate) fn values(check: &Check) -> String {
    let value = check.value.map_or_else(|| "not measured".to_owned(), number);
    let bound = match check.bound {
        Bound::AtLeast(min) => format!("at least {}", number(min)),
        Bound::AtMost(max) => format!("at most {}", number(max)),
    };
    format!("{} {value}, {bound}", check.what)
}

/// Four decimals at most.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) async fn why(out: &Path, id: &str, recipe: Option<&Path>) -> anyhow::Result<Exit> {
    let (store, id, clip) = find(out, id).await?;
    let judges = match recipe {
        None => judges(&store.meta().await?).context("give a recipe with --recipe")?,
        Some(path) => {
            let stages = Recipe::load(path)?.plan.stages;
            stages
                .into_iter()
                .map(|stage| Judge { kind: stage.kind, config: stage.config })
                .collect()
        }
    };
    let mut stdout = std::io::stdout().lock();
    let text = |column| clip.get(column).map_or("", String::as_str);
    writeln!(stdout, "clip    {id}")?;
    writeln!(
        stdout,
        "source  {} from {:.3} s to {:.3} s",
        text(c::SOURCE_URI),
        clip.get(c::START_S).copied().unwrap_or_default(),
        clip.get(c::END_S).copied().unwrap_or_default()
    )?;
    let words =
        [c::STATUS, c::DROP_STAGE, c::DROP_REASON, c::ERROR_KIND, c::ERROR_MESSAGE].map(text);
    writeln!(stdout, "status  {}", words.join(" ").trim_end())?;
    if let (Some(of), Some(bits)) = (clip.get(c::DUP_OF), clip.get(c::DUP_DISTANCE)) {
        let original = store.clip(&ClipId::parse(of)?).await?.unwrap_or_default();
        let second = |column| original.get(column).copied().unwrap_or_default();
        writeln!(
            stdout,
            "copy    of {of}, {} from {:.3} s to {:.3} s; {bits} bits apart",
            original.get(c::SOURCE_URI).map_or("", String::as_str),
            second(c::START_S),
            second(c::END_S)
        )?;
    }
    for Judge { kind, config } in judges {
        for check in config.checks(&clip) {
            let verdict = match (check.value, check.passes()) {
                (None, _) => "not judged",
                (_, true) => "passes",
                (_, false) => check.reason,
            };
            writeln!(stdout, "{kind:<8}{verdict:<11} {}", values(&check))?;
        }
    }
    Ok(Exit::Complete)
}

pub(crate) async fn extract(out: &Path, id: &str, output: Option<PathBuf>) -> anyhow::Result<Exit> {
    let (store, id, clip) = find(out, id).await?;
    let video = store.video(&id).await?.ok_or_else(|| {
        let status = clip.get(c::STATUS).map_or("", String::as_str);
        UsageError(format!("clip {id} has no bytes in the table (it is {status}; kept clips have them unless [output] says form = \"none\" or bytes = \"none\")"))
    })?;
    if output.as_deref() == Some(Path::new("-")) {
        std::io::stdout().write_all(&video)?;
        return Ok(Exit::Complete);
    }
    let path = output.unwrap_or_else(|| PathBuf::from(format!("{id}.{}", ending(&clip))));
    std::fs::write(&path, video).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(std::io::stdout(), "{}", path.display())?;
    Ok(Exit::Complete)
}

/// The ending of a clip's file.
pub(super) fn ending(clip: &Clip) -> String {
    let text = |column| clip.get(column).map_or("", String::as_str);
    match text(c::VIDEO_FORM) {
        "copy_mkv" => "mkv".to_owned(),
        "image" => {
            let ending = text(c::SOURCE_URI).rsplit('.').next().unwrap_or_default();
            let is_plain = !ending.is_empty()
                && ending.len() <= 5
                && ending.chars().all(|letter| letter.is_ascii_alphanumeric());
            if is_plain { ending.to_ascii_lowercase() } else { "img".to_owned() }
        }
        _ => "mp4".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_plain() {
        let image = |uri: &str| {
            ending(
                &Clip::default()
                    .with(c::VIDEO_FORM, "image".to_owned())
                    .with(c::SOURCE_URI, uri.to_owned()),
            )
        };
        assert_eq!(image("file:///a/b.JPG"), "jpg");
        assert_eq!(image("file:///a.b/../x"), "img");
        assert_eq!(image("no ending"), "img");
        assert_eq!(ending(&Clip::default()), "mp4");
    }
}
