//! The hub: a folder with one folder for each model, filled by `curate models pull`.
//!
//! A model's file is in place or absent, never half there: it is written beside its place as
//! `NAME.part`, checked, and renamed. So whoever asks for a path only looks at existence and size;
//! checksums are looked at when a file comes and by [`Hub::verify`].
//!
//! Decided against a cache that fetches on demand: a run would then depend on the network in its
//! middle, and on whichever stage asks first.

pub(crate) mod digest;
mod error;
mod http;
mod manifest;
mod pull;

use std::path::{Path, PathBuf};

pub use self::{
    error::{HttpError, HubError, Missing, Reason},
    manifest::{ManifestError, Model, ModelFile, Source, Wheel},
    pull::{Event, Fetch, FetchWheel, Retries},
};

/// Files that are part of the binary: model, file name, bytes. Each has an `embedded` entry in the
/// manifest.
const EMBEDDED: &[Embedded] = &[(
    "raft-small",
    "raft_small.safetensors",
    include_bytes!("../../weights/raft_small.safetensors"),
)];

/// A file of a model that is part of the binary.
type Embedded = (&'static str, &'static str, &'static [u8]);

/// The models of the manifest, and a folder that holds some of them.
#[derive(Clone, Debug)]
pub struct Hub {
    dir: PathBuf,
    models: Vec<Model>,
    embedded: &'static [Embedded],
}

/// A model's file, as it can be read.
#[derive(Clone, Debug)]
pub enum Content {
    /// In the hub's folder.
    File(PathBuf),
    /// In the binary.
    Embedded(&'static [u8]),
}

/// What [`Hub::state`] and [`Hub::verify`] find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All there.
    Present,
    /// All there, as part of the binary.
    BuiltIn,
    /// A file is not there.
    Missing(PathBuf),
    /// A file has another size than it should.
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A file has another content than it should.
    WrongContent {
        /// The file.
        path: PathBuf,
        /// The SHA-256 of what is there.
        sha256: String,
    },
}

impl State {
    /// Whether the model can be used.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self, Self::Present | Self::BuiltIn)
    }
}

impl Hub {
    /// The hub over a folder, which need not exist yet.
    ///
    /// # Errors
    /// When the manifest in the binary is wrong, which the tests of this crate rule out.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, HubError> {
        let models = manifest::parse(include_str!("../../manifest.toml"))?;
        Ok(Self { dir: dir.into(), models, embedded: EMBEDDED })
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every model there is, in the manifest's order.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The models that are meant by these names: ids, groups, or `all`; each once.
    ///
    /// # Errors
    /// [`HubError::Unknown`] for a name that is none of these.
    pub fn select<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<&Model>, HubError> {
        let mut is_chosen = vec![false; self.models.len()];
        for name in names {
            let is_meant = |model: &Model| {
                name == "all" || model.id == name || model.groups.iter().any(|group| group == name)
            };
            let mut is_any = false;
            for (model, is_chosen) in self.models.iter().zip(&mut is_chosen) {
                if is_meant(model) {
                    (is_any, *is_chosen) = (true, true);
                }
            }
            if !is_any {
                let known = self.models.iter().map(|model| model.id.clone()).collect();
                return Err(HubError::Unknown { name: name.to_owned(), known });
            }
        }
        let chosen = self.models.iter().zip(is_chosen);
        Ok(chosen.filter_map(|(model, is_chosen)| is_chosen.then_some(model)).collect())
    }

    /// Where a model's file is.
    ///
    /// # Errors
    /// [`Missing`], which says which command brings it. A built-in file has no path.
    pub fn path(&self, id: &str, file: &str) -> Result<PathBuf, Missing> {
        match self.content(id, file)? {
            Content::File(path) => Ok(path),
            Content::Embedded(_) => Err(Missing::new(id, file, Reason::BuiltIn)),
        }
    }

    /// A model's file, wherever it is.
    ///
    /// # Errors
    /// [`Missing`], which says which command brings it.
    pub fn content(&self, id: &str, file: &str) -> Result<Content, Missing> {
        let (model, entry) = self.entry(id, file)?;
        match self.file_state(model, entry) {
            State::BuiltIn => Ok(Content::Embedded(self.embedded(id, file).unwrap_or_default())),
            State::Present => Ok(Content::File(self.place(model, entry))),
            state => Err(Missing::new(
                id,
                file,
                Reason::NotUsable { state, pulled_by: model.pulled_by().to_owned() },
            )),
        }
    }

    /// A checksum of a model, for the record of what measured a value: of a single file its
    /// SHA-256, of several that of all their names and checksums. It is the manifest's, which was
    /// compared with the files when they came.
    ///
    /// # Errors
    /// [`Missing`] when there is no such model, or a file of it is not there.
    pub fn hash(&self, id: &str) -> Result<String, Missing> {
        let model = self.model(id).ok_or_else(|| Missing::new(id, "", Reason::UnknownModel))?;
        for file in &model.files {
            self.content(id, &file.path)?;
        }
        Ok(match &model.files[..] {
            [file] => file.sha256.clone(),
            files => {
                let lines = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.path));
                digest::of_bytes(lines.collect::<String>().as_bytes())
            }
        })
    }

    /// Whether a model is there, by existence and size of its files.
    #[must_use]
    pub fn state(&self, model: &Model) -> State {
        let states = model.files.iter().map(|file| self.file_state(model, file));
        worst(states)
    }

    /// Whether a model is there, by the checksums of its files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn verify(&self, model: &Model) -> Result<State, HubError> {
        let states = model.files.iter().map(|file| self.verify_file(model, file));
        Ok(worst(states.collect::<Result<Vec<_>, _>>()?))
    }

    fn model(&self, id: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.id == id)
    }

    fn entry(&self, id: &str, file: &str) -> Result<(&Model, &ModelFile), Missing> {
        let model = self.model(id).ok_or_else(|| Missing::new(id, file, Reason::UnknownModel))?;
        let entry = model.files.iter().find(|entry| entry.path == file);
        let entry = entry.ok_or_else(|| Missing::new(id, file, Reason::UnknownFile))?;
        Ok((model, entry))
    }

    fn embedded(&self, id: &str, file: &str) -> Option<&'static [u8]> {
        let found = self.embedded.iter().find(|(model, name, _)| *model == id && *name == file);
        found.map(|(_, _, bytes)| *bytes)
    }

    fn place(&self, model: &Model, file: &ModelFile) -> PathBuf {
        self.dir.join(&model.id).join(&file.path)
    }

    fn file_state(&self, model: &Model, file: &ModelFile) -> State {
        let path = self.place(model, file);
        if matches!(file.source, Source::Embedded) {
            return match self.embedded(&model.id, &file.path) {
                Some(_) => State::BuiltIn,
                None => State::Missing(path),
            };
        }
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() == file.bytes => State::Present,
            Ok(found) if found.is_file() => State::WrongSize { path, bytes: found.len() },
            _ => State::Missing(path),
        }
    }

    fn verify_file(&self, model: &Model, file: &ModelFile) -> Result<State, HubError> {
        let state = self.file_state(model, file);
        if !state.is_usable() {
            return Ok(state);
        }
        let path = self.place(model, file);
        let sha256 = match self.embedded(&model.id, &file.path) {
            Some(bytes) if state == State::BuiltIn => digest::of_bytes(bytes),
            _ => digest::of_file(&path).map_err(HubError::io(&path))?,
        };
        Ok(if sha256 == file.sha256 { state } else { State::WrongContent { path, sha256 } })
    }
}

/// The state of a model from those of its files: the first that is not usable, if any.
fn worst(states: impl IntoIterator<Item = State>) -> State {
    let mut all = State::BuiltIn;
    for state in states {
        if !state.is_usable() {
            return state;
        }
        if state == State::Present {
            all = state;
        }
    }
    all
}

#[cfg(test)]
mod tests;
