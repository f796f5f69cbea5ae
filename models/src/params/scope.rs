//! How a network asks for its tensors.

use candle_core::{Tensor, Var};

use super::{Entry, Init, Params, ParamsError, Role, Source, fits, misfit, read};
use crate::Misfit;

/// Where a part of a network asks for its tensors: all names begin with the part's own.
#[derive(Debug)]
pub struct Scope<'a> {
    pub(super) params: &'a mut Params,
    /// Ends with a dot, or is empty.
    pub(super) prefix: String,
}

impl<'a> Scope<'a> {
    pub(super) fn root(params: &'a mut Params) -> Self {
        Self { params, prefix: String::new() }
    }

    /// The scope of a part of this part: `at("conv1")`, `at(&format!("convs.{index}"))`.
    pub fn at(&mut self, part: &str) -> Scope<'_> {
        Scope { prefix: format!("{}{part}.", self.prefix), params: self.params }
    }

    /// A weight; `init` says what it begins as when the checkpoint has none.
    ///
    /// # Errors
    /// When the checkpoint cannot be read. One that does not fit is reported by [`Params::build`].
    pub fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor, ParamsError> {
        let name = format!("{}{name}", self.prefix);
        let is_detaching = self.params.is_detaching;
        let Some(entry) = self.entry(&name, shape, init, Role::Trained)? else {
            return self.stand_in(&name, shape);
        };
        Ok(match entry.role {
            Role::Trained if !is_detaching => entry.var.as_tensor().clone(),
            _ => entry.var.as_detached_tensor(),
        })
    }

    /// Something that is saved with the network and never trained: a variable to be set.
    ///
    /// # Errors
    /// Those of [`Scope::get`].
    pub fn buffer(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Var, ParamsError> {
        let name = format!("{}{name}", self.prefix);
        if let Some(entry) = self.entry(&name, shape, init, Role::Buffer)? {
            return Ok(entry.var.clone());
        }
        let failed = |source| ParamsError::Tensor { name: name.clone(), source };
        Var::from_tensor(&self.stand_in(&name, shape)?).map_err(failed)
    }

    /// Says that the network knows this name of the checkpoint and has no use for it, such as a
    /// constant that it computes: the report then does not call it unexpected.
    pub fn ignore(&mut self, name: &str) {
        let name = format!("{}{name}", self.prefix);
        self.params.ignored.insert(name);
    }

    /// What the store has under a whole name, read or drawn the first time. `None`: it does not fit,
    /// and [`Params::build`] will say so; or nobody wants it ([`Params::asked`]).
    fn entry(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
        role: Role,
    ) -> Result<Option<&Entry>, ParamsError> {
        let params = &mut *self.params;
        if let Some(asked) = &mut params.asked {
            asked.insert(name.to_owned(), shape.to_vec());
            return Ok(None);
        }
        if !params.entries.contains_key(name) {
            let Some(tensor) = params.first(name, shape, init)? else { return Ok(None) };
            let failed = |source| ParamsError::Tensor { name: name.to_owned(), source };
            let var = Var::from_tensor(&tensor).map_err(failed)?;
            let asked = params.patterns.iter().rev().find(|freeze| fits(&freeze.pattern, name));
            let role = asked.filter(|_| role == Role::Trained).map_or(role, |asked| asked.role);
            params.entries.insert(name.to_owned(), Entry { var, role });
        }
        let Some(entry) = params.entries.get(name) else { return Ok(None) };
        if let Some(problem) = misfit(name, entry.var.dims(), shape) {
            params.problems.push(problem);
            return Ok(None);
        }
        Ok(Some(entry))
    }

    /// What a network is given in place of a tensor that does not fit, so that it asks on and every
    /// misfit is found. The network is then thrown away.
    fn stand_in(&self, name: &str, shape: &[usize]) -> Result<Tensor, ParamsError> {
        let failed = |source| ParamsError::Tensor { name: name.to_owned(), source };
        Tensor::zeros(shape, self.params.dtype, &self.params.device).map_err(failed)
    }
}

impl Params {
    /// A tensor that is asked for the first time. `None`, and a problem noted: it does not fit.
    fn first(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Option<Tensor>, ParamsError> {
        let failed = |source| ParamsError::Tensor { name: name.to_owned(), source };
        let found = match &self.source {
            Source::Nothing => None,
            Source::Weights(weights) => weights.shape(name),
            Source::Tensors(tensors) => tensors.get(name).map(Tensor::dims),
        };
        let problem = match found {
            Some(found) => misfit(name, found, shape),
            None => self.seed.is_none().then(|| Misfit::Missing(name.to_owned())),
        };
        if let Some(problem) = problem {
            self.problems.push(problem);
            return Ok(None);
        }
        let is_found = found.is_some();
        let tensor = match (&self.source, self.seed) {
            (Source::Weights(weights), _) if is_found => read(weights, name, shape, &self.device)?,
            (Source::Tensors(tensors), _) if is_found => {
                tensors[name].to_device(&self.device).map_err(failed)?
            }
            (_, seed) => {
                let tensor = init.tensor(seed.unwrap_or_default(), name, shape).map_err(failed)?;
                tensor.to_device(&self.device).map_err(failed)?
            }
        };
        match (&self.source, is_found) {
            (_, true) => self.report.matched.push(name.to_owned()),
            (Source::Nothing, false) => {}
            (_, false) => self.report.missing.push(name.to_owned()),
        }
        tensor.to_dtype(self.dtype).map(Some).map_err(failed)
    }
}
