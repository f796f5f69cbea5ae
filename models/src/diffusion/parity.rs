//! The reference tensors of diffusion: `diffusion_loss` and `samplers`.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use super::{
    Call, DiffusionError, NoiseSource, Objective, Sample, Sampler, SamplerConfig, SamplerKind,
    Schedule,
};
use crate::parity::{ParityError, References, Row, compare};

/// Rows of the tables, the noised sample, the loss terms, and the gradient of the mean loss.
///
/// # Errors
/// When the references cannot be read, or a term cannot be computed.
pub fn loss_rows(folder: &Path, device: &Device) -> Result<Vec<Row>, ParityError> {
    let file = References::open(&folder.join("diffusion_loss.safetensors"), device)?;
    let schedule = Schedule::default();
    let objective = Objective::default();
    let mut rows = Vec::new();
    for (name, table) in [
        ("betas", &schedule.betas),
        ("alphas_cumprod", &schedule.alphas_cumprod),
        ("posterior_log_variance_clipped", &schedule.posterior_log_variance_clipped),
    ] {
        rows.push(compare(&format!("diffusion.{name}"), table, &file.numbers(name)?));
    }

    let steps = schedule.steps() as f64;
    // The middle of a step, so that no rounding moves it to another.
    let fractions: Vec<f64> = file.numbers("t")?.iter().map(|step| (step + 0.5) / steps).collect();
    let batch = (file.get("x0")?, file.get("noise")?);
    let sample: Sample = objective.noised(&schedule, batch, &fractions)?;
    rows.push(file.compare("diffusion.x_t", &sample.x_t, "x_t")?);

    let output = Var::from_tensor(file.get("model_output")?)?;
    let terms = objective.loss(&schedule, &sample, output.as_tensor())?;
    let vb = terms.vb.as_ref().unwrap_or(&terms.loss);
    for (name, term) in [("mse", &terms.mse), ("vb", vb), ("loss", &terms.loss)] {
        rows.push(file.compare(&format!("diffusion.{name}"), term, name)?);
    }
    let gradients = terms.loss.mean_all()?.backward()?;
    let gradient = match gradients.get(&output) {
        Some(gradient) => gradient.clone(),
        None => output.zeros_like()?,
    };
    let mut row = file.compare("diffusion.grad_output", &gradient, "grad_output")?;
    // Gradients of a mean are small: against the largest of them, not against one.
    let largest = file.numbers("grad_output")?.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    row.bound = 1e-4 * largest;
    rows.push(row);
    Ok(rows)
}

/// Rows of the six trajectories and of the times at which the model is called.
///
/// # Errors
/// When the references cannot be read, or a sampler fails.
pub fn sampler_rows(folder: &Path, device: &Device) -> Result<Vec<Row>, ParityError> {
    let file = References::open(&folder.join("samplers.safetensors"), device)?;
    let mut rows = Vec::new();
    for (name, kind) in [
        ("euler", SamplerKind::Euler),
        ("euler_a", SamplerKind::EulerAncestral),
        ("dpmpp_2m", SamplerKind::DpmPlusPlus2m),
        ("pndm", SamplerKind::Pndm),
        ("pndm_prk", SamplerKind::PndmPrk),
        ("ddim", SamplerKind::Ddim),
    ] {
        let config = SamplerConfig { kind, steps: 10, ..SamplerConfig::default() };
        let mut sampler = config.build(&Schedule::default())?;
        let times = sampler.times().to_vec();
        let expected = file.numbers(&format!("{name}.timesteps"))?;
        rows.push(compare(&format!("samplers.{name}.timesteps"), &times, &expected));

        let mut noise = Recorded { drawn: file.get("euler_a.noise")?, next: 0 };
        let states = trajectory(sampler.as_mut(), file.get("noise")?, &mut noise)?;
        let reference = format!("{name}.trajectory");
        rows.push(file.compare(&format!("samplers.{reference}"), &states, &reference)?);
    }
    Ok(rows)
}

/// The state after each step with the references' model: `[calls, B, C, ...]`.
fn trajectory(
    sampler: &mut dyn Sampler,
    start: &Tensor,
    noise: &mut dyn NoiseSource,
) -> Result<Tensor, DiffusionError> {
    let mut state = sampler.start(start, None)?;
    let mut states = Vec::new();
    for (index, time) in sampler.times().to_vec().into_iter().enumerate() {
        let output = toy(&sampler.input(index, &state)?, time)?;
        state = sampler.step(Call { index, output: &output, state: &state }, noise)?;
        states.push(state.clone());
    }
    Ok(Tensor::stack(&states, 0)?)
}

/// The references' model: 0.35 x + 0.1 sin(2 x + t / 250).
fn toy(x: &Tensor, time: f64) -> Result<Tensor, DiffusionError> {
    let wave = x.affine(2.0, time / 250.0)?.sin()?;
    Ok((x.affine(0.35, 0.0)? + wave.affine(0.1, 0.0)?)?)
}

/// Noise that was drawn for the references, in order.
struct Recorded<'a> {
    drawn: &'a Tensor,
    next: usize,
}

impl NoiseSource for Recorded<'_> {
    fn like(&mut self, _tensor: &Tensor) -> Result<Tensor, DiffusionError> {
        self.next += 1;
        Ok(self.drawn.get(self.next - 1)?.to_dtype(DType::F32)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device};
    use curate_ops::Rng;

    use super::{SamplerConfig, SamplerKind, Schedule, compare, trajectory};
    use crate::{diffusion::Prediction, parity::References};

    /// `recipes/diffusion/samplers.py` writes the file: numbers of steps that do and do not divide
    /// a thousand, and models that predict the noise or v.
    #[test]
    fn samplers_arrive_where_the_published_ones_do() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samplers.safetensors");
        let file = References::open(&path, &Device::Cpu).unwrap();
        let noise = file.get("noise").unwrap().to_dtype(DType::F32).unwrap();
        let mut rows = Vec::new();
        for kind in SamplerKind::ALL {
            for prediction in [Prediction::Epsilon, Prediction::Velocity] {
                for steps in [7, 30, 50] {
                    let name = format!("{}.{}.{steps}", kind.name(), prediction.name());
                    if !file.names().contains(&name.as_str()) {
                        continue;
                    }
                    let config =
                        SamplerConfig { kind, steps, prediction, ..SamplerConfig::default() };
                    let mut sampler = config.build(&Schedule::default()).unwrap();
                    let expected = file.numbers(&format!("{name}.times")).unwrap();
                    rows.push(compare(&format!("{name}.times"), sampler.times(), &expected));
                    let states = trajectory(sampler.as_mut(), &noise, &mut Rng::new(0)).unwrap();
                    let last = states.get(states.dim(0).unwrap() - 1).unwrap();
                    rows.push(file.compare(&name, &last, &name).unwrap());
                }
            }
        }
        assert_eq!(rows.len(), 48);
        let wrong: Vec<String> =
            rows.iter().filter(|row| !row.passes()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
