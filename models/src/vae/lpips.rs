//! LPIPS: how different two pictures look (Zhang et al., "The unreasonable effectiveness of deep
//! features as a perceptual metric", 2018; the package `lpips`, version 0.1 of the weights, which
//! VQGAN's and this VAE's training code uses).
//!
//! Both pictures go through the thirteen convolutions of VGG16 (Simonyan and Zisserman, 2015). After
//! each of its five groups the vectors of channels are scaled to unit length, and the squared
//! difference of each channel counts as much as a learned head says.
//!
//! The network is never trained. Gradients flow to both pictures, of which the true one, being data,
//! has no use for them. Names are those of torchvision's checkpoint and of the package's heads. Decided
//! against `candle_transformers`' VGG, which gives class scores only.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use curate_ops::{frozen_conv2d, max_pool2d};

use crate::{
    Weights,
    hub::{Hub, Missing},
    params::{Init, Params, ParamsError, Scope},
};

/// VGG16 and the heads of LPIPS.
#[derive(Debug)]
pub struct Lpips {
    groups: Vec<Group>,
}

/// Convolutions of one size of pictures, and the head that looks at the last.
#[derive(Debug)]
struct Group {
    convolutions: Vec<(Tensor, Tensor)>,
    head: Tensor,
}

/// Convolutions of each group, and their width in multiples of the first.
const GROUPS: [(usize, usize); 5] = [(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)];

/// What is taken away from each colour, and what it is then divided by.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// Under the root of a squared length. The released code adds 1e-10 to the length instead, which
/// differs for no vector but zero: there its gradient is no number.
const TINY: f64 = 1e-20;

impl Lpips {
    /// VGG16's first width.
    pub const WIDTH: usize = 64;

    /// The entry of the hub that has both files.
    pub const MODEL: &str = "lpips-vgg16";

    /// Asks for the weights; `width` is that of the first convolution.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn new(scope: &mut Scope<'_>, width: usize) -> std::result::Result<Self, ParamsError> {
        let (mut groups, mut ins, mut place) = (Vec::new(), 3, 0);
        for (index, (count, multiple)) in GROUPS.into_iter().enumerate() {
            let outs = multiple * width;
            let mut convolutions = Vec::new();
            for _ in 0..count {
                let mut scope = scope.at(&format!("features.{place}"));
                let init = Init::torch(ins * 9);
                let weight = scope.get("weight", &[outs, ins, 3, 3], init)?;
                convolutions.push((weight, scope.get("bias", &[outs], init)?));
                // Published names count activations and pooling too.
                (ins, place) = (outs, place + 2);
            }
            place += 1;
            let mut scope = scope.at(&format!("lin{index}.model.1"));
            let head = scope.get("weight", &[1, outs, 1, 1], Init::Ones)?;
            groups.push(Group { convolutions, head });
        }
        Ok(Self { groups })
    }

    /// The published network, of torchvision's VGG16 and the package's heads.
    ///
    /// # Errors
    /// When a file cannot be read, or is another network's.
    pub fn load(
        vgg: &Weights,
        heads: &Weights,
        device: &Device,
    ) -> std::result::Result<Self, ParamsError> {
        let mut tensors = BTreeMap::new();
        for (weights, prefix) in [(vgg, "features."), (heads, "lin")] {
            for name in weights.names().filter(|name| name.starts_with(prefix)) {
                let failed = |source| ParamsError::Tensor { name: name.to_owned(), source };
                let shape = weights.shape(name).unwrap_or_default();
                let tensor = Tensor::from_vec(weights.f32(name)?, shape, device).map_err(failed)?;
                tensors.insert(name.to_owned(), tensor);
            }
        }
        let origin = format!("{} with {}", vgg.origin(), heads.origin());
        let mut params = Params::from_tensors(&origin, tensors, device);
        params.build_frozen(|scope| Self::new(scope, Self::WIDTH))
    }

    /// The published network from the hub; the inner error says that it was not pulled, and how to.
    ///
    /// # Errors
    /// Those of [`Lpips::load`].
    pub fn from_hub(
        hub: &Hub,
        device: &Device,
    ) -> std::result::Result<std::result::Result<Self, Missing>, ParamsError> {
        let files = ["vgg16-397923af.pth", "heads.pth"].map(|file| hub.content(Self::MODEL, file));
        match files {
            [Ok(vgg), Ok(heads)] => {
                let (vgg, heads) = (Weights::from_hub(&vgg)?, Weights::from_hub(&heads)?);
                Self::load(&vgg, &heads, device).map(Ok)
            }
            [Err(missing), _] | [_, Err(missing)] => Ok(Err(missing)),
        }
    }

    /// The distance of each picture of `a` and `b`, `[N, 3, H, W]` in [-1, 1] with sides of at least
    /// 16 pixels: `[N]`, 0 for equal ones.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (mut a, mut b) = (scaled(a)?, scaled(b)?);
        let mut sum: Option<Tensor> = None;
        for (index, group) in self.groups.iter().enumerate() {
            if index > 0 {
                (a, b) = (max_pool2d(&a, 2, 2)?, max_pool2d(&b, 2, 2)?);
            }
            (a, b) = (group.look(&a)?, group.look(&b)?);
            let apart = (unit(&a)? - unit(&b)?)?.sqr()?;
            let apart = apart.broadcast_mul(&group.head.detach())?.sum(1)?.mean((1, 2))?;
            sum = Some(match sum {
                None => apart,
                Some(sum) => (sum + apart)?,
            });
        }
        sum.ok_or_else(|| candle_core::Error::msg("LPIPS without layers"))
    }
}

impl Group {
    fn look(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (weight, bias) in &self.convolutions {
            x = frozen_conv2d(&x, weight, Some(bias), [1; 2], [1; 2])?.relu()?;
        }
        Ok(x)
    }
}

/// Colours as VGG16 saw them in training.
fn scaled(x: &Tensor) -> Result<Tensor> {
    let channel = |values: [f32; 3]| {
        Tensor::from_slice(&values, (1, 3, 1, 1), x.device())?.to_dtype(x.dtype())
    };
    x.broadcast_sub(&channel(SHIFT)?)?.broadcast_div(&channel(SCALE)?)
}

/// Vectors of channels of unit length.
fn unit(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(1)? + TINY)?.sqrt()?)
}
