//! Files that stay open give the clips that files opened anew give.

use std::{collections::HashMap, fs, path::Path, sync::Mutex};

use curate_media::{Access, Copier, copy_clip, probe};
use curate_schemas::Span;

use crate::support::{decode, make, shared_media};

/// Spans of a file in an order that jumps about; some may come twice.
fn spans(path: &Path) -> Vec<Span> {
    let whole = decode(path);
    let time_base = probe(path, &Access::default()).unwrap().video.time_base;
    let count = whole.len();
    let span = |index: usize| {
        let (from, to) = (index * 7 % count, (index * 7 % count + 9).min(count));
        let end = whole.get(to).map_or(whole[count - 1].pts + 1, |frame| frame.pts);
        Span { start: whole[from].pts, end, time_base }
    };
    (0..count / 7).map(|index| span(index * 13)).collect()
}

/// Copies all spans of all files, in turn, by several threads that share their readers.
fn check(files: &[&Path]) {
    let spans: Vec<Vec<Span>> = files.iter().map(|path| spans(path)).collect();
    let longest = spans.iter().map(Vec::len).max().unwrap();
    let work = (0..longest).flat_map(|index| {
        let of = files.iter().zip(&spans);
        of.filter_map(move |(path, spans)| Some((*path, *spans.get(index)?)))
    });
    let (work, copier) = (Mutex::new(work), Copier::default());
    let access = Access::default();
    let next = || work.lock().unwrap().next();
    let copied = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((path, span)) = next() {
                    let name = path.display();
                    match (copier.copy(path, &span, &access), copy_clip(path, &span, &access)) {
                        (Ok(shared), Ok(alone)) => {
                            assert!(shared == alone, "{name} {span:?}: other bytes");
                            *copied.lock().unwrap().entry(path).or_insert(0) += 1;
                        }
                        (Err(shared), Err(alone)) => {
                            assert_eq!(shared.to_string(), alone.to_string(), "{name} {span:?}");
                        }
                        (shared, alone) => panic!(
                            "{name} {span:?}: {:?} {:?}",
                            shared.map(|clip| clip.frames),
                            alone.map(|clip| clip.frames)
                        ),
                    }
                }
            });
        }
    });
    for (path, spans) in files.iter().zip(&spans) {
        let copied = copied.lock().unwrap().get(path).copied().unwrap_or(0);
        assert!(2 * copied > spans.len(), "{}: {copied} of {}", path.display(), spans.len());
    }
}

#[test]
fn files_that_stay_open_give_the_same_clips() {
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=s=96x64:r=25:d=6";
    let made = [
        ("a.mp4", "-c:v libx264 -g 30 -bf 3"),
        ("open.mp4", "-c:v libx264 -g 30 -bf 3 -x264-params open-gop=1"),
        ("late.mp4", "-c:v libx264 -g 30 -bf 3 -output_ts_offset 7"),
        ("parts.mp4", "-c:v libx264 -g 30 -bf 3 -movflags +frag_keyframe+empty_moov"),
        ("half.mp4", "-c:v libx264 -g 30 -bf 3 -movflags +frag_keyframe+global_sidx"),
        ("a.mov", "-c:v libx265 -x265-params keyint=30:open-gop=1:log-level=none"),
        ("a.mkv", "-c:v libx264 -g 30 -bf 3"),
        ("a.ts", "-c:v libx264 -g 30 -bf 2"),
        ("a.flv", "-c:v libx264 -g 30 -bf 2"),
        ("a.avi", "-c:v mpeg4 -g 30"),
    ]
    .map(|(name, codec)| make(folder.path(), name, &format!("{source} {codec}")));
    // Begins between key frames, which an edit list hides.
    let line = format!("-ss 0.7 -i {} -c copy", made[0].display());
    let hides = make(folder.path(), "hides.mp4", &line);
    let mut bytes = fs::read(&made[0]).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 400].fill(0x5a);
    let damaged = folder.path().join("damaged.mp4");
    fs::write(&damaged, bytes).unwrap();
    let files: Vec<&Path> = made.iter().chain([&hides, &damaged]).map(|path| &**path).collect();
    check(&files);
}

#[test]
fn sample_files_that_stay_open_give_the_same_clips() {
    let Some(media) = shared_media() else { return };
    let files = [
        "clips/mdn_flower.mp4",
        "clips/ax_bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4",
        "clips/ax_sample_av1.mp4",
        "clips/ax_sample_rotate_and_reflect.mp4",
        "clips/ax_sample_with_srt.mkv",
        "scenes/compose_hard17_vfr_drop3.mp4",
    ]
    .map(|name| media.join(name));
    check(&files.each_ref().map(|path| path.as_path()));
}

/// FFmpeg tells of a new configuration with the first packet of it that it reads, and not again.
#[test]
fn a_change_of_configuration_is_seen_wherever_the_reader_was_before() {
    let folder = tempfile::tempdir().unwrap();
    // With sound between the pictures these lie in many chunks.
    let line = "-f lavfi -i testsrc2=s=96x64:r=25:d=6 -f lavfi -i sine=d=6 -c:v libx264 -g 5 -bf 0 \
                -c:a aac -map 0:v -map 1:a";
    let whole = make(folder.path(), "a.mp4", line);
    let bytes = fs::read(&whole).unwrap();
    let path = folder.path().join("two.mp4");
    fs::write(&path, with_two_configurations(&bytes)).unwrap();
    let (access, copier) = (Access::default(), Copier::default());
    let mut clips = Vec::new();
    for span in spans(&path) {
        let alone = copy_clip(&path, &span, &access).map_err(|error| error.to_string());
        let shared = copier.copy(&path, &span, &access).map_err(|error| error.to_string());
        assert!(alone == shared, "{span:?}");
        clips.extend(alone.map(|clip| clip.bytes));
    }
    let marked = |clip: &&Vec<u8>| clip.windows(4).any(|bytes| bytes == MARK);
    let of_second = clips.iter().filter(marked).count();
    assert!(of_second > 3 && clips.len() - of_second > 3, "{of_second} of {}", clips.len());
}

/// Ends the second configuration, where decoders do not look.
const MARK: [u8; 4] = *b"mark";

/// An MP4 whose header comes last, with a second sample description for the second half of its first track.
fn with_two_configurations(file: &[u8]) -> Vec<u8> {
    let at = |kind: &[u8; 4], from: usize| {
        from + file[from..].windows(4).position(|bytes| bytes == kind).unwrap() - 4
    };
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    let end = |at: usize| at + number(at) as usize;
    let moov = file.windows(4).rposition(|bytes| bytes == b"moov").unwrap() - 4;
    let stsd = at(b"stsd", moov);
    let (avcc, stsc) = (at(b"avcC", stsd), at(b"stsc", stsd));
    let chunks = number(at(b"stco", stsd) + 12);

    let mut description = file[stsd + 16..end(stsd)].to_vec();
    let to_avcc = avcc - (stsd + 16);
    description.splice(to_avcc + number(avcc) as usize..to_avcc + number(avcc) as usize, MARK);
    for place in [0, to_avcc] {
        grow(&mut description, place, 4);
    }
    let entries: Vec<(u32, u32)> = (0..number(stsc + 12) as usize)
        .map(|index| (number(stsc + 16 + 12 * index), number(stsc + 20 + 12 * index)))
        .collect();
    let samples_in = |chunk| entries.iter().rfind(|(first, _)| *first <= chunk).unwrap().1;
    let table: Vec<u8> = (1..=chunks)
        .flat_map(|chunk| [chunk, samples_in(chunk), 1 + u32::from(chunk > chunks / 2)])
        .flat_map(u32::to_be_bytes)
        .collect();

    let longer = description.len() as i64;
    let longer_table = table.len() as i64 - (end(stsc) - stsc - 16) as i64;
    let mut made = file.to_vec();
    made.splice(stsc + 16..end(stsc), table);
    made[stsc + 12..stsc + 16].copy_from_slice(&chunks.to_be_bytes());
    grow(&mut made, stsc, longer_table);
    made.splice(end(stsd)..end(stsd), description);
    made[stsd + 12..stsd + 16].copy_from_slice(&2_u32.to_be_bytes());
    grow(&mut made, stsd, longer);
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl"] {
        grow(&mut made, at(kind, moov), longer + longer_table);
    }
    made
}

/// Changes the length that a box states.
fn grow(bytes: &mut [u8], at: usize, by: i64) {
    let stated = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let length = u32::try_from(i64::from(stated) + by).unwrap();
    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
