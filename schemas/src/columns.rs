//! The `clips` table: the single definition of its columns.
//!
//! A new column is added here and nowhere else; `docs/COLUMNS.md` and `curate schema` follow. The
//! names are the product's public API, so a rename is a breaking change. Every column exists from
//! the table's creation, also those that a later stage fills in.

use crate::column::{Kind, Micros, table};

/// Version of the schema that a new table gets; each column says in which version it appeared.
pub const SCHEMA_VERSION: u32 = 3;

/// Length of the embedding vector: CLIP ViT-L/14's joint space.
pub const EMBEDDING_LEN: i32 = 768;

table! {
    /// One row for every clip that was cut out of a source, whether it was kept, dropped or failed.
    CLIPS = "clips";

    /// Hash of source, span, time base and split recipe: the same clip has the same id everywhere.
    #[required true]
    CLIP_ID: String = "clip_id", Kind::Utf8, unit "", by "split", since 1;
    /// The unit (segment of a source) the clip was cut from; units are committed whole.
    #[required true]
    UNIT_ID: String = "unit_id", Kind::Utf8, unit "", by "split", since 1;
    /// The source the clip was cut from.
    #[required true]
    SOURCE_ID: String = "source_id", Kind::Utf8, unit "", by "split", since 1;
    /// Where the source was found, as a canonical URI.
    #[required true]
    SOURCE_URI: String = "source_uri", Kind::Utf8, unit "", by "split", since 1;
    /// `video`, or `image` for a source with one clip of one frame.
    #[required true]
    KIND: String = "kind", Kind::Utf8, unit "", by "split", since 1;

    /// PTS of the clip's first frame in the source stream.
    #[required true]
    START_PTS: i64 = "start_pts", Kind::I64, unit "ticks", by "split", since 1;
    /// PTS of the frame after the clip's last one (exclusive end).
    #[required true]
    END_PTS: i64 = "end_pts", Kind::I64, unit "ticks", by "split", since 1;
    /// Numerator of the source stream's time base (seconds per tick).
    #[required true]
    TB_NUM: i32 = "tb_num", Kind::I32, unit "", by "split", since 1;
    /// Denominator of the source stream's time base (seconds per tick).
    #[required true]
    TB_DEN: i32 = "tb_den", Kind::I32, unit "", by "split", since 1;
    /// Start of the clip, derived from `start_pts` for reading.
    #[required true]
    START_S: f64 = "start_s", Kind::F64, unit "seconds", by "split", since 1;
    /// End of the clip, derived from `end_pts` for reading.
    #[required true]
    END_S: f64 = "end_s", Kind::F64, unit "seconds", by "split", since 1;
    /// Decoded frames inside the span.
    #[required true]
    NUM_FRAMES: i32 = "num_frames", Kind::I32, unit "frames", by "split", since 1;

    /// Width as displayed: in square pixels, after rotation.
    WIDTH: i32 = "width", Kind::I32, unit "pixels", by "split", since 1;
    /// Height as displayed: in square pixels, after rotation.
    HEIGHT: i32 = "height", Kind::I32, unit "pixels", by "split", since 1;
    /// Average frame rate of the source stream; null for an image.
    FPS: f64 = "fps", Kind::F64, unit "frames/s", by "split", since 1;
    /// Codec of the source stream, by FFmpeg's name.
    CODEC: String = "codec", Kind::Utf8, unit "", by "split", since 1;
    /// Clockwise rotation that was applied to show the source upright.
    ROTATION: i32 = "rotation", Kind::I32, unit "degrees", by "split", since 1;
    /// Transfer characteristic of the source, by FFmpeg's name; null when it does not say.
    TRANSFER: String = "transfer", Kind::Utf8, unit "", by "split", since 1;
    /// Whether the source has an audio stream.
    HAS_AUDIO: bool = "has_audio", Kind::Bool, unit "", by "split", since 1;

    /// `kept`, `dropped` (a filter rejected it) or `failed` (it could not be measured).
    #[required true]
    STATUS: String = "status", Kind::Utf8, unit "", by "engine", since 1;
    /// The stage that dropped the clip or in which it failed.
    DROP_STAGE: String = "drop_stage", Kind::Utf8, unit "", by "engine", since 1;
    /// Why the clip was dropped: a stable word such as `too_short`.
    DROP_REASON: String = "drop_reason", Kind::Utf8, unit "", by "engine", since 1;
    /// What kind of error the clip failed with: a stable word such as `decode`.
    ERROR_KIND: String = "error_kind", Kind::Utf8, unit "", by "engine", since 1;
    /// The error's message.
    ERROR_MESSAGE: String = "error_message", Kind::Utf8, unit "", by "engine", since 1;

    /// The clip itself as a playable file (kept clips, unless the recipe says otherwise; a clip that
    /// is dropped later, by another threshold or a new stage, keeps it).
    VIDEO: Vec<u8> = "video", Kind::Blob, unit "", by "clip", since 1;
    /// How `video` was made: `none`, `copy` (packets in MP4), `copy_mkv` (packets in Matroska,
    /// where MP4 cannot hold the codec), `transcode` (encoded anew, in MP4) or `image` (a still
    /// picture's file as it is).
    VIDEO_FORM: String = "video_form", Kind::Utf8, unit "", by "clip", since 1;
    /// Frames at the start of `video` that come before the span. FFmpeg-based readers skip them by
    /// themselves in MP4; a reader that ignores edit lists must discard this many.
    VIDEO_SKIP_FRAMES: i32 = "video_skip_frames", Kind::I32, unit "frames", by "clip", since 1;
    /// A JPEG of the middle of the clip.
    THUMB: Vec<u8> = "thumb", Kind::Binary, unit "", by "split", since 1;

    /// What made the clip start where it does: `source` (start of the file), `cut` (a detected
    /// cut), `length` (the longest allowed clip was reached) or `unit` (segment boundary).
    CUT_IN: String = "cut_in", Kind::Utf8, unit "", by "split", since 1;
    /// What made the clip end where it does: as `cut_in`, or `error` (the rest is not decodable).
    CUT_OUT: String = "cut_out", Kind::Utf8, unit "", by "split", since 1;
    /// Whether an edge is not a change of scene (`length` or `unit`).
    FORCED_CUT: bool = "forced_cut", Kind::Bool, unit "", by "split", since 1;

    /// Mean optical-flow magnitude: the judged value, independent of resolution and frame rate.
    MOTION: f32 = "motion", Kind::F32, unit "frame diagonals/s", by "motion", since 1;
    /// Mean flow magnitude between the sampled frames at the analysis size.
    MOTION_PX_MEAN: f32 = "motion_px_mean", Kind::F32, unit "pixels", by "motion", since 1;
    /// 95th percentile of the flow magnitude at the analysis size.
    MOTION_PX_P95: f32 = "motion_px_p95", Kind::F32, unit "pixels", by "motion", since 1;
    /// The part of the motion that a robust affine fit explains: the camera.
    MOTION_CAMERA: f32 = "motion_camera", Kind::F32, unit "frame diagonals/s", by "motion", since 1;
    /// The part of the motion that is left: the subject.
    MOTION_SUBJECT: f32 = "motion_subject", Kind::F32, unit "frame diagonals/s", by "motion", since 1;
    /// Camera motion class: `static`, `pan_left`, `pan_right`, `tilt_up`, `tilt_down`, `zoom_in`,
    /// `zoom_out`, `roll` or `mixed`.
    CAMERA_MOTION: String = "camera_motion", Kind::Utf8, unit "", by "motion", since 1;
    /// The method that measured the motion.
    MOTION_METHOD: String = "motion_method", Kind::Utf8, unit "", by "motion", since 1;

    /// Share of the frame covered by lines of text (the union of their rotated boxes), mean over the
    /// sampled frames.
    TEXT_AREA_MEAN: f32 = "text_area_mean", Kind::F32, unit "fraction of the frame", by "text", since 1;
    /// Share of the frame covered by lines of text, largest over the sampled frames.
    TEXT_AREA_MAX: f32 = "text_area_max", Kind::F32, unit "fraction of the frame", by "text", since 1;
    /// Share of the sampled frames in which text stands where it stands in others: subtitles and
    /// logos have 1, signs that the camera passes 0.
    TEXT_PERSISTENCE: f32 = "text_persistence", Kind::F32, unit "fraction of frames", by "text", since 1;
    /// The lines that were read, each once, one below the other.
    TEXT_CONTENT: String = "text_content", Kind::Utf8, unit "", by "text", since 1;

    /// NIQE: distance from natural image statistics (median of the sampled frames, inside of black bars,
    /// as all of these); lower is better. Null where frames are under 194 pixels.
    TECHNICAL_NIQE: f32 = "technical_niqe", Kind::F32, unit "", by "quality", since 1;
    /// BRISQUE; lower is better.
    TECHNICAL_BRISQUE: f32 = "technical_brisque", Kind::F32, unit "0-100", by "quality", since 1;
    /// Sharpness: variance of the Laplacian. Under 100 where frames are blurred.
    TECHNICAL_SHARPNESS: f32 = "technical_sharpness", Kind::F32, unit "squared levels", by "quality", since 1;
    /// How well lit: 4 m (1 - m) of the mean brightness m, times the share of pixels that are neither
    /// black nor burnt out.
    TECHNICAL_EXPOSURE: f32 = "technical_exposure", Kind::F32, unit "0-1", by "quality", since 1;
    /// Contrast: standard deviation of brightness.
    TECHNICAL_CONTRAST: f32 = "technical_contrast", Kind::F32, unit "0-0.5", by "quality", since 1;
    /// Colourfulness (Hasler, Suesstrunk 2003): 0 is grey, 45 usual, 82 highly colourful.
    TECHNICAL_COLORFULNESS: f32 = "technical_colorfulness", Kind::F32, unit "", by "quality", since 1;
    /// How much the borders of blocks of 8 pixels stand out: 1 not at all, 2 visibly. Null where
    /// frames were looked at in another size than the source's.
    TECHNICAL_BLOCKINESS: f32 = "technical_blockiness", Kind::F32, unit "", by "quality", since 1;
    /// Noise (Immerkaer 1996), fine texture included.
    TECHNICAL_NOISE: f32 = "technical_noise", Kind::F32, unit "levels", by "quality", since 1;
    /// Share of the frame covered by black bars that are there in every sampled frame.
    TECHNICAL_BARS: f32 = "technical_bars", Kind::F32, unit "fraction of the frame", by "quality", since 1;

    /// Aesthetic score, mean over the sampled frames.
    AESTHETIC_MEAN: f32 = "aesthetic_mean", Kind::F32, unit "1-10", by "aesthetic", since 1;
    /// Aesthetic score, smallest over the sampled frames.
    AESTHETIC_MIN: f32 = "aesthetic_min", Kind::F32, unit "1-10", by "aesthetic", since 1;
    /// The model that gave the aesthetic score.
    AESTHETIC_MODEL: String = "aesthetic_model", Kind::Utf8, unit "", by "aesthetic", since 1;
    /// Smallest cosine similarity between the first frame and the others: low means a missed cut.
    CONSISTENCY_MIN: f32 = "consistency_min", Kind::F32, unit "cosine", by "aesthetic", since 1;
    /// Embedding of the clip by the aesthetic model's image tower.
    EMBEDDING: Vec<f32> = "embedding", Kind::Vector(EMBEDDING_LEN), unit "", by "aesthetic", since 1;

    /// Hash of the clip's packets: equal for bit-identical copies.
    PACKET_HASH: String = "packet_hash", Kind::Utf8, unit "", by "dedup", since 1;
    /// Perceptual hash over sampled frames.
    PHASH: u64 = "phash", Kind::U64, unit "bits", by "dedup", since 1;
    /// The clip this one duplicates.
    DUP_OF: String = "dup_of", Kind::Utf8, unit "", by "engine", since 1;
    /// Distance to the clip it duplicates.
    DUP_DISTANCE: f32 = "dup_distance", Kind::F32, unit "bits", by "engine", since 1;

    /// The caption used for training.
    CAPTION: String = "caption", Kind::Utf8, unit "", by "caption", since 1;
    /// What wrote the caption; `source` when it came with the data.
    CAPTION_MODEL: String = "caption_model", Kind::Utf8, unit "", by "caption", since 1;
    /// The caption before rewriting.
    CAPTION_RAW: String = "caption_raw", Kind::Utf8, unit "", by "caption", since 1;
    /// Hash of prompt and sampling settings.
    PROMPT_HASH: String = "prompt_hash", Kind::Utf8, unit "", by "caption", since 1;
    /// What is suspicious about the caption: `refusal`, `repetition`, `truncated` and so on.
    CAPTION_FLAGS: Vec<String> = "caption_flags", Kind::Utf8List, unit "", by "caption", since 1;
    /// Similarity of caption and frames.
    CAPTION_SIMILARITY: f32 = "caption_similarity", Kind::F32, unit "cosine", by "caption", since 1;

    /// Fingerprint of what decides which clips exist: ids, units, scenes and clip form.
    #[required true]
    SPLIT_ID: String = "split_id", Kind::Utf8, unit "", by "engine", since 1;
    /// Fingerprint of each stage that measured this row, as a JSON object from stage to key.
    #[required true]
    STAGE_KEYS: String = "stage_keys", Kind::Utf8, unit "JSON", by "engine", since 1;
    /// The run that wrote the row.
    #[required true]
    RUN_ID: String = "run_id", Kind::Utf8, unit "", by "engine", since 1;
    /// The version of `curate` that wrote the row.
    #[required true]
    CURATE_VERSION: String = "curate_version", Kind::Utf8, unit "", by "engine", since 1;
    /// When the row was written.
    #[required true]
    CREATED_AT: Micros = "created_at", Kind::Timestamp, unit "UTC", by "engine", since 1;

    /// The manifest's other columns for this source, as a JSON object.
    EXTRA: String = "extra", Kind::Utf8, unit "JSON", by "split", since 1;

    /// What the Slice VAE's encoder made of the clip: means and logarithms of variances of its
    /// latents, `[2 x channels, frames, height, width]`, little endian.
    LATENTS: Vec<u8> = "latents", Kind::Large, unit "", by "encode", since 2;
    /// How `latents` were made: hash of the VAE, size, frames, shape and type of the numbers.
    LATENTS_KEY: String = "latents_key", Kind::Utf8, unit "JSON", by "encode", since 2;
    /// What the text encoder made of the captions and of the empty caption, one after the other:
    /// `[tokens, channels]` each, 16-bit floats, little endian, without padding.
    TEXT_TOKENS: Vec<u8> = "text_tokens", Kind::Large, unit "", by "encode", since 2;
    /// How `text_tokens` were made: hash of the encoder, tokens a text is cut to, and for each caption
    /// its column, hash and number of tokens.
    TEXT_KEY: String = "text_key", Kind::Utf8, unit "JSON", by "encode", since 2;

    /// What a trained transformer makes of the clip: its loss under the caption, mean over fixed times.
    /// High where a clip is unlike what the model knows.
    LOSS: f32 = "loss", Kind::F32, unit "", by "train losses", since 3;
    /// How much larger the loss is without the caption, at the same times with the same noise. Low, or
    /// below zero, where the caption does not tell the model what is to be seen.
    CAPTION_GAIN: f32 = "caption_gain", Kind::F32, unit "", by "train losses", since 3;
    /// How `loss` and `caption_gain` were measured: hash of model and settings, the model's step, how many
    /// times, and the caption's hash.
    LOSS_KEY: String = "loss_key", Kind::Utf8, unit "JSON", by "train losses", since 3;
}

/// Columns that differ between two runs over the same data, and so say nothing about it.
pub const PER_RUN: &[&str] = &["run_id", "created_at"];
