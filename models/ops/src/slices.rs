//! Tensors on the CPU as slices.

use std::{marker::PhantomData, ops::Deref};

use candle_core::{DType, Result, Shape, Storage, StorageRef, Tensor};

use crate::{math::Real, node::Value};

/// The values of a tensor on the CPU in the order of its shape, borrowed.
pub(crate) struct Values<'a, T> {
    storage: StorageRef<'a>,
    range: (usize, usize),
    of: PhantomData<T>,
}

impl<'a, T: Real> Values<'a, T> {
    /// Of a tensor that is contiguous (`Tensor::contiguous`) and of this type.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some(range) = layout.contiguous_offsets() else {
            candle_core::bail!("a tensor of strides {:?} has no slice", layout.stride())
        };
        match &*storage {
            Storage::Cpu(values) => T::cpu_storage_as_slice(values)?,
            _ => candle_core::bail!("a tensor on {:?} has no slice", tensor.device()),
        };
        Ok(Self { storage, range, of: PhantomData })
    }
}

impl<T: Real> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // Both were so when this was made, and the lock is held.
        let Storage::Cpu(values) = &*self.storage else { return &[] };
        T::cpu_storage_as_slice(values).map_or(&[], |all| &all[self.range.0..self.range.1])
    }
}

/// Whether the kernels can compute on this tensor.
pub(crate) fn has_kernel(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// In single precision if it is in half: for what loses too much otherwise.
pub(crate) fn at_least_single(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => tensor.to_dtype(DType::F32),
        _ => Ok(tensor.clone()),
    }
}

/// New values of a shape.
pub(crate) fn value<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> Value {
    Value::Cpu(T::to_cpu_storage_owned(values), shape.into())
}

/// New values of a shape, off the graph.
pub(crate) fn tensor<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu)
}

/// Calls a function that is generic over [`Real`] with the type of a tensor; further types stand in
/// brackets.
macro_rules! by_dtype {
    ($tensor:expr, $call:ident $([$($type:ty),+])? ( $($argument:expr),* $(,)? )) => {
        match $tensor.dtype() {
            candle_core::DType::F64 => $call::<f64 $(, $($type),+)?>($($argument),*),
            _ => $call::<f32 $(, $($type),+)?>($($argument),*),
        }
    };
}
pub(crate) use by_dtype;
