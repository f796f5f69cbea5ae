//! One differentiable operation: a value, the tensors it came from, and what carries a gradient back.
//!
//! candle's custom operations take one to three tensors and compute their value inside the
//! operation. Here the value comes first, by whatever means, and the node is put on the graph
//! afterwards. So one type serves every operation of this crate, with any number of inputs, and
//! inputs without gradient (frozen weights, masks) are not on the graph at all: candle neither
//! computes nor keeps gradients for them.
//!
//! More than three inputs hang on a chain of links of one element each. The engine visits the node
//! before its links, so the node computes all gradients, and each link hands out its own.
//!
//! Decided against one `CustomOp` per operation and number of inputs: most of it would be the same
//! thirty lines.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Error, Layout, Result, Shape,
    Storage, Tensor,
    backend::{BackendDevice as _, BackendStorage as _},
    op::BackpropOp,
};

/// From the value and its gradient to the gradients of the inputs: one for each input, in their
/// order; `None` where nothing flows. An input for which `wanted` (its third argument) is false
/// needs none, and computing it is a waste.
pub(crate) type Backward =
    Box<dyn Fn(&Tensor, &Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

/// What an operation computed.
pub(crate) enum Value {
    /// Values in the order of the shape, taken over without a copy.
    Cpu(CpuStorage, Shape),
    /// A tensor whose storage is copied.
    Tensor(Tensor),
}

impl Value {
    fn tensor(self) -> Tensor {
        match self {
            Self::Cpu(storage, shape) => {
                Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false)
            }
            Self::Tensor(tensor) => tensor.detach(),
        }
    }
}

/// Puts a value on the graph.
pub(crate) fn node(
    name: &'static str,
    inputs: &[&Tensor],
    value: Value,
    backward: Backward,
) -> Result<Tensor> {
    let wanted: Vec<bool> = inputs.iter().map(|input| input.track_op()).collect();
    let tracked: Vec<&Tensor> = inputs.iter().copied().filter(|input| input.track_op()).collect();
    let [first, rest @ ..] = tracked.as_slice() else { return Ok(value.tensor()) };
    let pending = Arc::new(Mutex::new(vec![None; tracked.len()]));
    let node = Node { name, value: Mutex::new(Some(value)), backward, wanted, pending };
    match rest {
        [] => first.apply_op1(node),
        [second] => first.apply_op2(second, node),
        [second, third] => first.apply_op3(second, third, node),
        [second, rest @ ..] => {
            let mut chain: Option<Tensor> = None;
            for (index, input) in rest.iter().enumerate().rev() {
                let link = Link { name, index: index + 2, pending: Arc::clone(&node.pending) };
                chain = Some(match chain {
                    None => input.apply_op1(link)?,
                    Some(chain) => input.apply_op2(&chain, link)?,
                });
            }
            let chain = chain.ok_or_else(|| Error::msg("a chain without links"))?;
            first.apply_op3(second, &chain, node)
        }
    }
}

type Pending = Arc<Mutex<Vec<Option<Tensor>>>>;

struct Node {
    name: &'static str,
    /// Taken by the forward pass.
    value: Mutex<Option<Value>>,
    backward: Backward,
    wanted: Vec<bool>,
    /// Gradients for the links, one place for each tracked input.
    pending: Pending,
}

impl Node {
    fn take(&self) -> Result<Value> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| Error::msg(format!("{}: the value was taken twice", self.name)))
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            Value::Cpu(storage, shape) => Ok((storage, shape)),
            Value::Tensor(tensor) => {
                let tensor = tensor.contiguous()?;
                let (storage, layout) = tensor.storage_and_layout();
                let Storage::Cpu(storage) = &*storage else {
                    candle_core::bail!("{}: inputs are on the CPU, the value is not", self.name)
                };
                let shape = layout.shape().clone();
                match layout.contiguous_offsets() {
                    Some((0, end)) if end == shape.elem_count() => {
                        Ok((storage.try_clone(layout)?, shape))
                    }
                    _ => {
                        let mut packed = storage.device().zeros_impl(&shape, storage.dtype())?;
                        storage.copy_strided_src(&mut packed, 0, layout)?;
                        Ok((packed, shape))
                    }
                }
            }
        }
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        let Value::Tensor(tensor) = self.take()? else {
            candle_core::bail!("{}: inputs are on the GPU, the value is not", self.name)
        };
        let tensor = tensor.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            candle_core::bail!("{}: inputs are on the GPU, the value is not", self.name)
        };
        let shape = layout.shape().clone();
        let mut packed = storage.device().zeros_impl(&shape, storage.dtype())?;
        storage.copy_strided_src(&mut packed, 0, layout)?;
        Ok((packed, shape))
    }

    /// The gradients of the tracked inputs.
    fn gradients(&self, value: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let all = (self.backward)(&value.detach(), &gradient.detach(), &self.wanted)?;
        if all.len() != self.wanted.len() {
            candle_core::bail!(
                "{}: {} gradients for {} inputs",
                self.name,
                all.len(),
                self.wanted.len()
            );
        }
        let tracked = all.into_iter().zip(&self.wanted).filter(|(_, wanted)| **wanted);
        Ok(tracked.map(|(gradient, _)| gradient.map(|gradient| gradient.detach())).collect())
    }
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn bwd(&self, _: &Tensor, value: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.gradients(value, gradient)?.pop().flatten())
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        value: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients(value, gradient)?.into_iter();
        Ok((gradients.next().flatten(), gradients.next().flatten()))
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        third: &Tensor,
        value: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients(value, gradient)?;
        let chained = gradients.len() > 3;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for index in (2..gradients.len()).rev().filter(|_| chained) {
            pending[index] = gradients[index].take();
        }
        let mut gradients = gradients.into_iter();
        let (first, second) = (gradients.next().flatten(), gradients.next().flatten());
        let third = if chained { Some(third.zeros_like()?) } else { gradients.next().flatten() };
        Ok((first, second, third))
    }
}

/// Hands one input its gradient after the node computed it.
struct Link {
    name: &'static str,
    index: usize,
    pending: Pending,
}

impl Link {
    fn gradient(&self) -> Option<Tensor> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)[self.index].take()
    }
}

impl CustomOp1 for Link {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = Shape::from(1);
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = Shape::from(1);
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.gradient())
    }
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = Shape::from(1);
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn cuda_fwd(
        &self,
        storage: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let shape = Shape::from(1);
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn bwd(
        &self,
        _: &Tensor,
        next: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.gradient(), Some(next.zeros_like()?)))
    }
}
