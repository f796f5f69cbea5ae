//! `manifest.toml`: which models there are.
//!
//! Part of the binary, so that a command and what it expects to find cannot drift apart. Read and
//! checked once; a mistake in it is a mistake of the developers, which a test finds.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not TOML, or unknown or missing keys.
    #[error("the list of models cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value that cannot be right.
    #[error("the list of models: {entry}: {what}")]
    Value {
        /// Which model, file or wheel.
        entry: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A model: files that belong together.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name under which it is asked for, and of its folder in the hub.
    pub id: String,
    /// What it is for, in one line.
    pub purpose: String,
    /// Its licence, in one line.
    pub licence: String,
    /// Names under which it is pulled together with others.
    pub groups: Vec<String>,
    /// Its files.
    pub files: Vec<ModelFile>,
}

impl Model {
    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The word after `curate models pull` that brings it.
    #[must_use]
    pub fn pulled_by(&self) -> &str {
        self.groups.first().unwrap_or(&self.id)
    }
}

/// One file of a model.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Its path in the model's folder.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a file comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// An https address.
    Url(String),
    /// A member of a Python wheel, which is downloaded and never installed.
    Wheel {
        /// The wheel.
        wheel: Arc<Wheel>,
        /// The member's path in it.
        member: String,
    },
    /// Compiled into the binary.
    Embedded,
}

/// A Python wheel, named exactly.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The project on the package index.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The wheel's file name.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of the wheel.
    pub sha256: String,
    /// For which Python it is, such as `3.11`; none for a wheel that suits any.
    pub python: Option<String>,
    /// For which kind of Python, such as `cp`.
    pub implementation: Option<String>,
    /// For which platform, such as `manylinux_2_28_x86_64`.
    pub platform: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    wheel: Vec<Wheel>,
    #[serde(default)]
    model: Vec<ModelText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelText {
    id: String,
    purpose: String,
    licence: String,
    #[serde(default)]
    groups: Vec<String>,
    file: Vec<FileText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    path: String,
    bytes: u64,
    sha256: String,
    url: Option<String>,
    wheel: Option<String>,
    member: Option<String>,
    #[serde(default)]
    embedded: bool,
}

/// Reads and checks a manifest.
pub(super) fn parse(text: &str) -> Result<Vec<Model>, ManifestError> {
    let text: Text = toml::from_str(text)?;
    let value = |entry: &str, what| ManifestError::Value { entry: entry.to_owned(), what };
    let wheels: Vec<Arc<Wheel>> = text.wheel.into_iter().map(Arc::new).collect();
    for wheel in &wheels {
        if !is_sha256(&wheel.sha256) {
            return Err(value(&wheel.file, "sha256 is not 64 hexadecimal digits"));
        }
    }
    let mut names = BTreeSet::new();
    let mut models = Vec::new();
    for ModelText { id, purpose, licence, groups, file: texts } in text.model {
        let mut files = Vec::new();
        for file in texts {
            let entry = format!("{id}/{}", file.path);
            if !is_sha256(&file.sha256) {
                return Err(value(&entry, "sha256 is not 64 hexadecimal digits"));
            }
            if !is_plain(&file.path) {
                return Err(value(&entry, "the path must be a plain file name"));
            }
            let source = match (file.url, file.wheel, file.member, file.embedded) {
                (Some(url), None, None, false) if url.starts_with("https://") => Source::Url(url),
                (Some(_), None, None, false) => return Err(value(&entry, "the url is not https")),
                (None, Some(name), Some(member), false) => {
                    let wheel = wheels.iter().find(|wheel| wheel.name == name);
                    let wheel = wheel.ok_or_else(|| value(&entry, "there is no such wheel"))?;
                    Source::Wheel { wheel: Arc::clone(wheel), member }
                }
                (None, None, None, true) => Source::Embedded,
                _ => return Err(value(&entry, "needs a url, a wheel and its member, or embedded")),
            };
            let FileText { path, bytes, sha256, .. } = file;
            files.push(ModelFile { path, bytes, sha256, source });
        }
        if !is_plain(&id) || files.is_empty() {
            return Err(value(&id, "needs a plain name and files"));
        }
        names.extend(groups.iter().cloned());
        models.push(Model { id, purpose, licence, groups, files });
    }
    names.insert("all".to_owned());
    for model in &models {
        if !names.insert(model.id.clone()) {
            return Err(value(&model.id, "the name is taken"));
        }
    }
    Ok(models)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Names become folders and files: nothing that leaves the hub or hides in it.
fn is_plain(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn with(file: &str) -> Result<Vec<Model>, ManifestError> {
        parse(&format!(
            "[[wheel]]\nname = \"w\"\nversion = \"1\"\nfile = \"w.whl\"\nbytes = 1\n\
             sha256 = \"{SHA256}\"\n\
             [[model]]\nid = \"m\"\npurpose = \"p\"\nlicence = \"l\"\n\
             [[model.file]]\nbytes = 1\n{file}"
        ))
    }

    #[test]
    fn each_kind_of_source_is_read_and_mixtures_are_refused() {
        let pinned = format!("path = \"f\"\nsha256 = \"{SHA256}\"\n");
        let read = |more: &str| with(&format!("{pinned}{more}"));
        let source = |more: &str| read(more).unwrap().remove(0).files.remove(0).source;
        assert!(
            matches!(source("url = \"https://a.b/c\""), Source::Url(url) if url.ends_with('c'))
        );
        assert!(matches!(source("embedded = true"), Source::Embedded));
        let Source::Wheel { wheel, member } = source("wheel = \"w\"\nmember = \"a/b\"") else {
            panic!("a wheel")
        };
        assert_eq!((&*wheel.file, &*member), ("w.whl", "a/b"));
        for wrong in [
            "",
            "url = \"http://a.b/c\"",
            "url = \"https://a.b/c\"\nembedded = true",
            "wheel = \"w\"",
            "wheel = \"other\"\nmember = \"a\"",
            "unknown = 1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for path in ["../f", "a/b", ".f", ""] {
            let file = format!("path = \"{path}\"\nsha256 = \"{SHA256}\"\nembedded = true");
            assert!(with(&file).is_err(), "{path}");
        }
        assert!(with("path = \"f\"\nsha256 = \"12\"\nembedded = true").is_err());
    }

    #[test]
    fn names_are_taken_once() {
        let model = |id: &str, groups: &str| {
            format!(
                "[[model]]\nid = \"{id}\"\npurpose = \"p\"\nlicence = \"l\"\ngroups = {groups}\n\
                 [[model.file]]\npath = \"f\"\nbytes = 1\nsha256 = \"{SHA256}\"\nembedded = true\n"
            )
        };
        let both = |a: &str, b: &str| parse(&(a.to_owned() + b));
        assert!(both(&model("a", "[\"g\"]"), &model("b", "[\"g\"]")).is_ok());
        assert!(both(&model("a", "[]"), &model("a", "[]")).is_err());
        assert!(both(&model("a", "[\"b\"]"), &model("b", "[]")).is_err());
        assert!(parse(&model("all", "[]")).is_err());
    }
}
