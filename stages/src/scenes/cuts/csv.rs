//! The CSV that PySceneDetect's `list-scenes` writes and its `load-scenes` reads.
//!
//! It begins with a row of timecodes (`Timecode List:`, left out on request), then the names of
//! the columns, then a row for each scene. `Start Frame` counts from 1; `End Frame` is the last
//! frame's number, and so the number of frames before the next scene.
//!
//! Of what a row says the seconds count, then the timecode, then the frame, whichever is there:
//! in that order they are exact. The file is taken apart by hand, since none of its cells can hold
//! a comma, and so that faults have the number of their line.

use super::{BadLine, Fault, Moments, Scene};

const COLUMNS: [&str; 10] = [
    "Scene Number",
    "Start Frame",
    "Start Timecode",
    "Start Time (seconds)",
    "End Frame",
    "End Timecode",
    "End Time (seconds)",
    "Length (frames)",
    "Length (timecode)",
    "Length (seconds)",
];

/// How cells say where a scene starts or ends.
#[derive(Clone, Copy, Debug)]
enum By {
    Seconds,
    Timecode,
    /// The number of the first frame.
    FirstFrame,
    /// The number of the last frame.
    LastFrame,
}

impl By {
    /// Seconds from the start.
    fn read(self, text: &str, fps: Option<f64>) -> Result<f64, Fault> {
        let wrong_time = || Fault::Time(text.to_owned());
        let wrong_frame = || Fault::Frame(text.to_owned());
        let frames = || text.parse::<u32>().ok().filter(|frame| *frame > 0).ok_or_else(wrong_frame);
        let rate = || fps.ok_or(Fault::NoRate);
        match self {
            Self::Seconds => {
                let seconds = text.parse::<f64>().ok();
                seconds.filter(|s| s.is_finite() && *s >= 0.0).ok_or_else(wrong_time)
            }
            Self::Timecode => from_timecode(text).ok_or_else(wrong_time),
            Self::FirstFrame => Ok(f64::from(frames()? - 1) / rate()?),
            Self::LastFrame => Ok(f64::from(frames()?) / rate()?),
        }
    }
}

/// A column: where it is, what it is called, how it is read.
#[derive(Clone, Copy, Debug)]
struct Column {
    at: usize,
    name: &'static str,
    by: By,
}

impl Column {
    /// The first of these columns that is there.
    fn find(names: &[&str], choices: &[(&'static str, By)]) -> Option<Self> {
        choices.iter().copied().find_map(|(name, by)| {
            let at = names.iter().position(|other| other.eq_ignore_ascii_case(name))?;
            Some(Self { at, name, by })
        })
    }

    fn read(&self, cells: &[&str], fps: Option<f64>) -> Result<f64, Fault> {
        let cell = cells.get(self.at).filter(|cell| !cell.is_empty());
        self.by.read(cell.ok_or(Fault::Empty(self.name))?, fps)
    }
}

pub(super) fn read(text: &str, fps: Option<f64>) -> Result<Moments, BadLine> {
    let lines = (1_usize..).zip(text.trim_start_matches('\u{feff}').lines());
    let rows = lines.map(|(line, text)| {
        let cells = text.split(',').map(|cell| cell.trim().trim_matches('"').trim());
        (line, cells.collect::<Vec<&str>>())
    });
    let mut rows = rows.filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()));
    let starts = [
        ("Start Time (seconds)", By::Seconds),
        ("Start Timecode", By::Timecode),
        ("Start Frame", By::FirstFrame),
    ];
    let ends = [
        ("End Time (seconds)", By::Seconds),
        ("End Timecode", By::Timecode),
        ("End Frame", By::LastFrame),
    ];
    // The names are in the first row or, after the timecodes, in the second.
    let mut header = rows.by_ref().take(2).filter_map(|(_, names)| {
        let start = Column::find(&names, &starts)?;
        Some((start, Column::find(&names, &ends)))
    });
    let Some((start, end)) = header.next() else {
        return Err(BadLine { line: 1, fault: Fault::NoColumns });
    };
    let is_exact = matches!(start.by, By::Seconds | By::Timecode);
    let half_frame_s = fps.map_or(0.0, |fps| 0.5 / fps);
    let mut moments = Moments {
        seconds: Vec::new(),
        early_s: if is_exact { Moments::ROUNDING_S } else { half_frame_s },
    };
    for (line, cells) in rows {
        let bad = |fault| BadLine { line, fault };
        let start_s = start.read(&cells, fps).map_err(bad)?;
        moments.seconds.push(start_s);
        if let Some(end) = end {
            let end_s = end.read(&cells, fps).map_err(bad)?;
            if end_s < start_s {
                return Err(bad(Fault::Backwards));
            }
            moments.seconds.push(end_s);
        }
    }
    Ok(moments)
}

/// Seconds of `00:01:02.345` or `01:02.345`.
fn from_timecode(text: &str) -> Option<f64> {
    let (rest, seconds) = text.rsplit_once(':')?;
    let (hours, minutes) = rest.split_once(':').unwrap_or(("0", rest));
    let (hours, minutes) = (hours.parse::<u32>().ok()?, minutes.parse::<u32>().ok()?);
    let seconds = seconds.parse::<f64>().ok()?;
    let exists = minutes < 60 && (0.0..60.0).contains(&seconds);
    exists.then(|| f64::from(hours) * 3600.0 + f64::from(minutes) * 60.0 + seconds)
}

/// `00:01:02.345`.
fn timecode(millis: u64) -> String {
    let (seconds, rest) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{rest:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Frame numbers are those of PySceneDetect 0.7: the time by the average rate, rounded. At a
/// constant rate that is the frame's place in the source.
pub(super) fn write(scenes: &[Scene], fps: f64) -> String {
    let millis = |seconds: f64| (seconds * 1000.0).round() as u64;
    let frames = |seconds: f64| (seconds * fps).round() as u64;
    let seconds = |millis: u64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let mut text = "Timecode List:".to_owned();
    for scene in scenes.iter().skip(1) {
        text.push(',');
        text.push_str(&timecode(millis(scene.start_s)));
    }
    text.push('\n');
    text.push_str(&COLUMNS.join(","));
    text.push('\n');
    for (number, scene) in (1_usize..).zip(scenes) {
        let (start, end) = (millis(scene.start_s), millis(scene.end_s));
        let (before, last) = (frames(scene.start_s), frames(scene.end_s));
        let length = end.saturating_sub(start);
        let cells = [
            number.to_string(),
            (before + 1).to_string(),
            timecode(start),
            seconds(start),
            last.to_string(),
            timecode(end),
            seconds(end),
            last.saturating_sub(before).to_string(),
            timecode(length),
            seconds(length),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PySceneDetect 0.7.2 wrote of a video with 24 frames per second.
    const THEIRS: &str = "\
Timecode List:,00:00:11.792,00:00:15.667,00:00:22.958
Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,End Time (seconds),Length (frames),Length (timecode),Length (seconds)
1,1,00:00:00.000,0.000,283,00:00:11.792,11.792,283,00:00:11.792,11.792
2,284,00:00:11.792,11.792,376,00:00:15.667,15.667,93,00:00:03.875,3.875
3,377,00:00:15.667,15.667,551,00:00:22.958,22.958,175,00:00:07.291,7.291
4,552,00:00:22.958,22.958,720,00:00:30.000,30.000,169,00:00:07.042,7.042
";

    fn seconds(text: &str) -> Vec<f64> {
        read(text, Some(24.0)).unwrap().seconds
    }

    #[test]
    fn what_they_write_is_read() {
        let moments = read(THEIRS, None).unwrap();
        let wanted = [0.0, 11.792, 11.792, 15.667, 15.667, 22.958, 22.958, 30.0];
        assert_eq!((moments.seconds, moments.early_s), (wanted.to_vec(), Moments::ROUNDING_S));
        let (_, without_list) = THEIRS.split_once('\n').unwrap();
        assert_eq!(seconds(without_list), wanted);
        // As a spreadsheet may save it.
        let saved =
            format!("\u{feff}{}", without_list.replace('\n', "\r\n").replace("1,1,", "\"1\", 1 ,"));
        assert_eq!(seconds(&saved), wanted);
        // A video without a cut has no scenes.
        let header = without_list.lines().next().unwrap();
        assert_eq!(seconds(&format!("\n{header}\n")), [0.0; 0]);
    }

    #[test]
    fn what_they_write_is_written() {
        let scene = |start_s, end_s| Scene { start_s, end_s };
        let frames = |from: u32, to: u32| scene(f64::from(from) / 24.0, f64::from(to) / 24.0);
        let scenes = [frames(0, 283), frames(283, 376), frames(376, 551), frames(551, 720)];
        assert_eq!(write(&scenes, 24.0), THEIRS);
        assert_eq!(timecode(3_723_004), "01:02:03.004");
    }

    #[test]
    fn timecodes_and_frames_do_where_there_are_no_seconds() {
        let by_timecode = "Start Timecode,End Timecode\n00:01:02.5,01:00:00.000\n02:01.25,02:02\n";
        assert_eq!(seconds(by_timecode), [62.5, 3600.0, 121.25, 122.0]);
        let by_frame = "scene number,start frame\n1,1\n2,49\n";
        let moments = read(by_frame, Some(24.0)).unwrap();
        assert_eq!((moments.seconds, moments.early_s), (vec![0.0, 2.0], 0.5 / 24.0));
        let fault = read(by_frame, None).unwrap_err();
        assert_eq!(fault, BadLine { line: 2, fault: Fault::NoRate });
    }

    #[test]
    fn faults_name_their_line() {
        let fault = |text: &str| {
            let BadLine { line, fault } = read(text, Some(25.0)).unwrap_err();
            (line, fault)
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(fault(""), (1, Fault::NoColumns));
        assert_eq!(fault("path;caption\na.mp4;b\n\nStart Frame\n1\n"), (1, Fault::NoColumns));
        let head = "x\nScene Number,Start Time (seconds),End Time (seconds)\n";
        let of = |row: &str| fault(&format!("{head}1,0,1\n\n{row}\n"));
        assert_eq!(of("2"), (5, Fault::Empty("Start Time (seconds)")));
        assert_eq!(of("2,1,"), (5, Fault::Empty("End Time (seconds)")));
        assert_eq!(of("2,one,2"), (5, Fault::Time(text("one"))));
        assert_eq!(of("2,nan,2"), (5, Fault::Time(text("nan"))));
        assert_eq!(of("2,-1,2"), (5, Fault::Time(text("-1"))));
        assert_eq!(of("2,3,2"), (5, Fault::Backwards));
        assert_eq!(fault("Start Frame\n0\n"), (2, Fault::Frame(text("0"))));
        assert_eq!(fault("Start Frame\n1.5\n"), (2, Fault::Frame(text("1.5"))));
        assert_eq!(fault("Start Timecode\n00:99:00\n"), (2, Fault::Time(text("00:99:00"))));
    }
}
