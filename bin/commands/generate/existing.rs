//! What lies where clips go: those that were made before, and what is never replaced.

use super::{jobs::Job, output, record::Record};
use crate::UsageError;

/// # Errors
/// When a clip would take the place of what no clip's is, `force` or not: of a JSON file that is no
/// record, or of a folder with other files.
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
        }
    }
    Ok(())
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
