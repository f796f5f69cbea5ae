//! Activation functions.
//!
//! Forward is one pass, backward another that computes the slope from the input again: nothing
//! besides the input is kept. candle composes backward from four to twelve passes.

use candle_core::{Result, Tensor};

use crate::{
    math::{Real, sigmoid},
    node::node,
    slices::{Values, by_dtype, has_kernel, tensor, value},
    vector::{if_wanted, over_rows, vectorised},
};

/// A function of one number and its derivative.
pub(crate) trait Activation: Send + Sync + 'static {
    const NAME: &'static str;

    fn value<T: Real>(x: T) -> T;

    fn slope<T: Real>(x: T) -> T;

    /// By candle's operations, where there is no kernel.
    fn composed(x: &Tensor) -> Result<Tensor>;
}

/// `x sigmoid(x)` (also called swish; Elfwing et al., 2018). Backward multiplies by
/// `s + x s (1 - s)` with `s = sigmoid(x)`.
///
/// # Errors
/// When candle fails.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply::<Silu>(x)
}

/// The Gaussian error linear unit in its approximation by tanh (Hendrycks and Gimpel, 2016),
/// PyTorch's `approximate="tanh"`: `x (1 + tanh(u)) / 2` with `u = √(2/π) (x + 0.044715 x³)`.
///
/// # Errors
/// When candle fails.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    apply::<GeluTanh>(x)
}

/// The Gaussian error linear unit, exact: `x Φ(x)`. Backward multiplies by `Φ(x) + x φ(x)`.
///
/// # Errors
/// When candle fails.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    apply::<GeluErf>(x)
}

pub(crate) struct Silu;
struct GeluTanh;
struct GeluErf;

impl Activation for Silu {
    const NAME: &'static str = "silu";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * sigmoid(x)
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let s = sigmoid(x);
        s * (T::one() + x * (T::one() - s))
    }

    fn composed(x: &Tensor) -> Result<Tensor> {
        x.silu()
    }
}

/// As `(1 + tanh(u)) / 2` is the logistic function of `2 u`, nothing cancels out.
#[inline(always)]
fn gelu_share<T: Real>(x: T) -> (T, T) {
    let twice_root = T::of(1.595_769_121_605_730_7);
    let cubic = T::of(0.044_715);
    let square = x * x;
    let share = sigmoid(twice_root * x * (T::one() + cubic * square));
    (share, twice_root * (T::one() + T::of(3.0) * cubic * square))
}

impl Activation for GeluTanh {
    const NAME: &'static str = "gelu_tanh";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * gelu_share(x).0
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let (share, inner) = gelu_share(x);
        share * (T::one() + x * (T::one() - share) * inner)
    }

    fn composed(x: &Tensor) -> Result<Tensor> {
        x.gelu()
    }
}

impl Activation for GeluErf {
    const NAME: &'static str = "gelu_erf";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * x.normal().0
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let (below, density) = x.normal();
        below + x * density
    }

    fn composed(x: &Tensor) -> Result<Tensor> {
        x.gelu_erf()
    }
}

fn apply<A: Activation>(x: &Tensor) -> Result<Tensor> {
    if !has_kernel(x) {
        return A::composed(x);
    }
    let x = x.contiguous()?;
    by_dtype!(x, on_cpu[A](&x))
}

fn on_cpu<T: Real, A: Activation>(x: &Tensor) -> Result<Tensor> {
    let input = Values::<T>::of(x)?;
    let mut y = vec![T::zero(); input.len()];
    over_rows(&mut y, 1, |first, to| {
        let end = first + to.len();
        map::<T, A>(to, &input[first..end]);
    });
    drop(input);
    let kept = x.detach();
    node(
        A::NAME,
        &[x],
        value(y, x.dims()),
        Box::new(move |_, gradient, wanted| {
            let run = || {
                let gradient = gradient.contiguous()?;
                let (input, gradient) = (Values::<T>::of(&kept)?, Values::of(&gradient)?);
                let mut gx = vec![T::zero(); input.len()];
                over_rows(&mut gx, 1, |first, to| {
                    let range = first..first + to.len();
                    map_back::<T, A>(to, &input[range.clone()], &gradient[range]);
                });
                tensor(gx, kept.dims())
            };
            Ok(vec![if_wanted(wanted[0], run)?])
        }),
    )
}

vectorised! {
    fn map<T: Real, A: Activation>(to: &mut [T], x: &[T]) {
        for (to, x) in to.iter_mut().zip(x) {
            *to = A::value(*x);
        }
    }
}

vectorised! {
    fn map_back<T: Real, A: Activation>(to: &mut [T], x: &[T], gradient: &[T]) {
        for ((to, x), gradient) in to.iter_mut().zip(x).zip(gradient) {
            *to = *gradient * A::slope(*x);
        }
    }
}
