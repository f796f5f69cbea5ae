//! The two discriminators as one thing that is trained: of frames and of clips.

#[cfg(test)]
use candle_core::Var;
use candle_core::{Device, Result, Tensor};
use curate_models::{
    params::{Params, ParamsError, Scope},
    vae::discriminator::{BatchStats, Discriminator3d, PatchDiscriminator},
};
use serde::{Deserialize, Serialize};

use super::losses::{as_frames, generator, hinge};

/// The adversarial loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialConfig {
    /// What the adaptive weight is multiplied by. 0.5; 0: there are no discriminators.
    pub weight: f64,
    /// The step from which they count and are trained. 25 000. The released configuration says
    /// 50 001, counted over both optimisers by its trainer, which is the same.
    pub start: u64,
    /// Channels of the first layer of the discriminator of frames. 64.
    pub frames_width: usize,
    /// Channels of the blocks of the discriminator of clips, multiples of 32. 64, 128, 256.
    pub clips_widths: Vec<usize>,
}

impl Default for AdversarialConfig {
    fn default() -> Self {
        Self {
            weight: 0.5,
            start: 25_000,
            frames_width: PatchDiscriminator::WIDTH,
            clips_widths: Discriminator3d::WIDTHS.to_vec(),
        }
    }
}

impl AdversarialConfig {
    /// What is wrong with it, under the key `key`, for frames of `size` pixels.
    #[must_use]
    pub fn problems(&self, key: &str, size: usize) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |is_right: bool, problem: String| {
            if !is_right {
                problems.push(problem);
            }
        };
        let weight = self.weight;
        let is_number = weight.is_finite() && weight >= 0.0;
        check(is_number, format!("`{key}.weight` is {weight}, not a number from 0 on"));
        if weight == 0.0 {
            return problems;
        }
        check(self.frames_width > 0, format!("`{key}.frames_width` is 0"));
        let widths = &self.clips_widths;
        check(
            !widths.is_empty() && widths.iter().all(|width| *width > 0 && width.is_multiple_of(32)),
            format!("`{key}.clips_widths` is {widths:?}, not multiples of 32"),
        );
        check(
            size >= 32,
            format!(
                "`{key}.weight` is {weight}, but frames of {size} pixels are too small for the \
                 discriminator of frames, which needs 32; make `data.size` larger, or the weight 0"
            ),
        );
        problems
    }
}

/// Both networks, twice: as they are trained, and as the generator sees them.
#[derive(Debug)]
pub(super) struct Critics {
    pub(super) params: Params,
    trained: Pair,
    frozen: Pair,
}

#[derive(Debug)]
struct Pair {
    frames: PatchDiscriminator,
    clips: Discriminator3d,
}

impl Pair {
    /// Names are those in the released training checkpoints, under `loss`.
    fn new(
        scope: &mut Scope<'_>,
        config: &AdversarialConfig,
    ) -> std::result::Result<Self, ParamsError> {
        let width = config.frames_width;
        let frames = PatchDiscriminator::new(&mut scope.at("discriminator"), 3, width)?;
        let mut scope = scope.at("discriminator3d");
        Ok(Self { frames, clips: Discriminator3d::new(&mut scope, 3, &config.clips_widths)? })
    }

    fn scores(&self, clips: &Tensor) -> Result<[Tensor; 2]> {
        // Norms see the batch, in the generator's step too: no step of the released code puts them
        // into evaluation mode.
        let frames = self.frames.forward(&as_frames(clips)?, BatchStats::Batch)?;
        Ok([frames, self.clips.forward(clips)?])
    }
}

impl Critics {
    pub(super) fn new(
        config: &AdversarialConfig,
        seed: u64,
        device: &Device,
    ) -> std::result::Result<Self, ParamsError> {
        let mut params = Params::seeded(seed, device);
        let trained = params.build(|scope| Pair::new(scope, config))?;
        let frozen = params.build_frozen(|scope| Pair::new(scope, config))?;
        Ok(Self { params, trained, frozen })
    }

    /// What is trained, in the order of names.
    #[cfg(test)]
    pub(super) fn vars(&self) -> Vec<Var> {
        self.params.trained().map(|(_, var)| var.clone()).collect()
    }

    /// The generator's loss of what it made; gradients flow to the clips alone.
    pub(super) fn generator(&self, made: &Tensor) -> Result<Tensor> {
        let [frames, clips] = self.frozen.scores(made)?;
        generator(&frames)? + generator(&clips)?
    }

    /// The discriminators' loss; no gradient flows to the clips.
    pub(super) fn judge(&self, real: &Tensor, made: &Tensor) -> Result<Tensor> {
        let real = self.trained.scores(&real.detach())?;
        let made = self.trained.scores(&made.detach())?;
        hinge(&real[0], &made[0])? + hinge(&real[1], &made[1])?
    }
}
