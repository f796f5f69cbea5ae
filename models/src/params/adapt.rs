//! Adapters joined to a network while it is built.

use candle_core::Var;

use super::{Params, Scope};
use crate::lora::{Adapter, Lora, LoraError};

impl Params {
    /// The linear layers of networks that were built over these tensors and can have adapters: name,
    /// inputs and outputs, sorted by name.
    pub fn layers(&self) -> impl Iterator<Item = (&str, (usize, usize))> {
        self.layers.iter().map(|(name, sizes)| (name.as_str(), *sizes))
    }

    /// Joins adapters to networks that are built from now on: what their layers give is added, times
    /// `weight`. Several add up. The network must have been built before, for its layers to be known.
    ///
    /// # Errors
    /// [`LoraError::Mismatch`] when the adapters are of another network.
    pub fn adapt(&mut self, lora: &Lora, weight: f64) -> Result<(), LoraError> {
        for (layer, adapter) in lora.adapters(self, weight)? {
            self.adapters.entry(layer).or_default().push(adapter);
        }
        Ok(())
    }

    /// Takes all adapters away from networks that are built from now on.
    pub fn remove_adapters(&mut self) {
        self.adapters.clear();
    }

    /// What is trained of the adapters of layers for which `is_own` is true, given the layer's name with
    /// a dot behind it.
    pub(crate) fn adapter_vars(&self, is_own: impl Fn(&str) -> bool) -> Vec<Var> {
        let own = self.adapters.iter().filter(|(layer, _)| is_own(&format!("{layer}.")));
        own.flat_map(|(_, adapters)| adapters).flat_map(Adapter::vars).cloned().collect()
    }
}

impl Scope<'_> {
    /// Says that this part is a linear layer; gives its adapters.
    pub(crate) fn adapters(&mut self, ins: usize, outs: usize) -> Vec<Adapter> {
        let name = self.prefix.trim_end_matches('.').to_owned();
        let found = self.params.adapters.get(&name).into_iter().flatten();
        let adapters = if self.params.is_detaching {
            found.map(Adapter::detached).collect()
        } else {
            found.cloned().collect()
        };
        self.params.layers.insert(name, (ins, outs));
        adapters
    }
}
