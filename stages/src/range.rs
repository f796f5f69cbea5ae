//! Thresholds on a measured value, as recipes write them: `{ min = 0.1, max = 0.9 }`.

use curate_pipeline::{Bound, Check, Problems};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which values are kept; what is left out is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table such as { max = 0.02 }")]
pub struct Range {
    /// Smaller values are dropped.
    pub min: Option<f64>,
    /// Larger values are dropped.
    pub max: Option<f64>,
}

impl Range {
    /// Values up to `max` are kept.
    pub(crate) const fn at_most(max: f64) -> Self {
        Self { min: None, max: Some(max) }
    }

    /// Values from `min` on are kept.
    pub(crate) const fn at_least(min: f64) -> Self {
        Self { min: Some(min), max: None }
    }

    /// Reports limits that are no numbers from 0 to `most`, the largest value there is, or that
    /// nothing passes.
    pub(crate) fn validate(&self, key: &str, most: f64, problems: &mut Problems) {
        let Self { min, max } = *self;
        if [min, max].into_iter().flatten().any(|value| !value.is_finite() || value < 0.0) {
            problems.report(key, "`min` and `max` must be numbers, 0 or more");
        } else if [min, max].into_iter().flatten().any(|value| value > most) {
            problems.report(key, format!("no value is above {most}")).help = Some(
                if most == 1.0 { "shares are written 0.02, not 2 %" } else { "lower it" }.into(),
            );
        } else if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            problems.report(key, format!("no clip could pass: {min} is above the maximum, {max}"));
        }
    }

    /// The checks of a value, with the reasons for being below and above.
    pub(crate) fn checks(
        &self,
        what: &'static str,
        value: Option<f64>,
        (below, above): (&'static str, &'static str),
    ) -> impl Iterator<Item = Check> + use<> {
        let check = move |bound, reason| Check { what, value, bound, reason };
        let min = self.min.map(|min| check(Bound::AtLeast(min), below));
        let max = self.max.map(|max| check(Bound::AtMost(max), above));
        min.into_iter().chain(max)
    }
}
