//! Networks without weights, and sessions that join them with a checkpoint.
//!
//! A graph declares each weight by the name that the published checkpoint has for it, as data that
//! lies elsewhere (ONNX's external data, at a location that does not exist). Beside it is the list
//! of those names with their shapes, which the program that wrote the graph writes too. Each weight
//! is handed to ONNX Runtime as a tensor in memory, which the session copies.
//!
//! So one graph serves the published weights and our own, a checkpoint needs no conversion, and a
//! wrong one is refused by the names of what does not fit. Names and shapes are compared before ONNX
//! Runtime sees anything: of a missing weight it only says that a path is empty.
//!
//! Decided against graphs with weights inside, as exporters write them: one more copy of every
//! checkpoint to publish, and an exporter may fold or rename what parity with the checkpoint needs.

use std::collections::BTreeMap;

use ort::{session::Session, value::Tensor};

use crate::{
    Runtime, Weights,
    aesthetic::place::place,
    error::{Misfit, ModelError},
};

/// A network without weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Graph {
    /// What it is, for messages.
    pub(crate) name: &'static str,
    /// The ONNX file.
    pub(crate) onnx: &'static [u8],
    /// Its weights: a JSON object of names and shapes.
    pub(crate) weights: &'static str,
    /// Beginnings of the names of tensors that the published checkpoint has for something else.
    pub(crate) passed_over: &'static [&'static str],
}

/// Where the graphs that can map their weights say that these lie, in a folder that is given.
const MAPPED: &str = "model.safetensors";

/// A tensor of checkpoints that inference never reads: how often batch norm has been updated.
const COUNTER: &str = "num_batches_tracked";

impl Graph {
    /// Makes a session of the graph with these weights.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`] when the checkpoint lacks a weight, has one of another shape, or has
    /// one that the network does not know.
    pub(crate) fn session(
        &self,
        runtime: &Runtime,
        weights: &Weights,
        threads: usize,
    ) -> Result<Session, ModelError> {
        let during = "making a session";
        let onnx = |source: ort::Error| ModelError::Onnx { during, source };
        let mut builder = runtime.builder(threads).map_err(onnx)?;
        for (name, shape) in self.check(weights)? {
            let value = Tensor::from_array((shape, weights.f32(&name)?)).map_err(onnx)?;
            builder = builder
                .with_external_initializer(&name, value.into_dyn())
                .map_err(|error| onnx(error.into()))?;
        }
        builder.commit_from_memory(self.onnx).map_err(onnx)
    }

    /// As [`session`](Self::session), but where the checkpoint is a file that ONNX Runtime can map, it
    /// does (see [`place`]): its weights are neither read nor copied. The matrices are then not laid
    /// out anew for the kernels, which would copy them after all.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub(crate) fn mapped_session(
        &self,
        runtime: &Runtime,
        weights: &Weights,
        threads: usize,
    ) -> Result<Session, ModelError> {
        let names = self.check(weights)?;
        let offsets: Option<Vec<u64>> = names.keys().map(|name| weights.f32_place(name)).collect();
        let folder = weights
            .path()
            .filter(|path| path.file_name().is_some_and(|name| name == MAPPED))
            .and_then(|path| std::path::absolute(path.parent()?).ok())
            .and_then(|folder| folder.into_os_string().into_string().ok());
        let (Some(offsets), Some(folder)) = (offsets, folder) else {
            return self.session(runtime, weights, threads);
        };
        let onnx = |source: ort::Error| ModelError::Onnx { during: "mapping weights", source };
        let mut graph = self.onnx.to_vec();
        place(&mut graph, &offsets).map_err(|error| onnx(ort::Error::new(error.to_string())))?;
        let builder = runtime
            .builder(threads)
            .and_then(|builder| {
                Ok(builder
                    .with_config_entry(
                        "session.model_external_initializers_file_folder_path",
                        folder,
                    )?
                    .with_config_entry("session.disable_prepacking", "1")?)
            })
            .map_err(onnx)?;
        let mut builder = builder;
        builder.commit_from_memory(&graph).map_err(onnx)
    }

    /// Names and shapes of the weights, if the checkpoint has exactly these.
    fn check(&self, weights: &Weights) -> Result<BTreeMap<String, Vec<usize>>, ModelError> {
        let wanted: BTreeMap<String, Vec<usize>> = serde_json::from_str(self.weights)
            .map_err(|source| ModelError::Graph { network: self.name, source })?;
        let mut problems = Vec::new();
        for (name, shape) in &wanted {
            match weights.shape(name) {
                None => problems.push(Misfit::Missing(name.clone())),
                Some(found) if found != shape => problems.push(Misfit::Shape {
                    name: name.clone(),
                    found: found.to_vec(),
                    wanted: shape.clone(),
                }),
                Some(_) => {}
            }
        }
        let is_counter = |name: &str| name.rsplit('.').next() == Some(COUNTER);
        let unknown = weights.names().filter(|name| !wanted.contains_key(*name));
        let is_passed_over =
            |name: &str| self.passed_over.iter().any(|start| name.starts_with(start));
        problems.extend(
            unknown
                .filter(|name| !is_counter(name) && !is_passed_over(name))
                .map(|name| Misfit::Unknown(name.to_owned())),
        );
        if problems.is_empty() {
            return Ok(wanted);
        }
        let (network, weights) = (self.name, weights.origin().to_owned());
        Err(ModelError::Mismatch { network, weights, problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{tensors, weights};

    const GRAPH: Graph = Graph {
        name: "a network",
        onnx: b"",
        weights: r#"{"conv.weight": [2, 3], "norm.weight": [2], "norm.bias": [2]}"#,
        passed_over: &[],
    };

    #[test]
    fn only_the_right_checkpoint_fits() {
        let right = [("conv.weight", &[2, 3][..]), ("norm.weight", &[2]), ("norm.bias", &[2])];
        let with = |more: &[(&str, &[usize])]| {
            let mut all = tensors(&right);
            all.extend(tensors(more));
            GRAPH.check(&weights(&all))
        };
        assert_eq!(with(&[]).unwrap().len(), 3);
        assert_eq!(with(&[("norm.num_batches_tracked", &[])]).unwrap().len(), 3);
        let unknown = with(&[("head.weight", &[1])]).unwrap_err().to_string();
        assert_eq!(unknown, "made here are not weights of a network: `head.weight` is unknown");

        let wrong = tensors(&[("conv.weight", &[3, 2]), ("norm.weight", &[2])]);
        let error = GRAPH.check(&weights(&wrong)).unwrap_err().to_string();
        assert!(error.contains("`conv.weight` has the shape [3, 2], not [2, 3]"), "{error}");
        assert!(error.contains("`norm.bias` is missing"), "{error}");
    }

    #[test]
    fn of_many_problems_a_few_are_shown() {
        let names: Vec<String> = (0..40).map(|index| format!("layer{index:02}")).collect();
        let many: Vec<(&str, &[usize])> = names.iter().map(|name| (&**name, &[1][..])).collect();
        let error = GRAPH.check(&weights(&tensors(&many))).unwrap_err().to_string();
        assert!(error.contains("`conv.weight` is missing"), "{error}");
        assert!(error.ends_with("`layer01` is unknown and 38 more"), "{error}");
    }
}
