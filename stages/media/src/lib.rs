//! Video files in, pictures and clips out: everything that touches FFmpeg.
//!
//! The rest of the workspace sees plain Rust values: [`probe`](probe()) says what a file is,
//! [`Decoder`] gives its frames exactly once, [`Frame::picture`] turns one into pixels of any
//! size, [`copy_clip`] and [`Copier`] cut spans out without re-encoding, [`transcode_clip`] encodes
//! one, [`ClipWriter`], [`Gif`] and [`encode_png`] write pictures that were made,
//! [`segments`](segments()) says where a long file may be split, and a few functions measure small
//! pictures as PySceneDetect does.
//!
//! Three decisions shape the crate. It calls FFmpeg's C interface directly, in small owning types
//! (one per file), because the promises here (interrupts, any path, the frame count of the
//! `ffmpeg` program) live in details that wrappers hide. All time is integer PTS in the stream's
//! own time base. And damage is data: a broken file gives what can be decoded, and
//! [`Stats`] says what was lost.
//!
//! Not here: hardware decoding, network input.
#![expect(unsafe_code, reason = "FFI: FFmpeg and OpenCV views; every block says why it is sound")]
#![warn(missing_docs)]

mod access;
mod appetite;
mod aspect;
mod background;
mod bicubic;
mod clip;
mod codec;
mod color;
mod convert;
mod copier;
mod decode;
mod doctor;
mod encode;
mod error;
mod fields;
mod filter;
mod fingerprint;
mod flow;
mod frame;
mod gamut;
mod gif;
mod grey;
mod hsv;
mod input;
mod keyscan;
mod likeness;
mod log;
mod lzw;
mod mat;
mod memory;
mod mono;
mod mp4;
mod mux;
mod nal;
mod options;
mod orientation;
mod packet;
#[cfg(target_arch = "x86_64")]
mod pick;
mod picture;
mod place;
mod png;
mod probe;
mod rate;
mod render;
mod restart;
mod room;
mod scale;
mod scene;
mod segments;
mod sheet;
mod shown;
mod shrink;
mod small;
mod still;
mod stream;
mod tables;
mod tail;
mod tone;
mod transcode;
mod vectors;
mod webp;
mod writer;
mod yuv;

pub use self::{
    access::Access,
    aspect::PixelAspect,
    background::Background,
    bicubic::Bicubic,
    clip::{ClipForm, CopiedClip, copy_clip},
    convert::Converter,
    copier::Copier,
    decode::Decoder,
    doctor::{Versions, has_decoder, has_encoder, versions},
    encode::{Encoding, VideoCodec},
    error::MediaError,
    filter::{filters_fault, has_filter},
    fingerprint::packet_hash,
    flow::{DisFlow, Flow, GreyPair, farneback, grey_of},
    frame::Frame,
    gif::Gif,
    grey::GreyConverter,
    hsv::{Hsv, hsv},
    keyscan::{Group, KeyScan},
    likeness::{correlation, luma_histogram, perceptual_hash},
    log::init,
    memory::keep_memory,
    options::{DecodeOptions, Interlaced, PICTURES_IN_MEMORY, Segment, Stats},
    orientation::Orientation,
    picture::{Filter, Picture, PixelFormat, Size, decode_jpeg, encode_jpeg, resize},
    png::encode_png,
    probe::{SourceInfo, SourceKind, VideoInfo, probe},
    rate::FrameRate,
    room::{Room, Shortage, Taken},
    scene::{analysis_size, edge_kernel_size, edges},
    segments::segments,
    sheet::{SheetCell, contact_sheet},
    shown::{Shown, shown_frames},
    small::SmallFrame,
    transcode::transcode_clip,
    vectors::{MotionVector, PictureKind},
    webp::is_animated as is_animated_webp,
    writer::ClipWriter,
    yuv::sum_abs_diff,
};
