//! One file over HTTP: resumed where it stopped, tried again, and checked before it counts.
//!
//! What has come is kept in a `.part` file, also when this process dies. The next attempt asks for
//! the rest with a `Range`; a server that sends the whole file again is fine too. The checksum, not
//! an ETag, decides whether the pieces belong together: when they do not, the download starts over
//! once.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::Path,
    time::Duration,
};

use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE, RETRY_AFTER},
};

use super::{digest, error::HttpError, pull::Retries};

/// A file to download.
pub(super) struct Download<'a> {
    pub(super) url: &'a str,
    pub(super) bytes: u64,
    pub(super) sha256: &'a str,
    /// Where to collect it.
    pub(super) part: &'a Path,
    pub(super) retries: Retries,
}

/// What happens meanwhile.
pub(super) enum Step<'a> {
    /// So many bytes are there.
    Bytes(u64),
    /// An attempt failed; the next follows after a pause.
    Failed(&'a HttpError, Duration),
}

/// A server may ask for a longer pause than ours, but not for any.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Download<'_> {
    /// Downloads until the whole file is in the `.part` file and its checksum is right.
    pub(super) async fn run(&self, progress: &mut dyn FnMut(Step<'_>)) -> Result<(), HttpError> {
        let client = Client::builder()
            .user_agent(concat!("curate/", env!("CARGO_PKG_VERSION")))
            .https_only(self.url.starts_with("https:"))
            // The bytes of the file are wanted, not of what a decompressor makes of them.
            .no_gzip()
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_secs(60))
            .build()?;
        let mut failures = 0;
        let mut is_fresh = false;
        loop {
            let before = self.have()?;
            is_fresh |= before == 0;
            if before < self.bytes {
                let error = match self.attempt(&client, before, progress).await {
                    Ok(()) => {
                        let bytes = self.have()?;
                        if bytes == self.bytes {
                            continue;
                        }
                        HttpError::Short { bytes, expected: self.bytes }
                    }
                    Err(error) => error,
                };
                failures = if self.have()? > before { 1 } else { failures + 1 };
                if !error.is_transient() || failures >= self.retries.attempts {
                    return Err(error);
                }
                let asked = match error {
                    HttpError::Status { retry_after, .. } => retry_after.unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                let own = self.retries.pause.saturating_mul(1 << (failures - 1).min(16));
                let pause = own.max(asked).min(LONGEST_PAUSE);
                progress(Step::Failed(&error, pause));
                tokio::time::sleep(pause).await;
                continue;
            }
            let found = digest::of_file(self.part).map_err(|error| self.io(error))?;
            if before == self.bytes && found == self.sha256 {
                return Ok(());
            }
            std::fs::remove_file(self.part).map_err(|error| self.io(error))?;
            if is_fresh {
                return Err(HttpError::Content { expected: self.sha256.to_owned(), found });
            }
        }
    }

    fn io(&self, source: std::io::Error) -> HttpError {
        HttpError::Io { path: self.part.to_owned(), source }
    }

    /// Bytes of the file that are there.
    fn have(&self) -> Result<u64, HttpError> {
        match std::fs::metadata(self.part) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.io(error)),
        }
    }

    /// Asks for what is missing and appends what comes.
    async fn attempt(
        &self,
        client: &Client,
        have: u64,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), HttpError> {
        let mut request = client.get(self.url).header(ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let mut response = request.send().await?;
        let (start, total) = match response.status() {
            StatusCode::OK => (0, response.content_length()),
            StatusCode::PARTIAL_CONTENT => match content_range(&response) {
                Some((start, total)) if start == have => (have, Some(total)),
                // Not what was asked for: start over.
                _ => return self.start_over(response.status()),
            },
            StatusCode::RANGE_NOT_SATISFIABLE => return self.start_over(response.status()),
            status => {
                let header = response.headers().get(RETRY_AFTER);
                let seconds = header.and_then(|text| text.to_str().ok()?.trim().parse().ok());
                let retry_after = seconds.map(Duration::from_secs);
                return Err(HttpError::Status { status, retry_after });
            }
        };
        if let Some(bytes) = total.filter(|total| *total != self.bytes) {
            return Err(HttpError::Size { bytes, expected: self.bytes });
        }
        let mut options = File::options();
        let options = if start > 0 {
            options.append(true)
        } else {
            options.write(true).create(true).truncate(true)
        };
        let mut file = options.open(self.part).map_err(|error| self.io(error))?;
        let mut done = start;
        progress(Step::Bytes(done));
        while let Some(chunk) = response.chunk().await? {
            done += chunk.len() as u64;
            if done > self.bytes {
                return Err(HttpError::Size { bytes: done, expected: self.bytes });
            }
            file.write_all(&chunk).map_err(|error| self.io(error))?;
            progress(Step::Bytes(done));
        }
        Ok(())
    }

    /// Forgets what has come: the server does not go on from there.
    fn start_over(&self, status: StatusCode) -> Result<(), HttpError> {
        std::fs::remove_file(self.part).map_err(|error| self.io(error))?;
        Err(HttpError::Status { status, retry_after: None })
    }
}

/// First byte and whole size from `Content-Range: bytes 5-9/10`.
fn content_range(response: &Response) -> Option<(u64, u64)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()?))
}
