//! Which setting moves which threshold, found by trying.
//!
//! A `Check` says what is compared with what, but not which setting the limit came from, and a slider
//! has to print that setting. A list of names beside each stage would be another thing to keep in step
//! with it, so the settings are moved one by one, the stage is read again from them, and the check that
//! moved belongs to the setting. A stage that is added later has its sliders without a word here.

use curate_pipeline::{Bound, Check};
use serde_json::{Value as Json, json};

use super::{Limit, Side};

/// Values to try where a setting is not set, or where moving it a little is refused.
const TRIES: [f64; 6] = [0.0, 0.5, 1.0, 20.0, 1e3, 1e9];

/// A threshold that can be moved, and the value that it is about (`Check::what`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) what: &'static str,
    pub(crate) limit: Limit,
    /// Settings under which the check is there, for reading the value where there is no threshold.
    pub(crate) witness: Json,
}

/// The thresholds of a stage that its settings `judging` move.
///
/// `checks` reads the stage from such settings and gives its checks on a clip without values; `None`
/// where it refuses the settings.
pub(crate) fn movable(
    stage: &str,
    judging: &Json,
    checks: &dyn Fn(&Json) -> Option<Vec<Check>>,
) -> Vec<Setting> {
    let Some(now) = checks(judging) else { return Vec::new() };
    let mut paths = Vec::new();
    leaves(judging, &mut Vec::new(), &mut paths);
    let mut found: Vec<Setting> = Vec::new();
    for path in paths {
        let Some((what, side, witness)) = moved(judging, &path, &now, checks) else { continue };
        if found.iter().any(|other| (other.what, other.limit.side) == (what, side)) {
            continue;
        }
        let without = checks(&with(judging, &path, Json::Null));
        let is_optional = without.is_some_and(|checks| limit_of(&checks, what, side).is_none());
        found.push(Setting {
            what,
            limit: Limit {
                key: Some(format!("{stage}.{}", path.join("."))),
                side,
                value: limit_of(&now, what, side),
                is_optional,
            },
            witness,
        });
    }
    found
}

/// Paths to everything that is or could be a number.
fn leaves(settings: &Json, at: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match settings {
        Json::Object(object) => {
            for (key, value) in object {
                at.push(key.clone());
                leaves(value, at, paths);
                at.pop();
            }
        }
        Json::Number(_) | Json::Null if !at.is_empty() => paths.push(at.clone()),
        _ => {}
    }
}

fn with(settings: &Json, path: &[String], value: Json) -> Json {
    let mut settings = settings.clone();
    if let Some(leaf) = settings.pointer_mut(&pointer(path)) {
        *leaf = value;
    }
    settings
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
}

/// The value and side of the one check that another value of the setting moves, and settings with such
/// a value.
fn moved(
    judging: &Json,
    path: &[String],
    now: &[Check],
    checks: &dyn Fn(&Json) -> Option<Vec<Check>>,
) -> Option<(&'static str, Side, Json)> {
    let value = judging.pointer(&pointer(path)).and_then(Json::as_f64);
    let around = value.map(|value| [value * 0.5, value * 1.5, value + 1.0, value * 0.99]);
    for value in around.into_iter().flatten().chain(TRIES) {
        let settings = with(judging, path, json!(value));
        let Some(then) = checks(&settings) else { continue };
        let is_new = |check: &&Check| {
            !now.iter().any(|old| old.what == check.what && old.bound == check.bound)
        };
        let new: Vec<_> = then.iter().filter(is_new).collect();
        match new[..] {
            [] => {}
            [check] => return Some((check.what, bound(check).0, settings)),
            // It moves more than a threshold.
            _ => return None,
        }
    }
    // Between its neighbours there is no room to move it, but it may be taken away.
    let without = checks(&with(judging, path, Json::Null))?;
    let is_gone = |check: &&Check| {
        !without.iter().any(|left| left.what == check.what && left.bound == check.bound)
    };
    let gone: Vec<_> = now.iter().filter(is_gone).collect();
    match gone[..] {
        [check] if without.len() + 1 == now.len() => {
            Some((check.what, bound(check).0, judging.clone()))
        }
        _ => None,
    }
}

pub(super) fn bound(check: &Check) -> (Side, f64) {
    match check.bound {
        Bound::AtLeast(limit) => (Side::AtLeast, limit),
        Bound::AtMost(limit) => (Side::AtMost, limit),
    }
}

fn limit_of(checks: &[Check], what: &str, side: Side) -> Option<f64> {
    let mut of = checks.iter().filter(|check| check.what == what).map(bound);
    of.find(|(other, _)| *other == side).map(|(_, limit)| limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stage of the kinds of thresholds there are: a range, plain settings, a preset, one that always
    /// has a value.
    fn checks(settings: &Json) -> Option<Vec<Check>> {
        let number = |pointer: &str| settings.pointer(pointer).and_then(Json::as_f64);
        if settings["preset"].is_number() {
            return None;
        }
        let preset = (settings["preset"] == "large").then_some(4096.0);
        let limits = [
            ("speed", number("/keep/min").map(Bound::AtLeast)),
            ("speed", number("/keep/max").map(Bound::AtMost)),
            ("area", number("/min_area").or(preset).map(Bound::AtLeast)),
            ("length", Some(Bound::AtLeast(number("/min_s").unwrap_or(3.0)))),
        ];
        if let (Some(min), Some(max)) = (number("/keep/min"), number("/keep/max"))
            && (min > max || max > 1.0)
        {
            return None;
        }
        let check = |(what, bound): (&'static str, Option<Bound>)| {
            Some(Check { what, value: None, bound: bound?, reason: "" })
        };
        Some(limits.into_iter().filter_map(check).collect())
    }

    fn limit(key: &str, side: Side, value: Option<f64>, is_optional: bool) -> Limit {
        Limit { key: Some(key.to_owned()), side, value, is_optional }
    }

    #[test]
    fn settings_are_found_by_moving_them() {
        let judging = json!({
            "keep": {"min": 0.9, "max": null}, "min_area": null, "min_s": 3.0, "preset": "large",
        });
        let mut found = movable("stage", &judging, &checks);
        found.sort_by(|a, b| a.limit.key.cmp(&b.limit.key));
        let max = &found[0].witness["keep"]["max"];
        assert!(max.as_f64().is_some_and(|max| (0.9..=1.0).contains(&max)), "{max}");
        let found: Vec<_> =
            found.into_iter().map(|setting| (setting.what, setting.limit)).collect();
        let expected = [
            ("speed", limit("stage.keep.max", Side::AtMost, None, true)),
            ("speed", limit("stage.keep.min", Side::AtLeast, Some(0.9), true)),
            ("area", limit("stage.min_area", Side::AtLeast, Some(4096.0), false)),
            ("length", limit("stage.min_s", Side::AtLeast, Some(3.0), false)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_threshold_without_room_is_found_by_taking_it_away() {
        let judging = json!({"keep": {"min": 1.0, "max": 1.0}});
        let found = movable("stage", &judging, &checks);
        let keys: Vec<_> = found.iter().filter_map(|found| found.limit.key.as_deref()).collect();
        assert_eq!(keys, ["stage.keep.max", "stage.keep.min"]);
        assert_eq!(found[0].limit.value, Some(1.0));
    }

    #[test]
    fn a_stage_that_judges_nothing_has_no_sliders() {
        assert!(movable("clip", &Json::Null, &|_| Some(Vec::new())).is_empty());
        assert!(movable("clip", &json!({"a": 1}), &|_| Some(Vec::new())).is_empty());
        assert!(movable("clip", &json!({"a": 1}), &|_| None).is_empty());
    }
}
