//! Tensor operations that candle 0.11 lacks, or whose gradients it leaves out or gets wrong.
//!
//! Training through candle's own layer normalisation, softmax over the last axis, max-pooling,
//! nearest-neighbour enlargement or convolution gives no gradients, wrong ones, or slow ones. Models
//! of this workspace use these instead. Each is tested against finite differences in double
//! precision.
//!
//! On the CPU, single and double precision have kernels; half precision and other devices go
//! through candle's basic operations whose gradients are right. Sums are cut by size alone, so
//! results do not depend on the number of threads.

mod activation;
mod adapted;
mod attention;
mod axis;
mod checkpoint;
mod conv;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
mod gradients;
mod group_norm;
mod linear;
mod math;
mod node;
mod norm;
mod optimizer;
mod pool;
mod product;
mod random;
mod resample;
mod sample;
mod slices;
mod softmax;
mod vector;

pub use activation::{gelu_erf, gelu_tanh, silu};
pub use adapted::{LowRank, adapted_linear};
pub use attention::attention;
pub use checkpoint::{Segment, checkpoint};
pub use conv::{conv2d, conv3d, frozen_conv2d, frozen_conv3d};
#[cfg(feature = "cuda")]
pub use cuda::keep_freed_memory;
pub use error::ArgumentError;
pub use gradients::{GradSink, Gradients, gradients, on_deep_stack};
pub use group_norm::{group_norm, group_norm_silu};
pub use linear::{frozen_linear, linear};
pub use norm::{layer_norm, layer_norm_modulated, rms_norm};
pub use optimizer::{Adam, AdamStep, Moments, ema_update};
pub use pool::{avg_pool2d, blur_pool3d, max_pool2d, pad_to_even};
pub use random::Rng;
pub use resample::{PadMode, interpolate_linear_t, pad_right_bottom, pad_time, upsample_nearest2d};
pub use sample::sample_bilinear;
pub use softmax::softmax_last_dim;
