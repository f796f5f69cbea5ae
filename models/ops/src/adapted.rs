//! A frozen linear layer with low-rank adapters, as one operation.
//!
//! Made of [`linear`](crate::linear) and sums, each adapter would keep two more results of the layer's size until
//! backward: candle's graph holds the operands of a sum, which no gradient needs. So the whole is one node, which
//! keeps `x` and the narrow inner values.

use candle_core::{Result, Tensor};

use crate::{
    error, linear,
    node::{Value, node},
    vector::if_wanted,
};

/// One adapter of a layer from `I` to `O` numbers: `factor * up(down(mask * x))`.
#[derive(Clone, Copy, Debug)]
pub struct LowRank<'a> {
    /// `[r, I]`.
    pub down: &'a Tensor,
    /// `[O, r]`.
    pub up: &'a Tensor,
    /// What its result is multiplied by.
    pub factor: f64,
    /// What the inputs are multiplied by, of the shape of `x`: dropout. It gets no gradient.
    pub mask: Option<&'a Tensor>,
}

/// `x wᵀ + bias + Σ factor (mask x) downᵀ upᵀ`, with no gradient for `w` and `bias`.
///
/// `x` is `[.., I]`, `w` is `[O, I]`, `bias` is `[O]`; the result is `[.., O]`, all in one type (Hu et al., arXiv
/// 2106.09685).
///
/// With `s = factor` and `h = (mask x) downᵀ`, backward is `gx = gy w + Σ mask * (s gy up down)`, `gdown = s (gy
/// up)ᵀ (mask x)` and `gup = s gyᵀ h`.
///
/// # Errors
/// When shapes or types do not fit each other.
pub fn adapted_linear(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    adapters: &[LowRank<'_>],
) -> Result<Tensor> {
    let plain = x.detach().contiguous()?;
    let mut y = linear(&plain, &w.detach(), bias.map(Tensor::detach).as_ref())?;
    let outs = w.dim(0)?;
    let mut kept = Vec::with_capacity(adapters.len());
    let mut inputs = vec![x];
    for adapter in adapters {
        if adapter.up.dims() != [outs, adapter.down.dim(0)?] {
            let wanted = format!("[{outs}, {}] as of `w` and `down`", adapter.down.dim(0)?);
            return Err(error::shape("adapted_linear", "up", adapter.up, wanted));
        }
        let one = Kept {
            down: adapter.down.detach().contiguous()?,
            up: adapter.up.detach().contiguous()?,
            factor: adapter.factor,
            mask: adapter.mask.map(Tensor::detach),
            inner: None,
        };
        let inner = linear(&one.masked(&plain)?, &one.down, None)?;
        y = (y + linear(&(&inner * one.factor)?, &one.up, None)?)?;
        inputs.extend([adapter.down, adapter.up]);
        let is_needed = adapter.up.track_op();
        kept.push(Kept { inner: is_needed.then_some(inner), ..one });
    }
    let (w, shape) = (w.detach().contiguous()?, x.shape().clone());
    let is_x_needed = adapters.iter().any(|adapter| adapter.down.track_op());
    let plain = is_x_needed.then_some(plain);
    node(
        "adapted_linear",
        &inputs,
        Value::Tensor(y),
        Box::new(move |_, gradient, wanted| {
            let gy = rows(gradient)?;
            let mut gx = if_wanted(wanted[0], || gy.matmul(&w))?;
            let mut of_adapters = Vec::with_capacity(2 * kept.len());
            for (adapter, wanted) in kept.iter().zip(wanted[1..].as_chunks::<2>().0) {
                let inner = (gy.matmul(&adapter.up)? * adapter.factor)?;
                if let Some(sum) = gx.take() {
                    let mut own = inner.matmul(&adapter.down)?;
                    if let Some(mask) = &adapter.mask {
                        own = (own * rows(mask)?)?;
                    }
                    gx = Some((sum + own)?);
                }
                let down = match &plain {
                    Some(x) if wanted[0] => Some(inner.t()?.matmul(&rows(&adapter.masked(x)?)?)?),
                    _ => None,
                };
                let up = match &adapter.inner {
                    Some(own) if wanted[1] => {
                        Some((gy.t()?.matmul(&rows(own)?)? * adapter.factor)?)
                    }
                    _ => None,
                };
                of_adapters.extend([down, up]);
            }
            let mut all = vec![gx.map(|gx| gx.reshape(&shape)).transpose()?];
            all.extend(of_adapters);
            Ok(all)
        }),
    )
}

/// Of an adapter, for backward: off the graph and contiguous.
struct Kept {
    down: Tensor,
    up: Tensor,
    factor: f64,
    mask: Option<Tensor>,
    /// For the gradient of `up`.
    inner: Option<Tensor>,
}

impl Kept {
    fn masked(&self, x: &Tensor) -> Result<Tensor> {
        self.mask.as_ref().map_or_else(|| Ok(x.clone()), |mask| x * mask)
    }
}

/// All axes but the last as one.
fn rows(x: &Tensor) -> Result<Tensor> {
    let last = x.dims().last().copied().unwrap_or(1);
    x.contiguous()?.reshape(((), last))
}
