//! Reading a recipe's list of detection passes, so that everything wrong with any of them is found.

use curate_pipeline::{Problems, config::read_table};
use serde::Deserialize;
use toml::{Table, Value};

use super::DetectorConfig;

/// The key of the list.
const LIST: &str = "detectors";

/// One pass in a list of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Alone {
    detectors: Vec<DetectorConfig>,
}

/// Reads the passes. One that cannot be read is the default, so that the others keep their numbers.
pub(in crate::scenes) fn read(passes: &[Value], problems: &mut Problems) -> Vec<DetectorConfig> {
    let numbered = passes.iter().enumerate();
    numbered.map(|(index, pass)| one(index, pass.clone(), problems)).collect()
}

/// Reads a pass, again without the setting at fault until nothing more is wrong.
fn one(index: usize, mut pass: Value, problems: &mut Problems) -> DetectorConfig {
    let mut is_right = true;
    loop {
        let problem = match attempt(&pass) {
            Ok(read) if is_right => return read,
            Ok(_) => return DetectorConfig::default(),
            Err(problem) => problem,
        };
        is_right = false;
        let culprit = culprit(&pass, &problem.message);
        // What reads a pass by its kind does not say where in it the fault is.
        let inside = problem.key.strip_prefix("detectors[0]").unwrap_or_default();
        let inside = match &culprit {
            Some(key) if inside.is_empty() => format!(".{key}"),
            _ => inside.to_owned(),
        };
        problems.report(&format!("{LIST}[{index}]{inside}"), problem.message).help = problem.help;
        match (pass.as_table_mut(), culprit) {
            (Some(settings), Some(key)) => settings.remove(&key),
            _ => return DetectorConfig::default(),
        };
    }
}

/// Reads a pass, or says what is wrong first.
fn attempt(pass: &Value) -> Result<DetectorConfig, curate_pipeline::ConfigError> {
    let table = Table::from_iter([(LIST.to_owned(), Value::Array(vec![pass.clone()]))]);
    let mut found = Problems::default();
    let mut read: Alone = read_table(&table, &mut found);
    match (found.into_errors().into_iter().next(), read.detectors.pop()) {
        (Some(problem), _) => Err(problem),
        (None, read) => Ok(read.unwrap_or_default()),
    }
}

/// The setting without which a pass has another fault, or none. Its kind decides what the others are,
/// so that is none.
fn culprit(pass: &Value, fault: &str) -> Option<String> {
    let settings = pass.as_table()?;
    let mut keys = settings.keys().filter(|key| *key != "kind");
    let is_at_fault = |key: &&String| {
        let mut without = settings.clone();
        without.remove(*key);
        attempt(&Value::Table(without)).map_or_else(|other| other.message != fault, |_| true)
    };
    keys.find(is_at_fault).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str) -> (Vec<DetectorConfig>, Vec<String>) {
        let table: Table = format!("{LIST} = [{list}]").parse().unwrap();
        let mut problems = Problems::default();
        let passes = read(table[LIST].as_array().unwrap(), &mut problems);
        (passes, problems.into_errors().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn passes_are_read_in_their_order() {
        let (passes, faults) = found("{ kind = 'fixed', seconds = 2 }, { kind = 'content' }");
        assert_eq!(faults, [""; 0]);
        assert_eq!(passes, [DetectorConfig::Fixed { seconds: 2.0 }, DetectorConfig::default()]);
    }

    #[test]
    fn everything_wrong_with_every_pass_is_found() {
        let (passes, faults) = found(
            "{ kind = 'fixed', seconds = 2 }, { kind = 'contnt' }, { kind = 'fixed' }, 3, \
             { kind = 'hash', sise = 3, threshold = 'x' }, { threshold = 1.0 }, \
             { kind = 'content', weights = { hue = 'x' } }",
        );
        assert_eq!(passes.len(), 7);
        assert_eq!(passes[0], DetectorConfig::Fixed { seconds: 2.0 });
        let starts = [
            "detectors[1].kind: \"contnt\" is not a choice",
            "detectors[2]: `seconds` is required",
            "detectors[3]: invalid type: integer `3`, expected a table such as { kind = \"content\" }",
            "detectors[4].sise: there is no setting `sise` here\n    did you mean `size`?",
            "detectors[4].threshold: invalid type",
            "detectors[5]: `kind` is required",
            "detectors[6].weights: invalid type",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:#?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}, not {start}");
        }
    }
}
