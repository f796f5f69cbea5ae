//! Whether the tables in an MP4's header tell of every sample.
//!
//! FFmpeg keeps the place it had in the table of presentation times (`ctts`) when it seeks to a sample
//! which that table does not reach: what such a file's packets say then depends on what was read
//! before. The boxes are those of ISO 14496-12, 8.5 to 8.7.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Boxes that only hold others, from the file down to the tables.
const FOLDERS: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];
/// A header with more boxes than this is none that a camera or a muxer has made.
const MOST_BOXES: usize = 100_000;

/// What one track's tables tell of.
#[derive(Debug, Default)]
struct Track {
    /// Samples by each table of sizes (`stsz`, `stz2`).
    samples: Vec<u64>,
    /// Samples by each table of presentation times.
    times: Vec<u64>,
    /// Ways in which samples are coded, by each `stsd`.
    descriptions: Vec<u64>,
}

impl Track {
    /// `false` also for tracks that have a table twice, where it is FFmpeg's choice which one counts.
    fn is_whole(&self) -> bool {
        let ([samples], [1]) = (&self.samples[..], &self.descriptions[..]) else { return false };
        match self.times[..] {
            [] => true,
            [times] => times >= *samples,
            _ => false,
        }
    }
}

/// Whether every track of a file is coded in one way and, if it has a table of presentation times at all,
/// one that reaches its last sample. `false` where the file is not what it should be.
pub(crate) fn tell_of_every_sample(path: &Path) -> bool {
    let tracks = File::open(path).and_then(|file| {
        let end = file.metadata()?.len();
        let mut walk = Walk { file: BufReader::new(file), tracks: Vec::new(), boxes: 0 };
        walk.boxes_within(&FOLDERS, 0, end)?;
        Ok(walk.tracks)
    });
    tracks.is_ok_and(|tracks| !tracks.is_empty() && tracks.iter().all(Track::is_whole))
}

struct Walk {
    file: BufReader<File>,
    tracks: Vec<Track>,
    boxes: usize,
}

impl Walk {
    /// Looks at the boxes from `at` to `end`, in bytes from the beginning of the file, and into those
    /// that lead to tables by the names `down`.
    fn boxes_within(&mut self, down: &[&[u8; 4]], mut at: u64, end: u64) -> io::Result<()> {
        while at.checked_add(8).is_some_and(|next| next <= end) {
            self.boxes += 1;
            if self.boxes > MOST_BOXES {
                return Err(malformed());
            }
            self.file.seek(SeekFrom::Start(at))?;
            let (short, name) = (self.number()?, self.bytes()?);
            let (size, header) = match short {
                0 => (end - at, 8),
                1 => (self.number()? << 32 | self.number()?, 16),
                size => (size, 8),
            };
            let next = at.checked_add(size).filter(|next| *next <= end && size >= header);
            let next = next.ok_or_else(malformed)?;
            match down.split_first() {
                Some((first, down)) if **first == name => {
                    if &name == b"trak" {
                        self.tracks.push(Track::default());
                    }
                    self.boxes_within(down, at + header, next)?;
                }
                Some(_) => {}
                None => self.table(&name, size - header)?,
            }
            at = next;
        }
        Ok(())
    }

    /// Reads a table of `bytes` bytes, if it is one that counts.
    fn table(&mut self, name: &[u8; 4], bytes: u64) -> io::Result<()> {
        let is_sizes = [b"stsz", b"stz2"].contains(&name);
        if !is_sizes && ![b"ctts", b"stsd"].contains(&name) {
            return Ok(());
        }
        // Version and flags, and the size of all samples or of the table's fields.
        self.number()?;
        if is_sizes {
            self.number()?;
        }
        let count = self.number()?;
        let told = if name == b"ctts" { self.samples_of_runs(count, bytes)? } else { count };
        let track = self.tracks.last_mut().ok_or_else(malformed)?;
        match name {
            b"ctts" => track.times.push(told),
            b"stsd" => track.descriptions.push(told),
            _ => track.samples.push(told),
        }
        Ok(())
    }

    /// How many samples so many runs of the same offset come to, in a table of `bytes` bytes.
    fn samples_of_runs(&mut self, count: u64, bytes: u64) -> io::Result<u64> {
        if count > bytes.saturating_sub(8) / 8 {
            return Err(malformed());
        }
        let mut samples = 0;
        for _ in 0..count {
            let (run, _offset) = (self.number()?, self.number()?);
            // FFmpeg takes what is larger for a negative number, and passes over it.
            samples += if run > 0x7fff_ffff { 0 } else { run };
        }
        Ok(samples)
    }

    fn bytes(&mut self) -> io::Result<[u8; 4]> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from(u32::from_be_bytes(self.bytes()?)))
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use curate_testing::make;

    use super::*;

    const SOURCE: &str =
        "-f lavfi -i testsrc2=s=96x64:r=25:d=4 -c:v libx264 -g 10 -bf 1 -x264-params b-adapt=0";

    /// A file whose table says `value`, `offset` bytes behind its name.
    fn changed(folder: &Path, table: &[u8; 4], offset: usize, value: u32) -> std::path::PathBuf {
        let path = make(folder, "changed.mp4", SOURCE);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|window| window == table).unwrap();
        bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn whole_files_and_those_without_reordering_tell_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let fine = |name: &str, how: &str| {
            tell_of_every_sample(&make(folder.path(), name, &format!("{SOURCE} {how}")))
        };
        assert!(fine("a.mp4", "") && fine("first.mp4", "-movflags +faststart"));
        assert!(fine("plain.mp4", "-bf 0") && fine("a.mov", ""));
        assert!(!fine("a.mkv", ""));
    }

    #[test]
    fn boxes_in_boxes_without_end_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        for name in FOLDERS {
            let depth: u32 = 200_000;
            let boxes = (0..depth).rev().map(|left| [(8 * (left + 1)).to_be_bytes(), *name]);
            let path = folder.path().join("deep.mp4");
            std::fs::write(&path, boxes.flatten().flatten().collect::<Vec<u8>>()).unwrap();
            assert!(!tell_of_every_sample(&path));
        }
    }

    #[test]
    fn short_doubtful_and_damaged_tables_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&[u8; 4], usize, u32); 5] = [
            (b"ctts", 8, 3),
            (b"ctts", 12, u32::MAX),
            (b"ctts", 8, u32::MAX),
            (b"stsz", 12, 1 << 20),
            (b"stsd", 8, 2),
        ];
        for (table, offset, value) in cases {
            let path = changed(folder.path(), table, offset, value);
            assert!(!tell_of_every_sample(&path), "{table:?} {offset} {value}");
        }
        let path = changed(folder.path(), b"ctts", 4, 0);
        assert!(tell_of_every_sample(&path), "its version says nothing");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        assert!(!tell_of_every_sample(&path), "it was cut off");
    }
}
