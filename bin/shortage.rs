//! What a run says when clips waited for memory to be transcoded in.

use std::time::Duration;

use curate_media::Shortage;
use curate_pipeline::Report;
use curate_stages::clip::TRANSCODING_PART;

use crate::{env, recipe::Recipe};

/// Less of the workers' time is not worth a word.
const LEAST_SHARE: f64 = 0.1;
/// No more of the machine's memory is advised: models and other programs need room too.
const MOST_OF_THE_MACHINE: u64 = 2;

/// How long the workers of the last stage stood still for want of memory, if that mattered, and how much
/// would do. Of a run that was stopped not all clips are known, so nothing is said of it.
pub(crate) fn told(recipe: &Recipe, report: &Report, took: Duration) -> Option<String> {
    let shortage = recipe.clips.shortage();
    let stage = report.stages.last().filter(|_| !report.stopped)?;
    let workers = Workers { count: (stage.workers as u64).min(stage.clips), took };
    let words = words(shortage, &workers, recipe.plan.run.memory, env::total_memory())?;
    Some(format!("{}: {words}", stage.kind))
}

/// Who waited: workers that had a clip to work on.
struct Workers {
    count: u64,
    took: Duration,
}

fn words(
    shortage: Shortage,
    workers: &Workers,
    memory: u64,
    machine: Option<u64>,
) -> Option<String> {
    let time = workers.took.as_secs_f64() * workers.count as f64;
    let share = shortage.waited.as_secs_f64() / time.max(1e-9);
    if share < LEAST_SHARE {
        return None;
    }
    let each = shortage.largest.saturating_mul(TRANSCODING_PART).max(1);
    let fit = machine.map_or(u64::MAX, |machine| machine / MOST_OF_THE_MACHINE / each);
    let count = workers.count.min(fit);
    let wanted = count.saturating_mul(each);
    let advice = if wanted > memory {
        format!("{count} at a time take `[run] memory = \"{}\"`", rounded(wanted))
    } else if fit < workers.count {
        "this machine has no memory for more of them at a time".to_owned()
    } else {
        return None;
    };
    Some(format!(
        "its workers stood still for {:.0} % of their time for want of memory to transcode in (up to {} MiB \
         for a clip): {advice}",
        100.0 * share.min(1.0),
        shortage.largest.div_ceil(1 << 20)
    ))
}

/// A round size that is not smaller, as recipes write it.
fn rounded(bytes: u64) -> String {
    match bytes.div_ceil(64 << 20) {
        parts if parts <= 16 => format!("{}MiB", 64 * parts),
        _ => format!("{}GiB", bytes.div_ceil(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(waited_s: u64, count: u64, machine_gib: Option<u64>) -> Option<String> {
        let shortage = Shortage { waited: Duration::from_secs(waited_s), largest: 233 << 20 };
        let workers = Workers { count, took: Duration::from_secs(100) };
        words(shortage, &workers, 1 << 30, machine_gib.map(|gib| gib << 30))
    }

    #[test]
    fn it_advises_what_workers_and_machine_can_use() {
        assert_eq!(told(79, 8, None), None, "a tenth of 800 s");
        let all = told(400, 8, None).unwrap();
        assert!(all.contains("for 50 % of their time"), "{all}");
        assert!(
            all.contains("(up to 233 MiB for a clip): 8 at a time take `[run] memory = \"4GiB\"`")
        );
        assert!(told(200, 3, None).unwrap().contains("3 at a time take `[run] memory = \"2GiB\"`"));
        assert!(told(4000, 64, Some(8)).unwrap().contains("8 at a time"), "half of 8 GiB");
        let none = told(4000, 64, Some(2)).unwrap();
        assert!(none.ends_with("no memory for more of them at a time"), "{none}");
        assert_eq!(
            (told(400, 0, None), told(400, 2, None)),
            (None, None),
            "they have what they need"
        );
        assert_eq!((rounded(1), rounded(1 << 30)), ("64MiB".to_owned(), "1024MiB".to_owned()));
    }
}
