//! Adapters added to a network's own weights: the network then runs at its own speed.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{DOWN, Layer, Lora, LoraError, UP};
use crate::params::Params;

/// Adapters that have been merged. What the weights were is kept in main memory, as much as they take;
/// dropping this leaves the adapters merged for good.
#[derive(Debug)]
#[must_use = "dropping it forgets what the weights were"]
pub struct Merged {
    originals: Vec<(Var, Tensor)>,
}

impl Lora {
    /// Adds `weight * alpha/r * up down` to the weights of a network, in single precision (in double
    /// where the weights are). Networks over these tensors see it at once; they must not be joined to
    /// these adapters as well.
    ///
    /// # Errors
    /// When the network is another one, or candle fails; then the weights are as they were.
    pub fn merge(&self, network: &Params, weight: f64) -> std::result::Result<Merged, LoraError> {
        self.check(network)?;
        let mut merged = Merged { originals: Vec::with_capacity(self.layers.len()) };
        for (name, layer) in &self.layers {
            if let Err(error) = self.merge_layer(network, (name, layer), weight, &mut merged) {
                merged.undo()?;
                return Err(error);
            }
        }
        Ok(merged)
    }

    fn merge_layer(
        &self,
        network: &Params,
        (name, layer): (&str, &Layer),
        weight: f64,
        merged: &mut Merged,
    ) -> std::result::Result<(), LoraError> {
        let name_of_weight = format!("{name}.weight");
        let var = network.get(&name_of_weight).ok_or_else(|| self.lacks(&name_of_weight))?;
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            self.params.get(&name).ok_or_else(|| self.lacks(&name))
        };
        let sum = sum(var, [part(UP)?, part(DOWN)?], weight * layer.scale())?;
        let original = var.as_detached_tensor();
        // `Var::set` writes over the storage, so a second handle on it would not do.
        let original = match original.device() {
            Device::Cpu => original.copy()?,
            _ => original.to_device(&Device::Cpu)?,
        };
        merged.originals.push((var.clone(), original));
        Ok(var.set(&sum)?)
    }
}

/// A weight with an adapter in it, in the weight's type.
fn sum(var: &Var, [up, down]: [&Var; 2], factor: f64) -> Result<Tensor> {
    let dtype = if var.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let plain = |var: &Var| var.as_detached_tensor().to_dtype(dtype);
    let change = (plain(up)?.matmul(&plain(down)?)? * factor)?;
    (plain(var)? + change.to_device(var.device())?)?.to_dtype(var.dtype())
}

impl Merged {
    /// How many layers' weights were changed.
    #[must_use]
    pub const fn layers(&self) -> usize {
        self.originals.len()
    }

    /// Puts the weights back as they were, bit for bit. Of several merged ones, the last comes first.
    ///
    /// # Errors
    /// When candle fails.
    pub fn undo(self) -> std::result::Result<(), LoraError> {
        for (var, original) in self.originals {
            var.set(&original.to_device(var.device())?)?;
        }
        Ok(())
    }
}
