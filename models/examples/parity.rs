//! Prints how far the Slice VAE, the transformer, the diffusion terms, the samplers and the discriminator
//! are from the released code: `parity FOLDER`, the folder of the reference tensors, with `cuda` behind it on
//! a GPU. Fails if any differs.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::{error::Error, path::Path};

use candle_core::Device;
use curate_models::{diffusion, dit, vae};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    let folder = Path::new(&folder);
    let device = match std::env::args().nth(2).as_deref() {
        None | Some("cpu") => Device::Cpu,
        Some("cuda") => Device::new_cuda(0)?,
        Some(other) => return Err(format!("there are `cpu` and `cuda`, not `{other}`").into()),
    };
    let (config, mut params) = vae::parity::reference_on(folder, &device)?;
    let mut rows = vae::parity::outputs(folder, &config, &mut params)?;
    rows.extend(vae::parity::gradient_rows(folder, &config, &mut params)?);
    let (network, params) = dit::parity::network(folder, &device)?;
    rows.extend(dit::parity::output_rows(&network, folder, &device)?);
    rows.extend(dit::parity::gradient_rows((&network, &params), folder, &device)?);
    rows.extend(diffusion::parity::loss_rows(folder, &device)?);
    rows.extend(diffusion::parity::sampler_rows(folder, &device)?);
    let failed = rows.iter().filter(|row| !row.passes()).count();
    for row in &rows {
        println!("{row}");
    }
    println!("{} tensors compared, {failed} differ", rows.len());
    if failed > 0 { Err("not equal".into()) } else { Ok(()) }
}
