//! Reads single members of zip archives: Python wheels and PyTorch checkpoints.
//!
//! Only what those two are made of: members that are stored or deflated, sizes of more than 4 GiB
//! (ZIP64), no encryption, no archives in several parts. The list of members (the central directory
//! at the end of the file) decides; what precedes a member's bytes is only skipped.
//!
//! Decided against the `zip` crate, which reads all of this: whatever its settings, it switches on
//! features in crates below Lance, so that taking it would compile Lance once more in every target
//! folder. When something else brings it in, this file can go.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use flate2::{Crc, read::DeflateDecoder};

/// Why an archive gave no member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file system refused.
    #[error("cannot read {path:?}: {source}")]
    Io {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no zip archive, or a damaged one.
    #[error("{path:?} is not a whole zip archive: {what}")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// Which part is wrong.
        what: &'static str,
    },
    /// The archive has no member of this name.
    #[error("{path:?} has no member {member:?}")]
    NoMember {
        /// The archive.
        path: PathBuf,
        /// The name.
        member: String,
    },
    /// The member is compressed or encrypted in a way that is not read here.
    #[error("{member:?} in {path:?} is neither stored nor deflated")]
    Method {
        /// The archive.
        path: PathBuf,
        /// The member.
        member: String,
    },
}

/// One file in an archive, as the list of members describes it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its name, with slashes.
    pub(crate) name: String,
    /// Its size when unpacked, in bytes.
    pub(crate) bytes: u64,
    packed_bytes: u64,
    header: u64,
    method: u16,
    is_encrypted: bool,
    crc: u32,
}

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The list of members may be this large; that of PyTorch's largest checkpoints has 100 KiB.
const MOST_LIST_BYTES: u64 = 64 << 20;

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    members: Vec<Member>,
}

impl Archive {
    /// Reads the list of members.
    ///
    /// # Errors
    /// When the file cannot be read or is not a zip archive.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let io = |source| ArchiveError::Io { path: path.to_owned(), source };
        let damaged = |what| ArchiveError::Damaged { path: path.to_owned(), what };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let (start, list_bytes) = find_list(&mut file, length).map_err(io)?.ok_or_else(|| {
            damaged("the list of members at its end is missing (a broken download?)")
        })?;
        if list_bytes > MOST_LIST_BYTES || start.saturating_add(list_bytes) > length {
            return Err(damaged("the list of members lies outside the file"));
        }
        let list = read_at(&mut file, start, list_bytes).map_err(io)?;
        let members = parse_list(&list).ok_or_else(|| damaged("the list of members is damaged"))?;
        Ok(Self { path: path.to_owned(), file, members })
    }

    /// What is in it, in the archive's order.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this name.
    pub(crate) fn member(&self, name: &str) -> Result<Member, ArchiveError> {
        let found = self.members.iter().find(|member| member.name == name);
        found.cloned().ok_or_else(|| ArchiveError::NoMember {
            path: self.path.clone(),
            member: name.to_owned(),
        })
    }

    /// Where a stored member's bytes lie in the file; `None` when it is compressed.
    pub(crate) fn offset(&mut self, member: &Member) -> Result<Option<u64>, ArchiveError> {
        let start = self.start(member)?;
        Ok((member.method == STORED && !member.is_encrypted).then_some(start))
    }

    /// The archive's file, for reading stored members where they lie.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Unpacks a member and checks its checksum at the end.
    pub(crate) fn read(
        &mut self,
        member: &Member,
        mut to: impl io::Write,
    ) -> Result<(), ArchiveError> {
        let start = self.start(member)?;
        let path = self.path.clone();
        let io = |source| ArchiveError::Io { path: path.clone(), source };
        if member.is_encrypted || ![STORED, DEFLATED].contains(&member.method) {
            return Err(ArchiveError::Method { path, member: member.name.clone() });
        }
        self.file.seek(SeekFrom::Start(start)).map_err(io)?;
        let packed = io::BufReader::new(&self.file).take(member.packed_bytes);
        let mut from: Box<dyn Read> = if member.method == STORED {
            Box::new(packed)
        } else {
            // One byte more than is due shows that there is too much, without unpacking all of it.
            Box::new(DeflateDecoder::new(packed).take(member.bytes.saturating_add(1)))
        };
        let (mut crc, mut left) = (Crc::new(), member.bytes);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut buffer).map_err(io)?;
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(|| ArchiveError::Damaged {
                path: path.clone(),
                what: "a member is larger than the list says",
            })?;
            crc.update(&buffer[..count]);
            to.write_all(&buffer[..count]).map_err(io)?;
        }
        if left > 0 || crc.sum() != member.crc {
            return Err(ArchiveError::Damaged { path, what: "a member's checksum is wrong" });
        }
        Ok(())
    }

    /// The offset of a member's first byte: its local header has a length of its own.
    fn start(&mut self, member: &Member) -> Result<u64, ArchiveError> {
        let local = read_at(&mut self.file, member.header, 30)
            .map_err(|source| ArchiveError::Io { path: self.path.clone(), source })?;
        if local[..4] != *b"PK\x03\x04" {
            return Err(ArchiveError::Damaged {
                path: self.path.clone(),
                what: "a member is not where the list says",
            });
        }
        Ok(member.header + 30 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28)))
    }
}

fn read_at(file: &mut File, start: u64, bytes: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut read = Vec::new();
    file.take(bytes).read_to_end(&mut read)?;
    if read.len() as u64 == bytes { Ok(read) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Start and size of the list of members, from the record that ends every archive.
fn find_list(file: &mut File, length: u64) -> io::Result<Option<(u64, u64)>> {
    // The record is 22 bytes long and may be followed by a comment of up to 64 KiB.
    let tail_bytes = length.min(22 + u64::from(u16::MAX));
    let tail = read_at(file, length - tail_bytes, tail_bytes)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06")
            && at + 22 + usize::from(u16_at(&tail, at + 20)) == tail.len()
    };
    let Some(at) =
        (0..=tail.len().saturating_sub(22)).rev().filter(|_| tail.len() >= 22).find(is_end)
    else {
        return Ok(None);
    };
    let (bytes, start) = (u32_at(&tail, at + 12), u32_at(&tail, at + 16));
    let entries = u16_at(&tail, at + 10);
    if start != u32::MAX && bytes != u32::MAX && entries != u16::MAX {
        return Ok(Some((u64::from(start), u64::from(bytes))));
    }
    // ZIP64: a locator just before the record says where the record with wide fields is.
    if at < 20 || tail[at - 20..at - 16] != *b"PK\x06\x07" {
        return Ok(None);
    }
    let wide_at = u64_at(&tail, at - 12);
    if wide_at.saturating_add(56) > length {
        return Ok(None);
    }
    let wide = read_at(file, wide_at, 56)?;
    Ok((wide[..4] == *b"PK\x06\x06").then(|| (u64_at(&wide, 48), u64_at(&wide, 40))))
}

/// The entries of the list; `None` when they do not fill it exactly.
fn parse_list(mut list: &[u8]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    while !list.is_empty() {
        let fixed = list.get(..46).filter(|fixed| fixed.starts_with(b"PK\x01\x02"))?;
        let lengths = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
        let rest = list.get(46..46 + lengths.iter().sum::<usize>())?;
        let (name, extra) = rest.split_at(lengths[0]);
        let mut member = Member {
            name: String::from_utf8_lossy(name).into_owned(),
            bytes: u64::from(u32_at(fixed, 24)),
            packed_bytes: u64::from(u32_at(fixed, 20)),
            header: u64::from(u32_at(fixed, 42)),
            method: u16_at(fixed, 10),
            is_encrypted: u16_at(fixed, 8) & 1 == 1,
            crc: u32_at(fixed, 16),
        };
        widen(&mut member, &extra[..lengths[1]])?;
        members.push(member);
        list = &list[46 + rest.len()..];
    }
    Some(members)
}

/// Fields of 32 bits that are all ones have their value in the extra field of kind 1, in this order.
fn widen(member: &mut Member, mut extra: &[u8]) -> Option<()> {
    while extra.len() >= 4 {
        let (kind, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let mut value = extra.get(4..4 + length)?;
        if kind == 1 {
            for field in [&mut member.bytes, &mut member.packed_bytes, &mut member.header] {
                if *field == u64::from(u32::MAX) {
                    *field = u64_at(value.get(..8)?, 0);
                    value = &value[8..];
                }
            }
        }
        extra = &extra[4 + length..];
    }
    Some(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Zip, file};

    fn members(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let (_folder, path) = file("a.zip", bytes);
        let mut archive = Archive::open(&path)?;
        let list = archive.members().to_vec();
        let read = list.iter().map(|member| {
            let mut unpacked = Vec::new();
            archive.read(member, &mut unpacked)?;
            Ok((member.name.clone(), unpacked))
        });
        read.collect()
    }

    #[test]
    fn members_come_out_as_they_went_in() {
        let long = b"again and again ".repeat(5000);
        for is_wide in [false, true] {
            let zip = Zip { is_wide, comment: b"PK\x05\x06 is not the end" };
            let bytes = zip.write(&[("a/stored", b"as it is", false), ("deflated", &long, true)]);
            let read = members(&bytes).unwrap();
            assert_eq!(read[0], ("a/stored".to_owned(), b"as it is".to_vec()), "wide: {is_wide}");
            assert_eq!(read[1], ("deflated".to_owned(), long.clone()), "wide: {is_wide}");
            let (_folder, path) = file("a.zip", &bytes);
            let mut archive = Archive::open(&path).unwrap();
            let [stored, deflated] = archive.members().to_vec().try_into().unwrap();
            let at = archive.offset(&stored).unwrap().unwrap() as usize;
            assert_eq!(&bytes[at..at + 8], b"as it is");
            assert_eq!(archive.offset(&deflated).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_whole_archive_says_so() {
        let bytes = Zip::default().write(&[("a", &[7; 1000], true)]);
        assert!(matches!(members(b""), Err(ArchiveError::Damaged { .. })));
        assert!(matches!(members(&bytes[..bytes.len() - 1]), Err(ArchiveError::Damaged { .. })));
        let mut other = bytes.clone();
        other[14 + 4] ^= 1; // somewhere in the local header: not looked at
        assert!(members(&other).is_ok());
        other[38] ^= 1; // in the packed bytes
        assert!(members(&other).is_err());
        let (_folder, path) = file("a.zip", &bytes);
        let error = Archive::open(&path).unwrap().member("b").unwrap_err();
        assert!(error.to_string().contains("has no member \"b\""), "{error}");
    }

    proptest! {
        /// Damage is an error or harmless, and never a panic.
        #[test]
        fn damage_never_panics(at in 0_usize..400, to: u8, cut in 0_usize..400) {
            let mut bytes = Zip::default().write(&[("a", &[7; 100], true), ("b", b"12345", false)]);
            let length = bytes.len();
            bytes[at % length] = to;
            members(&bytes).map(drop).unwrap_or_default();
            members(&bytes[..cut % length]).map(drop).unwrap_or_default();
        }
    }
}
