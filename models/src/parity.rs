//! Comparing with reference tensors: rows of a table, and files of tensors whose errors name the
//! tensor.
//!
//! References were made by the authors' code with random weights in f32, so that agreement proves
//! the computation. A row passes when no element is further from the reference than its bound.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use thiserror::Error;

/// A difference of f32 computations that add up in another order, as a share of the largest value.
const SLACK: f64 = 1e-4;

/// How far a tensor is from its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was compared.
    pub name: String,
    /// Largest absolute difference; infinite for what is no number.
    pub difference: f64,
    /// What it may be.
    pub bound: f64,
}

impl Row {
    /// Whether the difference is within the bound.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.difference <= self.bound
    }

    /// The difference as a share of the bound.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.difference / self.bound
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, difference, bound } = self;
        let verdict = if self.passes() { "equal" } else { "DIFFERS" };
        write!(out, "{name:<52} {difference:>10.2e} {bound:>10.2e}  {verdict}")
    }
}

/// Why a comparison could not be made.
#[derive(Debug, Error)]
pub enum ParityError {
    /// A file of references cannot be read.
    #[error("cannot read the reference tensors of `{path}`: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: candle_core::Error,
    },
    /// A file of references lacks a tensor.
    #[error("`{path}` has no tensor `{name}`; it is of another version")]
    Absent {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The result has another shape.
    #[error("{name}: the result has shape {found:?}, the reference {expected:?}")]
    Shape {
        /// What was compared.
        name: String,
        /// Shape of the result.
        found: Vec<usize>,
        /// Shape of the reference.
        expected: Vec<usize>,
    },
    /// A diffusion term or sampler failed.
    #[error(transparent)]
    Diffusion(#[from] crate::diffusion::DiffusionError),
    /// The transformer failed.
    #[error(transparent)]
    Transformer(#[from] crate::dit::TransformerError),
    /// candle failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A file of reference tensors.
#[derive(Debug)]
pub struct References {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl References {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path, device: &Device) -> Result<Self, ParityError> {
        let tensors = candle_core::safetensors::load(path, device);
        let path = path.to_owned();
        match tensors {
            Ok(tensors) => Ok(Self { path, tensors }),
            Err(source) => Err(ParityError::File { path, source }),
        }
    }

    /// Names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// A tensor.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn get(&self, name: &str) -> Result<&Tensor, ParityError> {
        self.tensors
            .get(name)
            .ok_or_else(|| ParityError::Absent { path: self.path.clone(), name: name.to_owned() })
    }

    /// A tensor's elements as numbers.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, ParityError> {
        numbers(self.get(name)?)
    }

    /// Compares a result with the tensor of a name, within 1e-4 of the larger of one and the
    /// largest value.
    ///
    /// # Errors
    /// When there is no such tensor, or its shape is another.
    pub fn compare(&self, row: &str, found: &Tensor, name: &str) -> Result<Row, ParityError> {
        let expected = self.get(name)?;
        if found.dims() != expected.dims() {
            return Err(ParityError::Shape {
                name: row.to_owned(),
                found: found.dims().to_vec(),
                expected: expected.dims().to_vec(),
            });
        }
        Ok(compare(row, &numbers(found)?, &numbers(expected)?))
    }
}

/// Compares numbers with as many others.
#[must_use]
pub fn compare(row: &str, found: &[f64], expected: &[f64]) -> Row {
    let mut difference: f64 = if found.len() == expected.len() { 0.0 } else { f64::INFINITY };
    let mut largest: f64 = 1.0;
    for (found, expected) in found.iter().zip(expected) {
        let gap = (found - expected).abs();
        // A NaN is no difference that `max` would keep.
        difference = difference.max(if gap.is_nan() { f64::INFINITY } else { gap });
        largest = largest.max(expected.abs());
    }
    Row { name: row.to_owned(), difference, bound: SLACK * largest }
}

/// All elements in row-major order.
///
/// # Errors
/// When candle fails.
pub fn numbers(tensor: &Tensor) -> Result<Vec<f64>, ParityError> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn rows_fail_for_what_is_far_or_no_number() {
        assert!(compare("a", &[100.0, 1.005], &[100.0, 1.0]).passes());
        assert!(!compare("a", &[1.005], &[1.0]).passes());
        assert!(!compare("a", &[f64::NAN], &[1.0]).passes());
        assert!(!compare("a", &[], &[1.0]).passes());
    }
}
