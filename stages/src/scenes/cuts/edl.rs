//! CMX 3600 edit decision lists: events with a source's in and out times as timecode.
//!
//! An EDL is taken as one of a single video: the source times of every event with a picture
//! count, whatever its reel is called (except black, `BL`), and its record times do not.
//!
//! Timecode counts frames: at 29.97 frames per second a second of timecode is 30 frames, and in
//! drop-frame timecode some numbers are left out so that it keeps step with the clock. The frame
//! of that number is the one that is meant, or at a rate that varies the first one at or after
//! half a frame before its time.
//!
//! PySceneDetect's own EDLs are different: real hours, minutes and seconds, then how many frames of
//! the average rate fit into the rest, rounded down. The first frame at or after that time is the
//! one that is meant. The rounding may name the frame before it (it does for a third of the frames at
//! 24 or 30 per second), which nobody can tell; its CSVs are exact.

use super::{BadLine, Fault, Moments, Scene};

/// How an EDL's timecode is read.
#[derive(Clone, Copy, Debug)]
struct Clock {
    fps: f64,
    /// Whether it shows real time, as PySceneDetect's.
    is_real: bool,
}

impl Clock {
    /// Seconds from 00:00:00:00.
    fn seconds(self, text: &str, drops: bool) -> Result<f64, Fault> {
        let Self { fps, is_real } = self;
        let wrong = || Fault::Timecode { text: text.to_owned(), fps };
        let (hours, minutes, seconds, frames) = parts(text).ok_or_else(wrong)?;
        if minutes > 59 || seconds > 59 || frames as f64 >= fps.ceil() {
            return Err(wrong());
        }
        let whole = (hours * 60 + minutes) * 60 + seconds;
        if is_real {
            return Ok(whole as f64 + frames as f64 / fps);
        }
        let rate = nominal(fps);
        let mut number = whole * rate + frames;
        if drops || text.contains(';') {
            let left_out = match rate {
                30 => 2,
                60 => 4,
                _ => return Err(Fault::DropFrame(fps)),
            };
            // The first numbers of every minute, but of none that ends with a zero.
            if seconds == 0 && minutes % 10 != 0 && frames < left_out {
                return Err(wrong());
            }
            let minutes = hours * 60 + minutes;
            number -= left_out * (minutes - minutes / 10);
        }
        Ok(number as f64 / fps)
    }
}

/// Frames in a second of timecode.
fn nominal(fps: f64) -> u64 {
    (fps.round() as u64).max(1)
}

/// Hours, minutes, seconds and frames.
fn parts(text: &str) -> Option<(u64, u64, u64, u64)> {
    let parts: Option<Vec<u16>> = text.split([':', ';']).map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [hours, minutes, seconds, frames] => {
            Some((hours.into(), minutes.into(), seconds.into(), frames.into()))
        }
        _ => None,
    }
}

pub(super) fn read(text: &str, fps: Option<f64>) -> Result<Moments, BadLine> {
    let text = text.trim_start_matches('\u{feff}');
    let is_real = text.lines().any(|line| line.starts_with("* CREATED WITH PYSCENEDETECT"));
    let half_frame_s = fps.map_or(0.0, |fps| 0.5 / fps);
    let mut moments = Moments {
        seconds: Vec::new(),
        early_s: if is_real { Moments::ROUNDING_S } else { half_frame_s },
    };
    let (mut is_edl, mut drops) = (false, false);
    for (line, text) in (1_usize..).zip(text.lines()) {
        let bad = |fault| BadLine { line, fault };
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if first.starts_with("TITLE:") {
            is_edl = true;
        } else if first.starts_with("FCM:") {
            drops = !text.contains("NON") && text.contains("DROP");
        } else if first.bytes().all(|byte| byte.is_ascii_digit()) {
            let [_, reel, track, _, .., start, end, _, _] = words[..] else {
                return Err(bad(Fault::Event));
            };
            is_edl = true;
            // `B` is sound and picture.
            if reel == "BL" || !(track.contains('V') || track == "B") {
                continue;
            }
            let clock = Clock { fps: fps.ok_or_else(|| bad(Fault::NoRate))?, is_real };
            let start_s = clock.seconds(start, drops).map_err(bad)?;
            let end_s = clock.seconds(end, drops).map_err(bad)?;
            if end_s < start_s {
                return Err(bad(Fault::Backwards));
            }
            moments.seconds.extend([start_s, end_s]);
        }
    }
    if is_real {
        // The end of the last scene is that of the video. Rounded down, it may name the last frame,
        // which would become a scene of its own.
        moments.seconds.pop();
    }
    if is_edl { Ok(moments) } else { Err(BadLine { line: 1, fault: Fault::NotAnEdl }) }
}

/// Non-drop timecode of the frame nearest to a time, at a constant rate.
fn timecode(seconds: f64, fps: f64) -> String {
    let (frame, rate) = ((seconds * fps).round() as u64, nominal(fps));
    let (whole, frames) = (frame / rate, frame % rate);
    format!("{:02}:{:02}:{:02}:{frames:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

pub(super) fn write(title: &str, scenes: &[Scene], fps: f64) -> String {
    let title: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut text = format!("TITLE: {title}\nFCM: NON-DROP FRAME\n\n");
    for (number, scene) in (1_usize..).zip(scenes) {
        let (start, end) = (timecode(scene.start_s, fps), timecode(scene.end_s, fps));
        let event = format!("{number:03}  AX       V     C        {start} {end} {start} {end}\n");
        text.push_str(&event);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str, fps: f64) -> Vec<f64> {
        read(text, Some(fps)).unwrap().seconds
    }

    /// What PySceneDetect 0.7.2 wrote of a video with 24 frames per second.
    const THEIRS: &str = "\
* CREATED WITH PYSCENEDETECT 0.7.2
TITLE: bbb_0_30
FCM: NON-DROP FRAME

001  AX V     C        00:00:00:00 00:00:11:19 00:00:00:00 00:00:11:19
002  AX V     C        00:00:11:19 00:00:15:16 00:00:11:19 00:00:15:16
";

    #[test]
    fn what_they_write_is_read_as_real_time() {
        let a = 11.0 + 19.0 / 24.0;
        let moments = read(THEIRS, Some(24.0)).unwrap();
        assert_eq!((moments.seconds, moments.early_s), (vec![0.0, a, a], Moments::ROUNDING_S));
        let fps = 30_000.0 / 1001.0;
        let later =
            THEIRS.replace("00:00:11:19", "01:00:00:15").replace("00:00:15:16", "02:00:00:00");
        assert_eq!(seconds(&later, fps), [0.0, 3600.0 + 15.0 / fps, 3600.0 + 15.0 / fps]);
        // No cut: a heading and nothing else.
        let (heading, _) = THEIRS.split_once("001").unwrap();
        assert_eq!(seconds(heading, 24.0), [0.0; 0]);
    }

    #[test]
    fn other_programs_count_frames() {
        let text = "TITLE: CUT\r\nFCM: NON-DROP FRAME\r\n\r\n\
                    000001  TAPE_1 V     C        00:00:01:00 00:00:04:12 01:00:00:00 01:00:03:12\r\n\
                    * FROM CLIP NAME: A.MOV\r\n\
                    000002  TAPE_1 V     D    025 00:00:10:00 00:00:12:00 01:00:03:12 01:00:05:12\r\n\
                    000002  BL     V     C        00:00:00:00 00:00:00:00 01:00:05:12 01:00:05:12\r\n\
                    000003  TAPE_1 A2    C        00:00:20:00 00:00:21:00 01:00:05:12 01:00:06:12\r\n\
                    000004  TAPE_1 AA/V  C        00:00:30:00 00:00:31:00 01:00:05:12 01:00:06:12\r\n";
        assert_eq!(seconds(text, 25.0), [1.0, 4.48, 10.0, 12.0, 30.0, 31.0]);
        assert_eq!(read(text, Some(25.0)).unwrap().early_s, 0.02);
        // An hour of timecode is 108000 frames, which take longer than an hour.
        let hour = "1 AX V C 00:00:00:00 01:00:00:00 00:00:00:00 01:00:00:00";
        let fps = 30_000.0 / 1001.0;
        assert_eq!(seconds(hour, fps), [0.0, 108_000.0 / fps]);
        // In drop-frame timecode it is 107892 frames, nearly an hour.
        let dropping =
            [hour.replace("01:00:00:00", "01:00:00;00"), format!("FCM: DROP FRAME\n{hour}")];
        for text in dropping {
            assert_eq!(seconds(&text, fps), [0.0, 107_892.0 / fps]);
        }
        let minute = "1 AX V C 00:00:59;29 00:01:00;02 00:00:00:00 00:00:00:01";
        assert_eq!(seconds(minute, fps), [1799.0 / fps, 1800.0 / fps]);
    }

    #[test]
    fn faults_name_their_line() {
        let fault = |text: &str, fps| {
            let BadLine { line, fault } = read(text, fps).unwrap_err();
            (line, fault)
        };
        assert_eq!(fault("some text\nof mine", Some(25.0)), (1, Fault::NotAnEdl));
        let of = |event: &str| fault(&format!("TITLE: X\n\n{event}\n"), Some(25.0));
        let wrong = |text: &str| Fault::Timecode { text: text.to_owned(), fps: 25.0 };
        assert_eq!(of("001 AX V C 00:00:00:00 00:00:01:00"), (3, Fault::Event));
        let ends = |end: &str| of(&format!("001 AX V C 00:00:02:00 {end} 00:00:00:00 00:00:01:00"));
        assert_eq!(ends("00:00:01:00"), (3, Fault::Backwards));
        assert_eq!(ends("00:00:03:25"), (3, wrong("00:00:03:25")));
        assert_eq!(ends("00:60:00:00"), (3, wrong("00:60:00:00")));
        assert_eq!(ends("00:00:03.24"), (3, wrong("00:00:03.24")));
        assert_eq!(ends("99999999999:00:00:00"), (3, wrong("99999999999:00:00:00")));
        assert_eq!(ends("00:00:03;00"), (3, Fault::DropFrame(25.0)));
        let event = "001 AX V C 00:00:00:00 00:01:00;01 00:00:00:00 00:00:01:00";
        let fps = 30_000.0 / 1001.0;
        let left_out = Fault::Timecode { text: "00:01:00;01".to_owned(), fps };
        assert_eq!(fault(event, Some(fps)), (1, left_out));
        assert_eq!(fault(event, None), (1, Fault::NoRate));
    }

    #[test]
    fn events_are_written_in_the_columns_of_the_form() {
        let scene = |start_s, end_s| Scene { start_s, end_s };
        let text = write("a\nb", &[scene(0.0, 4.48), scene(4.48, 3723.04)], 25.0);
        assert_eq!(
            text,
            "TITLE: a b\nFCM: NON-DROP FRAME\n\n\
             001  AX       V     C        00:00:00:00 00:00:04:12 00:00:00:00 00:00:04:12\n\
             002  AX       V     C        00:00:04:12 01:02:03:01 00:00:04:12 01:02:03:01\n"
        );
        assert_eq!(timecode(108_000.0 * 1001.0 / 30_000.0, 30_000.0 / 1001.0), "01:00:00:00");
    }
}
