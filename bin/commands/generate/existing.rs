//! What lies where clips go: those that were made before, and what is never replaced.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{args::Form, jobs::Job, output, record::Record};
use crate::UsageError;

/// # Errors
/// When a clip would take the place of what no clip's is, `force` or not: of a JSON file that is no
/// record, of a folder with other files, or of the record of a clip of another form, which stays.
pub(super) fn check(jobs: &[Job], force: bool) -> anyhow::Result<()> {
    for job in jobs {
        let sidecar = job.sidecar();
        if sidecar.exists() && !Record::is_record(&sidecar) {
            return Err(UsageError(format!(
                "{} is there and is no record of a clip, so it is not replaced: give another --output",
                sidecar.display()
            ))
            .into());
        }
        if force {
            output::check_replaceable(&job.target)?;
            if let Some(other) = other_clip(&sidecar, &job.target) {
                let (shown, other) = (sidecar.display(), other.display());
                return Err(UsageError(format!(
                    "{shown} is the record of {other}, which would be left without: give another \
                     --output, or remove {other} first"
                ))
                .into());
            }
        }
    }
    Ok(())
}

/// The clip beside a record that the record tells of, if there is one and it is not the target.
fn other_clip(sidecar: &Path, target: &Path) -> Option<PathBuf> {
    /// What says which file it is, whatever version wrote the rest.
    #[derive(Deserialize)]
    struct Told {
        format: Form,
        frames: usize,
    }
    let text = std::fs::read(sidecar).ok()?;
    let Told { format, frames } = serde_json::from_slice(&text).ok()?;
    let endings = match format {
        Form::Png if frames > 1 => vec![String::new()],
        _ => vec![format.ending().to_owned(), format.ending().to_uppercase()],
    };
    let mut clips = endings.into_iter().map(|ending| sidecar.with_extension(ending));
    clips.find(|clip| clip != target && clip.exists())
}

/// Clips that are there, and those that are to be made; `template` is the record of all but the prompt.
pub(super) fn sort(
    template: &Record,
    jobs: Vec<Job>,
    force: bool,
) -> anyhow::Result<(Vec<Job>, Vec<Job>)> {
    let (mut done, mut to_do, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for job in jobs {
        let (exists, sidecar) = (job.target.exists(), job.sidecar());
        let is_same = template.of(&job.task).is_at(&sidecar);
        if exists && is_same {
            done.push(job);
            continue;
        }
        let is_other = sidecar.exists() && !is_same;
        if (exists || is_other) && !force {
            let file = if exists { &job.target } else { &sidecar };
            other.push(file.display().to_string());
        }
        to_do.push(job);
    }
    if let Some(first) = other.first() {
        let more = match other.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        return Err(UsageError(format!(
            "{first}{more} is there and was made otherwise: give another --output, or --force to \
             replace it"
        ))
        .into());
    }
    Ok((done, to_do))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::other_clip;

    #[test]
    fn a_record_belongs_to_the_clip_that_it_tells_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let record = path("r.v2.json");
        let tell = |format: &str, frames: usize| {
            let text = serde_json::json!({ "format": format, "frames": frames, "other": [] });
            fs::write(&record, text.to_string()).unwrap();
        };
        let other = |target: &str| other_clip(&record, &path(target));
        assert_eq!(other("r.v2.gif"), None);
        tell("mp4", 16);
        assert_eq!(other("r.v2.gif"), None);
        fs::write(path("r.v2.mp4"), "a film").unwrap();
        assert_eq!(other("r.v2.gif"), Some(path("r.v2.mp4")));
        assert_eq!(other("r.v2.mp4"), None);
        // A picture that is nobody's clip.
        fs::write(path("r.v2.png"), "a picture").unwrap();
        assert_eq!(other("r.v2.mp4"), None);
        tell("png", 16);
        assert_eq!(other("r.v2.mp4"), None);
        fs::create_dir(path("r.v2")).unwrap();
        assert_eq!(other("r.v2.mp4"), Some(path("r.v2")));
        assert_eq!(other("r.v2"), None);
    }
}
