//! What could not be read of a table, so that what merely follows from it is not reported as well.
//!
//! A setting that could not be read has its default in the result, and a check of the result finds
//! fault with that: the second problem goes when the first one is mended, and says nothing.

use crate::{ConfigError, Problems};

/// The settings of one table that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    keys: Vec<String>,
}

impl Unread {
    /// Has `read` read `table`, which lies at `place`, reports what it finds, and remembers which
    /// settings that was about. What a misspelt one was meant to be counts too, unless the table has
    /// that as well: then it was read.
    pub fn read<T>(
        (place, table): (&str, &toml::Table),
        problems: &mut Problems,
        read: impl FnOnce(&mut Problems) -> T,
    ) -> (T, Self) {
        let mut found = Problems::default();
        let value = read(&mut found);
        let mut unread = Self::default();
        for problem in found.into_errors() {
            unread.keys.push(problem.key.clone());
            unread.keys.extend(meant(&problem).filter(|key| !table.contains_key(key)));
            problems.add(at(place, problem));
        }
        (value, unread)
    }

    /// Has `check` check what was read of the table of `place`, and reports what it finds, except
    /// problems with settings that could not be read, and problems whose words name one of them in
    /// backquotes.
    pub fn check<T>(
        &self,
        place: &str,
        problems: &mut Problems,
        check: impl FnOnce(&mut Problems) -> T,
    ) -> T {
        let mut found = Problems::default();
        let value = check(&mut found);
        for problem in found.into_errors() {
            if !self.touches(&problem.key) && !self.is_named_by(&problem) {
                problems.add(at(place, problem));
            }
        }
        value
    }

    /// Whether everything could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a setting could not be read, or a part of it, or what it is a part of.
    #[must_use]
    pub fn touches(&self, key: &str) -> bool {
        self.keys.iter().any(|unread| is_within(unread, key) || is_within(key, unread))
    }

    fn is_named_by(&self, problem: &ConfigError) -> bool {
        let help = problem.help.as_deref().unwrap_or_default();
        let mut named = [problem.message.as_str(), help].into_iter().flat_map(quoted);
        named.any(|name| {
            let last = name.rsplit('.').next().unwrap_or(name);
            self.keys.iter().any(|unread| is_within(unread, name) || is_within(unread, last))
        })
    }
}

/// Whether `key` is `whole` or a part of it, as `paths[2]` and `keep.min` are.
fn is_within(key: &str, whole: &str) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The setting that a misspelt one was meant to be, if the advice guesses it.
fn meant(problem: &ConfigError) -> Option<String> {
    let help = problem.help.as_deref().filter(|help| help.starts_with("did you mean"))?;
    quoted(help).next().map(str::to_owned)
}

fn at(place: &str, mut problem: ConfigError) -> ConfigError {
    problem.key = format!("{place} {}", problem.key).trim().to_owned();
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `reported` after these settings could not be read.
    fn left(unread: &[(&str, &str)], reported: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Problems::default();
        let ((), unread) = Unread::read(("[x]", &toml::Table::new()), &mut problems, |problems| {
            for (key, help) in unread {
                problems.report(key, "cannot be read").help = Some((*help).to_owned());
            }
        });
        unread.check("[x]", &mut problems, |problems| {
            for (key, message) in reported {
                problems.report(key, *message);
            }
        });
        let found = problems.into_errors().into_iter().map(|problem| problem.key);
        found.skip(unread.keys.len()).collect()
    }

    #[test]
    fn what_follows_from_an_unread_setting_is_left_out() {
        let list = [("passes[1].kind", "")];
        let faults =
            [("passes[0]", "bad"), ("passes[1]", "bad"), ("passes", "bad"), ("pass", "bad")];
        assert_eq!(left(&list, &faults), ["[x] passes[0]", "[x] pass"]);
        let faults = [("max", "is below `min`"), ("max", "is minimal"), ("min.of", "bad")];
        assert_eq!(left(&[("min", "")], &faults), ["[x] max"]);
        assert_eq!(left(&[("column", "")], &[("paths", "set `input.column`")]).len(), 0);
        assert_eq!(left(&[], &faults).len(), 3);
    }

    #[test]
    fn what_a_misspelt_setting_was_meant_to_be_counts_too() {
        let read = |text: &str| {
            let mut problems = Problems::default();
            let place = ("", &text.parse().unwrap());
            let ((), unread) = Unread::read(place, &mut problems, |problems| {
                problems.report("pth", "no such setting").help =
                    Some("did you mean `path`?".into());
            });
            assert_eq!(problems.into_errors()[0].key, "pth");
            unread
        };
        let unread = read("pth = 1");
        assert!(unread.touches("path") && unread.touches("pth") && !unread.touches("paths"));
        let unread = read("pth = 1\npath = 2");
        assert!(unread.touches("pth") && !unread.touches("path"), "it is there and was read");
    }
}
